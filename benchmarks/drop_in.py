"""Models of others, trained with torch.nn's layers and again with those of ``kernels``.

    pip install --no-deps joeynmt==2.3.0 importlib_metadata==7.1.0 zipp  # and the extra tensorboard
    python benchmarks/drop_in.py joeynmt language --steps 300 --output benchmarks/drop-in-cpu.json

joeynmt: JoeyNMT's recurrent encoder (packed sequences, two directions) and attention decoder (one
call of the layer a step), as its package has them. language: a language model with the layers of
pytorch/examples' word_language_model (two recurrent layers, tied vocabulary, carried state).

Both sides start from the same weights and see the same batches of the demo's made-up corpus. In
float64 rounding does not grow to anything that would show in a loss; in float32 training
multiplies it, as any change of the order of sums would be.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import kernels

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes/translation"))
from corpus import generate

BATCH, EMBEDDING, HIDDEN, PAD, BOS = 16, 32, 64, 0, 1
Step = Callable[[nn.Module, dict[str, Tensor]], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", choices=list(MODELS))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--output", type=Path, help="also write the losses here, as JSON")
    options = parser.parse_args()
    rows = []
    for name in options.models:
        for cell in ("LSTM", "GRU"):
            for dtype in (torch.float64, torch.float32):
                rows.append(compare(name, cell, dtype, options.steps))
                row = {key: value for key, value in rows[-1].items() if key != "losses"}
                print(row, flush=True)
    if options.output is not None:
        head = json.dumps({"torch": torch.__version__, "steps": options.steps})
        lines = ",\n ".join(json.dumps(row) for row in rows)  # a run a line
        text = f'{{"settings": {head},\n "runs": [\n {lines}\n]}}\n'
        options.output.write_text(text, encoding="utf-8")


def compare(name: str, cell: str, dtype: torch.dtype, steps: int) -> dict[str, object]:
    build, step = MODELS[name]
    torch.manual_seed(1)
    theirs = build(cell, len(WORDS)).to(dtype)
    weights = {key: value.clone() for key, value in theirs.state_dict().items()}
    losses = [train(theirs, step, steps)]
    with mock.patch.object(nn, cell, getattr(kernels, cell)):  # JoeyNMT asks isinstance
        ours = build(cell, len(WORDS)).to(dtype)
        swapped = sum(isinstance(module, getattr(kernels, cell)) for module in ours.modules())
        ours.load_state_dict(weights)
        losses.append(train(ours, step, steps))
    if not swapped or any(isinstance(module, getattr(nn, cell)) for module in ours.modules()):
        raise RuntimeError(f"{name}: found torch.nn.{cell} in it; expected kernels.{cell} alone")
    apart = [abs(a - b) / abs(a) for a, b in zip(*losses, strict=True)]
    return {
        "model": name,
        "cell": cell,
        "dtype": str(dtype).removeprefix("torch."),
        "layers_swapped": swapped,
        "first_loss": losses[0][0],
        "last_loss_torch_nn": losses[0][-1],
        "last_loss_kernels": losses[1][-1],
        "largest_relative_difference": max(apart),
        "in_the_first_20_steps": max(apart[:20]),
        "losses": {"torch.nn": losses[0][::10], "kernels": losses[1][::10]},  # every tenth
    }


def train(model: nn.Module, step: Step, steps: int) -> list[float]:
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses = []
    for _, batch in zip(range(steps), batches(), strict=False):
        loss = step(model, batch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


# ------------------------------------------------------------------------------------ the corpus

PAIRS = [(pair.en.split(), pair.de.split()) for pair in generate(800, 1, 1, seed=1)["train"]]
WORDS = {w: k + 2 for k, w in enumerate(sorted({w for pair in PAIRS for s in pair for w in s}))}
WORDS |= {"<pad>": PAD, "<s>": BOS}


def batches() -> Iterator[dict[str, Tensor]]:
    """The same ones in the same order each time; longest source first, as JoeyNMT wants them."""
    generator = torch.Generator().manual_seed(2)
    while True:
        order = torch.randperm(len(PAIRS), generator=generator)
        for rows in order[: len(order) // BATCH * BATCH].split(BATCH):
            pairs = sorted((PAIRS[k] for k in rows.tolist()), key=lambda pair: -len(pair[0]))
            source = _padded([source for source, _ in pairs])  # (B, S)
            target = _padded([["<s>", *target] for _, target in pairs])  # (B, T)
            yield {"source": source, "lengths": (source != PAD).sum(1), "target": target}


def _padded(sentences: list[list[str]]) -> Tensor:
    rows = [torch.tensor([WORDS[word] for word in sentence]) for sentence in sentences]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)


def _loss(logits: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PAD)


# ------------------------------------------------------------------------------------ the models


def joeynmt(cell: str, vocabulary: int) -> nn.Module:
    from joeynmt.decoders import RecurrentDecoder
    from joeynmt.encoders import RecurrentEncoder

    encoder = RecurrentEncoder(cell.lower(), HIDDEN, EMBEDDING, num_layers=2, bidirectional=True)
    decoder = RecurrentDecoder(
        cell.lower(), EMBEDDING, HIDDEN, encoder, num_layers=1, vocab_size=vocabulary
    )
    return nn.ModuleDict(
        {"embedding": nn.Embedding(vocabulary, EMBEDDING), "encoder": encoder, "decoder": decoder}
    )


def translate(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    mask = (batch["source"] != PAD)[:, None]  # (B, 1, S)
    memory, final = model["encoder"](model["embedding"](batch["source"]), batch["lengths"], mask)
    fed, wanted = batch["target"][:, :-1], batch["target"][:, 1:]
    logits, *_ = model["decoder"](model["embedding"](fed), memory, final, mask, fed.size(1))
    return _loss(logits, wanted)


class Language(nn.Module):
    def __init__(self, cell: str, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, HIDDEN)
        self.layers = getattr(nn, cell)(HIDDEN, HIDDEN, 2)
        self.projection = nn.Linear(HIDDEN, vocabulary)
        self.projection.weight = self.embedding.weight
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        self.state = None

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (T, B) -> logits (T, B, V), from the state that the batch before left"""
        outputs, state = self.layers(self.embedding(tokens), self.state)
        self.state = torch.utils._pytree.tree_map(Tensor.detach, state)
        return self.projection(outputs)


def read(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    tokens = batch["target"].t()  # (T, B)
    return _loss(model(tokens[:-1]), tokens[1:])


MODELS = {"joeynmt": (joeynmt, translate), "language": (Language, read)}


if __name__ == "__main__":
    main()
