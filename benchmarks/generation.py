"""Speed of text generation and of training a language model on CPU, against plain torch.nn.

    python benchmarks/generation.py write     characters/s: one stream and many, against nn.LSTM
    python benchmarks/generation.py train     tokens/s of a training step, against nn.LSTM
    python benchmarks/generation.py options   a training step with each regulariser
    python benchmarks/generation.py memory    1,000,000 characters from a small model: peak memory

"write" compares with the usual loop: nn.Embedding, nn.LSTM with one step a call, nn.Linear, softmax
and torch.multinomial. "train" compares with the usual script: the same modules, dropout between,
cross entropy of all logits, detached state, clipping, the same optimizer. Contenders take turns in
one process; a figure is the best of several rounds, per second of CPU time (on a shared machine
wall time measures the neighbours). Weights are random: the arithmetic is that of trained ones.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from seq2seq import TextGenerator
from seq2seq.tasks.generation.config import (
    GenerationConfig,
    LanguageConfig,
    LanguageModelConfig,
    UnitsConfig,
)
from seq2seq.tasks.generation.model import LanguageModel
from seq2seq.tasks.generation.objectives import LanguageLoss
from seq2seq.text.vocabulary import train_units

CHARACTERS = "".join(chr(n) for n in range(32, 97))  # 65, as many as Tiny Shakespeare has
ROUNDS = 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("write", "train", "options", "memory"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    run = {"write": write, "train": train, "options": regularisers, "memory": memory}
    results = run[options.what](options)
    for name, value in results.items():
        print(f"{name:48} {value:12,.1f}")
    if options.output:
        machine = {"processor": processor(), "torch": torch.__version__}
        record = {"machine": machine, "threads": options.threads, options.what: results}
        options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def model(**changes) -> LanguageModel:
    torch.manual_seed(0)
    sizes = {"hidden_size": 512, "layers": 2, "embedding_size": 128}
    return LanguageModel(LanguageModelConfig(**{**sizes, **changes}), len(CHARACTERS) + 2)


class Plain(nn.Module):
    """What most scripts are made of."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(CHARACTERS) + 2, 128)
        self.rnn = nn.LSTM(128, 512, 2, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(512, len(CHARACTERS) + 2)

    def forward(self, tokens, state):
        outputs, state = self.rnn(self.embedding(tokens), state)
        return self.projection(self.dropout(outputs)), state


def write(options: argparse.Namespace) -> dict[str, float]:
    network = model()
    units = train_units([CHARACTERS], UnitsConfig())
    generator = TextGenerator(network, units, LanguageConfig())
    plain = Plain().eval()
    settings = GenerationConfig(max_length=100, temperature=0.8)
    contenders: dict[str, tuple[int, Callable[[], object]]] = {}
    for streams in options.streams:
        contenders[f"nn.LSTM, {streams} streams, characters/s"] = (
            streams * 100,
            lambda n=streams: plain_loop(plain, n, 100),
        )
        for precision in ("fp32", "bf16"):
            contenders[f"{precision}, {streams} streams, characters/s"] = (
                streams * 100,
                lambda n=streams, p=precision: generator.generate_batch(
                    ["TO BE"], samples=n, seed=1, settings=settings, precision=p
                ),
            )
    results = rates(contenders)
    for precision in ("fp32", "bf16"):
        clock = time.process_time()
        next(iter(generator.generate("TO BE", stream=True, seed=1, precision=precision)))
        results[f"{precision}, first character, ms"] = 1000 * (time.process_time() - clock)
    return results


def plain_loop(plain: Plain, streams: int, length: int) -> list[torch.Tensor]:
    tokens = torch.full((1, streams), 5)
    state, found = None, []
    with torch.inference_mode():
        for _ in range(length):
            logits, state = plain(tokens, state)
            tokens = torch.multinomial(torch.softmax(logits[0] / 0.8, -1), 1).t()  # (1, B)
            found.append(tokens)
    return found


def train(options: argparse.Namespace) -> dict[str, float]:
    batch, steps = 64, 128
    tokens = torch.randint(2, len(CHARACTERS) + 2, (batch, steps + 1))
    plain = Plain(0.4).train()
    ours = model(hidden_dropout=0.4, output_dropout=0.4).train()
    contenders = {}
    for precision in ("fp32", "bf16"):
        for name, step in (
            ("nn.LSTM", plain_step(plain, tokens, precision)),
            ("here", training_step(ours, tokens, precision)),
        ):
            contenders[f"{name}, {precision}, tokens/s"] = (batch * steps, step)
    return rates(contenders, rounds=3)


def regularisers(options: argparse.Namespace) -> dict[str, float]:
    """Time of a step with each, as a multiple of the plain model's."""
    batch, steps = 32, 64
    tokens = torch.randint(2, len(CHARACTERS) + 2, (batch, steps + 1))
    kinds = {
        "plain": {},
        "weight-drop": {"weight_dropout": 0.3},
        "variational dropout": {
            "hidden_dropout": 0.3, "output_dropout": 0.3, "input_dropout": 0.3,
            "dropout_kind": "variational", "recurrent_dropout": 0.3,
        },
        "layer norm": {"layer_norm": True},
        "zoneout": {"zoneout_hidden": 0.1, "zoneout_cell": 0.1},
    }  # fmt: skip
    contenders = {
        f"{name}, {precision}": (1, training_step(model(**kind).train(), tokens, precision))
        for precision in ("fp32", "bf16")
        for name, kind in kinds.items()
    }
    found = rates(contenders, rounds=3)
    return {
        f"{name}, times the plain step": found[f"plain, {name.split(', ')[1]}"] / value
        for name, value in found.items()
    }


def training_step(network: LanguageModel, tokens: torch.Tensor, precision: str) -> Callable:
    objective = LanguageLoss(network)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    held = [None]

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss, _, state = objective(tokens[:, :-1], tokens[:, 1:], held[0])
        (loss / tokens[:, 1:].numel()).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        held[0] = state.detach()

    return step


def plain_step(network: Plain, tokens: torch.Tensor, precision: str) -> Callable:
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    inputs, targets = tokens[:, :-1].t().contiguous(), tokens[:, 1:].t().contiguous()
    held = [None]

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits, state = network(inputs, held[0])
            loss = nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        held[0] = tuple(part.detach() for part in state)

    return step


def memory(options: argparse.Namespace) -> dict[str, float]:
    """Peak memory in MiB after so many characters of one stream."""
    network = model(hidden_size=32, embedding_size=16)
    units = train_units([CHARACTERS], UnitsConfig())
    generator = TextGenerator(network, units, LanguageConfig())
    results, count = {}, 0
    for text in generator.generate("A", stream=True, seed=1, max_length=1_000_000):
        count += len(text)
        if count in (1_000, 100_000, 500_000, 1_000_000):
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            results[f"peak MiB after {count:,} characters"] = peak
    return results


def rates(
    contenders: dict[str, tuple[int, Callable[[], object]]], rounds: int = ROUNDS
) -> dict[str, float]:
    """Work per second of CPU time, the best of the rounds; contenders take turns."""
    best = dict.fromkeys(contenders, 0.0)
    for turn in range(rounds + 1):
        for name, (work, run) in contenders.items():
            started = time.process_time()
            run()
            if turn:  # the first warms up
                best[name] = max(best[name], work / (time.process_time() - started))
    return best


def processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    names = [line.split(":")[1].strip() for line in text.splitlines() if "model name" in line]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
