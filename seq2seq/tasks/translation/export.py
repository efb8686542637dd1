"""A translation model as ONNX graphs, which run without PyTorch: ``seq2seq export``.

Two graphs: the encoder, once for each source, and one step of the decoder, once for each target
token. What goes from one to the other has the same name in both. A README says what each input is
and holds a program that translates with them.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.export import Dim

from kernels.decoder import DecoderState, Memory
from seq2seq.errors import UsageError
from seq2seq.saved.directory import CONFIG_FILE, replace_files
from seq2seq.tasks.translation.ensemble import EnsembleModel
from seq2seq.tasks.translation.export_card import export_card
from seq2seq.tasks.translation.int8_model import Int8TranslationModel

if TYPE_CHECKING:
    from seq2seq.tasks.translation.model import TranslationModel
    from seq2seq.tasks.translation.translator import Translator

ENCODER, STEP, CARD = "encoder.onnx", "decoder_step.onnx", "README.md"
_ONE_FILE = 1 << 30  # bytes of weights; a file of this format holds 2 GiB at most
_BATCH_AT = {"hidden": 1, "cell": 1}  # where B stands; elsewhere first


def export_onnx(translator: Translator, directory: Path) -> list[Path]:
    """Write encoder.onnx, decoder_step.onnx, README.md and the tokenizer; returns their paths.

    Shapes: B sources or hypotheses and S source subwords are free; all else is fixed. Computes in
    float32, on the CPU.

    Raises:
        UsageError: onnx or onnxscript is not installed; the folder holds a model, or a README.md
            that no export wrote.
        RunError: the files cannot be written; what stood there before is kept.
    """
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise UsageError(
                f"--format onnx: the package {package} is not installed; "
                "pip install 'recurrent-seq2seq[onnx]'"
            )
    if isinstance(translator.model, EnsembleModel):
        raise UsageError("an ensemble is not one model and cannot be exported; export its members")
    if isinstance(translator.model, Int8TranslationModel):
        raise UsageError("a model in int8 cannot be exported; export the one that it was made of")
    check_folder(directory)
    model = copy.deepcopy(translator.model).float().cpu().eval()
    with torch.no_grad():
        graphs = _graphs(model)
    size = sum(parameter.numel() * 4 for parameter in model.parameters())

    written: list[str] = []

    def write(staging: Path) -> None:
        for name, graph in graphs.items():
            graph.save(staging / name, external_data=size > _ONE_FILE)
        translator.write_tokenizers(staging)
        inputs = [str(value.name) for value in graphs[STEP].model.graph.inputs]
        text = export_card(translator, model, inputs)
        (staging / CARD).write_text(text, encoding="utf-8")
        written.extend(path.name for path in staging.iterdir())

    replace_files(directory, write, ())
    return [directory / name for name in sorted(written)]


def check_folder(directory: Path) -> None:
    """Raises UsageError for a folder whose files an export would replace: a saved model's, or a
    README.md that no export wrote."""
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"{directory}: a file; expected a folder to write into")
    card = (directory / CARD).exists() and not (directory / ENCODER).exists()
    if (directory / CONFIG_FILE).exists() or card:
        raise UsageError(
            f"{directory}: holds a model, or a {CARD} that an export would replace; name another "
            "folder"
        )


class _Encoder(nn.Module):
    def __init__(self, model: TranslationModel) -> None:
        super().__init__()
        self.model = model

    def named(self, tokens: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        state, memory = self.model.encode(tokens, lengths)
        found = {**state._asdict(), **({} if memory is None else memory._asdict())}
        found.pop("lengths", None)
        return {name: tensor for name, tensor in found.items() if tensor is not None}

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.named(tokens, lengths).values())


class _Step(nn.Module):
    """``names``: of the tensors after the tokens."""

    def __init__(self, model: TranslationModel, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, tokens: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(self.names, given, strict=True))
        state = DecoderState(named["hidden"], named.get("cell"), named.get("feed"))
        memory = Memory(*(named[name] for name in Memory._fields)) if "keys" in named else None
        embedded = self.model.target_embedding(tokens)[:, None]  # (B, 1, E)
        vectors, state, attention = self.model.decoder(embedded, state, memory)
        logits = self.model.projection(vectors[:, 0])  # (B, V)
        weights = None if attention is None else attention[:, 0]  # (B, S)
        return tuple(tensor for tensor in (logits, *state, weights) if tensor is not None)


def _graphs(model: TranslationModel) -> dict[str, torch.onnx.ONNXProgram]:
    batch, sources = Dim("B"), Dim("S")
    tokens, lengths = torch.full((2, 5), 4), torch.tensor([5, 3])  # of any sentence
    encoder = _Encoder(model)
    found = encoder.named(tokens, lengths)
    first = _export(
        encoder,
        {"tokens": tokens, "lengths": lengths},
        {"tokens": {0: batch, 1: sources}, "lengths": {0: batch}},
        list(found),
    )
    carried = dict(found)
    if "keys" in found:
        carried["lengths"] = lengths
    step = _Step(model, list(carried))
    shapes = []
    for name in carried:
        shape = {_BATCH_AT.get(name, 0): batch}
        shapes.append(shape | ({1: sources} if name in ("keys", "values") else {}))
    after = [f"next_{name}" for name in found if name in DecoderState._fields]
    second = _export(
        step,
        {"tokens": tokens[:, 0].contiguous(), **carried},
        {"tokens": {0: batch}, "given": tuple(shapes)},
        ["logits", *after, *(["attention"] if "keys" in found else [])],
    )
    return {ENCODER: first, STEP: second}


@contextlib.contextmanager
def _errors_alone() -> Iterator[None]:
    """The exporter's log without what is no error."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _export(
    module: nn.Module, arguments: dict[str, Tensor], shapes: dict[str, object], outputs: list[str]
) -> torch.onnx.ONNXProgram:
    # The exporter prints its progress, and warns of packages that these models do not need.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), _errors_alone():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            tuple(arguments.values()),
            dynamo=True,
            verbose=False,
            dynamic_shapes=shapes,
            input_names=list(arguments),
            output_names=outputs,
        )
    assert program is not None  # None comes of dynamo=False alone
    return program
