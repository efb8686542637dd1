"""The directory that holds one saved model, written and read.

    config.json         format, vocabulary sizes, and the configuration of the run
    model.safetensors   the weights; a tensor that two layers share stands there once
    tokenizer.model     SentencePiece model of both languages; or, with one for each,
    source.model, target.model
    README.md           the model card

Nothing in it is unpickled. A saved model is replaced only after all of its new files are written
in full in a folder of their own, so a full disk leaves the old model as it was.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from seq2seq.config import Config, config_from_dict, config_to_dict
from seq2seq.errors import RunError, UsageError
from seq2seq.models import TranslationModel
from seq2seq.tokenizer import Tokenizer

FORMAT = "seq2seq-translation"
FORMAT_VERSION = 1

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
SHARED_TOKENIZER = "tokenizer.model"
SOURCE_TOKENIZER = "source.model"
TARGET_TOKENIZER = "target.model"
CARD_FILE = "README.md"
ALL_FILES = (
    CONFIG_FILE,
    WEIGHTS_FILE,
    SHARED_TOKENIZER,
    SOURCE_TOKENIZER,
    TARGET_TOKENIZER,
    CARD_FILE,
)


@dataclass
class SavedModel:
    """What a model directory holds."""

    model: TranslationModel
    source_tokenizer: Tokenizer
    target_tokenizer: Tokenizer  # the same object as the source's when the vocabulary is shared
    config: Config
    readme: str | None


def write_model(saved: SavedModel, directory: Path) -> None:
    """Save a model as a directory, replacing the model that is there.

    Raises:
        RunError: the files cannot be written (no room, no permission, a file in the way).
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".saving-", dir=directory))
    except OSError as error:
        raise RunError(f"model {directory}: cannot be written ({error.strerror})") from None
    try:
        _write_files(saved, staging)
        names = sorted(path.name for path in staging.iterdir())
        for name in names:
            os.replace(staging / name, directory / name)
        for name in set(ALL_FILES) - set(names) - {CARD_FILE}:
            (directory / name).unlink(missing_ok=True)  # a tokenizer of the replaced model
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(
            f"model {directory}: cannot be written ({reason}); a model saved there before is kept"
        ) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_files(saved: SavedModel, directory: Path) -> None:
    shared = saved.source_tokenizer is saved.target_tokenizer
    if shared:
        saved.source_tokenizer.save(directory / SHARED_TOKENIZER)
    else:
        saved.source_tokenizer.save(directory / SOURCE_TOKENIZER)
        saved.target_tokenizer.save(directory / TARGET_TOKENIZER)
    tensors = _distinct_tensors(saved.model)
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    safetensors.torch.save_file(tensors, directory / WEIGHTS_FILE, metadata={"format": "pt"})
    values = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "shared_vocabulary": shared,
        "source_vocab_size": len(saved.source_tokenizer),
        "target_vocab_size": len(saved.target_tokenizer),
        "config": config_to_dict(saved.config),
    }
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    (directory / CONFIG_FILE).write_text(text, encoding="utf-8")
    # safetensors writes for the owner alone; who may read the folder may read this too
    (directory / WEIGHTS_FILE).chmod((directory / CONFIG_FILE).stat().st_mode)
    if saved.readme is not None:
        (directory / CARD_FILE).write_text(saved.readme, encoding="utf-8")


def read_model(directory: Path) -> SavedModel:
    """Load the model that ``directory`` holds, on the CPU and in evaluation mode.

    Raises:
        RunError: a file is missing or damaged, the format is unknown, or vocabulary, weights
            and configuration do not belong together.
    """
    values = _read_config(directory)
    config = _run_config(values, directory)
    shared = values["shared_vocabulary"]
    names = [SHARED_TOKENIZER] if shared else [SOURCE_TOKENIZER, TARGET_TOKENIZER]
    for name in [*names, WEIGHTS_FILE]:
        _require(directory, name)
    tokenizers = [Tokenizer.load(directory / name) for name in names]
    source, target = tokenizers[0], tokenizers[-1]
    sizes = values["source_vocab_size"], values["target_vocab_size"]
    _check_vocabulary(directory / names[0], len(source), sizes[0], "source_vocab_size")
    _check_vocabulary(directory / names[-1], len(target), sizes[1], "target_vocab_size")
    try:
        model = TranslationModel(config.model, *sizes)
    except UsageError as error:
        raise RunError(f"{directory / CONFIG_FILE}: {error}") from None
    _load_weights(model, directory / WEIGHTS_FILE)
    return SavedModel(model.eval(), source, target, config, _read_card(directory))


def _require(directory: Path, name: str) -> None:
    if (directory / name).is_file():
        return
    if (directory / "model" / CONFIG_FILE).is_file():
        raise RunError(
            f"model {directory}: is the directory of a run; its model is {directory / 'model'}"
        )
    found = sorted(path.name for path in directory.iterdir() if path.name in ALL_FILES)
    raise RunError(
        f"model {directory}: file {name} is missing "
        f"(found there: {', '.join(found) or 'no file of a saved model'}); "
        "copy the whole directory of the model again"
    )


def _read_config(directory: Path) -> dict[str, Any]:
    path = directory / CONFIG_FILE
    _require(directory, CONFIG_FILE)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: damaged, not JSON ({error}); copy the file again") from None
    found = values.get("format") if isinstance(values, dict) else None
    if found != FORMAT:
        raise RunError(
            f"{path}: format is {found!r}, expected {FORMAT!r}; this is not a translation model "
            "saved by seq2seq"
        )
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise RunError(
            f"{path}: format_version is {version!r}, expected {FORMAT_VERSION}; the model was "
            "saved by another version of seq2seq: install the one that wrote it"
        )
    kinds = {
        "shared_vocabulary": bool,
        "source_vocab_size": int,
        "target_vocab_size": int,
        "config": dict,
    }
    for key, kind in kinds.items():
        if type(values.get(key)) is not kind:
            raise RunError(
                f"{path}: '{key}' is {values.get(key)!r}, expected a value of type "
                f"{kind.__name__}; copy the file again"
            )
    return values


def _run_config(values: dict[str, Any], directory: Path) -> Config:
    try:
        return config_from_dict(values["config"], where=str(directory / CONFIG_FILE))
    except UsageError as error:  # nobody typed it: the file is damaged or of another version
        raise RunError(str(error)) from None


def _check_vocabulary(path: Path, found: int, expected: int, key: str) -> None:
    if found != expected:
        raise RunError(
            f"{path}: holds {found} pieces, but the weights were trained with {expected} ({key} "
            f"in {CONFIG_FILE}); use the tokenizer that was saved with this model"
        )


def _distinct_tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Every weight and saved buffer once, under the first of its names."""
    kept = model.state_dict().keys()  # leaves out the buffers that are not to be saved
    tensors = {name: value.detach() for name, value in model.named_parameters()}
    tensors |= {name: value for name, value in model.named_buffers() if name in kept}
    return tensors


def _load_weights(model: torch.nn.Module, path: Path) -> None:
    try:
        found = safetensors.torch.load_file(path)
    except (SafetensorError, OSError) as error:
        raise RunError(
            f"{path}: damaged or cut short, cannot be read ({error}); copy the file again"
        ) from None
    expected = _distinct_tensors(model)
    missing, extra = expected.keys() - found.keys(), found.keys() - expected.keys()
    if missing or extra:
        kind, names = ("lacks", missing) if missing else ("holds an unknown", extra)
        raise RunError(
            f"{path}: {kind} tensor '{min(names)}' ({len(missing)} missing, {len(extra)} "
            f"unknown); the weights do not belong to the model that {CONFIG_FILE} describes"
        )
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape:
            raise RunError(
                f"{path}: tensor '{name}' has shape {tuple(found[name].shape)}, expected "
                f"{tuple(tensor.shape)}; vocabulary, weights and {CONFIG_FILE} do not belong "
                "together"
            )
    # Layers that share a tensor share it in the model just built, so one copy serves both.
    with torch.no_grad():
        for name, tensor in expected.items():
            tensor.copy_(found[name])


def _read_card(directory: Path) -> str | None:
    try:
        return (directory / CARD_FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None  # a model runs without its card
