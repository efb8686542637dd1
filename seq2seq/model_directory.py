"""The directory that holds one saved translation model, written and read; and what the directories
of all models have in common.

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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from seq2seq.config import AnyConfig, Config, config_from_dict, config_to_dict
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
    replace_files(directory, lambda staging: _write_files(saved, staging), ALL_FILES)


def replace_files(directory: Path, write: Callable[[Path], None], known: Sequence[str]) -> None:
    """Have ``write`` make the files in a folder of their own, then move them into ``directory``;
    those ``known`` that it did not make are removed, the card excepted."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".saving-", dir=directory))
    except OSError as error:
        raise RunError(f"model {directory}: cannot be written ({error.strerror})") from None
    try:
        write(staging)
        names = sorted(path.name for path in staging.iterdir())
        for name in names:
            os.replace(staging / name, directory / name)
        for name in set(known) - set(names) - {CARD_FILE}:
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
    values = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "shared_vocabulary": shared,
        "source_vocab_size": len(saved.source_tokenizer),
        "target_vocab_size": len(saved.target_tokenizer),
        "config": config_to_dict(saved.config),
    }
    write_weights(saved.model, directory, values, saved.readme)


def write_weights(
    model: torch.nn.Module, directory: Path, values: dict[str, Any], readme: str | None
) -> None:
    """Write model.safetensors, config.json and the card."""
    tensors = _distinct_tensors(model)
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    safetensors.torch.save_file(tensors, directory / WEIGHTS_FILE, metadata={"format": "pt"})
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    (directory / CONFIG_FILE).write_text(text, encoding="utf-8")
    # safetensors writes for the owner alone; who may read the folder may read this too
    (directory / WEIGHTS_FILE).chmod((directory / CONFIG_FILE).stat().st_mode)
    if readme is not None:
        (directory / CARD_FILE).write_text(readme, encoding="utf-8")


def read_model(directory: Path) -> SavedModel:
    """Load the model that ``directory`` holds, on the CPU and in evaluation mode.

    Raises:
        RunError: a file is missing or damaged, the format is unknown, or vocabulary, weights
            and configuration do not belong together.
    """
    kinds = {"shared_vocabulary": bool, "source_vocab_size": int, "target_vocab_size": int}
    values = read_values(directory, FORMAT, FORMAT_VERSION, kinds, ALL_FILES)
    config = run_config(values, directory)
    shared = values["shared_vocabulary"]
    names = [SHARED_TOKENIZER] if shared else [SOURCE_TOKENIZER, TARGET_TOKENIZER]
    for name in [*names, WEIGHTS_FILE]:
        require(directory, name, ALL_FILES)
    tokenizers = [Tokenizer.load(directory / name) for name in names]
    source, target = tokenizers[0], tokenizers[-1]
    sizes = values["source_vocab_size"], values["target_vocab_size"]
    check_vocabulary(directory / names[0], len(source), sizes[0], "source_vocab_size")
    check_vocabulary(directory / names[-1], len(target), sizes[1], "target_vocab_size")
    try:
        model = TranslationModel(config.model, *sizes)
    except UsageError as error:
        raise RunError(f"{directory / CONFIG_FILE}: {error}") from None
    load_weights(model, directory / WEIGHTS_FILE)
    return SavedModel(model.eval(), source, target, config, read_card(directory))


def require(directory: Path, name: str, known: Sequence[str]) -> None:
    """Raises RunError where the file is not there."""
    if (directory / name).is_file():
        return
    _refuse_run(directory)
    found = sorted(path.name for path in directory.iterdir() if path.name in known)
    raise RunError(
        f"model {directory}: file {name} is missing "
        f"(found there: {', '.join(found) or 'no file of a saved model'}); "
        "copy the whole directory of the model again"
    )


def _refuse_run(directory: Path) -> None:
    if (directory / "model" / CONFIG_FILE).is_file():
        raise RunError(
            f"model {directory}: is the directory of a run; its model is {directory / 'model'}"
        )


def read_values(
    directory: Path, form: str, version: int, kinds: dict[str, type], known: Sequence[str]
) -> dict[str, Any]:
    """config.json of a model of this format and version, with a configuration and values of
    these types; RunError where it is something else."""
    path = directory / CONFIG_FILE
    require(directory, CONFIG_FILE, known)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: damaged, not JSON ({error}); copy the file again") from None
    found = values.get("format") if isinstance(values, dict) else None
    if found is None:
        _refuse_run(directory)  # a run keeps its configuration under the same name
    if found != form:
        raise RunError(
            f"{path}: format is {found!r}, expected {form!r}; this is not a "
            f"{form.removeprefix('seq2seq-')} model saved by seq2seq"
        )
    if values.get("format_version") != version:
        raise RunError(
            f"{path}: format_version is {values.get('format_version')!r}, expected {version}; the "
            "model was saved by another version of seq2seq: install the one that wrote it"
        )
    for key, kind in {**kinds, "config": dict}.items():
        if type(values.get(key)) is not kind:
            raise RunError(
                f"{path}: '{key}' is {values.get(key)!r}, expected a value of type "
                f"{kind.__name__}; copy the file again"
            )
    return values


def run_config(values: dict[str, Any], directory: Path) -> AnyConfig:
    """The configuration in config.json; RunError where it makes none."""
    try:
        return config_from_dict(values["config"], where=str(directory / CONFIG_FILE))
    except UsageError as error:  # nobody typed it: the file is damaged or of another version
        raise RunError(str(error)) from None


def check_vocabulary(path: Path, found: int, expected: int, key: str) -> None:
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


def load_weights(model: torch.nn.Module, path: Path) -> None:
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


def read_card(directory: Path) -> str | None:
    try:
        return (directory / CARD_FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None  # a model runs without its card
