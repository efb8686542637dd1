"""The directory that holds one saved model, written and read: what those of all tasks share.

    config.json         format, vocabulary sizes, and the configuration of the run
    model.safetensors   the weights; a tensor that two layers share stands there once
    README.md           the model card

and what turns text into numbers: of translation SentencePiece models (see ``Translator``), of the
other tasks units.json, with subwords.model beside it where the units are subwords.

Nothing in it is unpickled. A saved model is replaced only after all of its new files are written
in full in a folder of their own, so a full disk leaves the old model as it was.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError

from seq2seq import registry
from seq2seq.config import config_from_dict
from seq2seq.config.paths import normal_path
from seq2seq.digests import file_digest
from seq2seq.errors import RunError, UsageError
from seq2seq.json_files import read_json
from seq2seq.saved.building import build_to_fit, check_shapes, damaged, distinct_tensors
from seq2seq.text.vocabulary import UNIT_FILES, UNITS_FILE, Units, load_units

FORMAT_VERSION = 1

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
RUN_FILE = "inputs.json"  # which a training run writes into its directory before its first step
WEIGHTS_DIGEST = "weights_sha256"  # in config.json
FILES_DIGEST = "files_sha256"  # there: of each file that turns data into numbers, by its name
UNIT_MODEL_FILES = (CONFIG_FILE, WEIGHTS_FILE, *UNIT_FILES, CARD_FILE)


def format_of(task: str) -> str:
    """The ``format`` in config.json of a task's models."""
    return f"seq2seq-{task}"


def replace_files(directory: Path, write: Callable[[Path], None], known: Sequence[str]) -> None:
    """Have ``write`` make the files in a folder of their own, then move them into ``directory``;
    those ``known`` that it did not make are removed, the card excepted."""
    directory = Path(normal_path(str(directory)))
    new: list[Path] = []
    try:
        new += [one for one in (directory, *directory.parents) if not one.exists()]
        directory.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".saving-", dir=directory))
    except OSError as error:
        _remove_empty(new)
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
        _remove_empty(new)


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove these folders, the innermost first, as far as they are there and empty."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def write_weights(
    model: torch.nn.Module, directory: Path, values: dict[str, Any], readme: str | None
) -> None:
    """Write model.safetensors, config.json (``values``, the digest of the weights and those of the
    files that ``directory`` holds already) and the card."""
    # a shortlist (.safetensors) is left out of a model where it is damaged, and checks itself
    written = [path for path in sorted(directory.iterdir()) if path.suffix != ".safetensors"]
    files = {path.name: file_digest(path) for path in written}
    tensors = distinct_tensors(model)
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    safetensors.torch.save_file(tensors, directory / WEIGHTS_FILE, metadata={"format": "pt"})
    values = {**values, WEIGHTS_DIGEST: file_digest(directory / WEIGHTS_FILE)}
    values |= {FILES_DIGEST: files} if files else {}
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    (directory / CONFIG_FILE).write_text(text, encoding="utf-8")
    # safetensors writes for the owner alone; who may read the folder may read this too
    (directory / WEIGHTS_FILE).chmod((directory / CONFIG_FILE).stat().st_mode)
    if readme is not None:
        (directory / CARD_FILE).write_text(readme, encoding="utf-8")


Model = TypeVar("Model", bound=torch.nn.Module)


class UnitModel(NamedTuple, Generic[Model]):
    """A saved model whose vocabulary is ``units``, as its directory holds it."""

    model: Model
    units: Units
    config: Any
    readme: str | None


def read_unit_model(
    directory: Path, task: str, build: Callable[[Any, int], Model]
) -> UnitModel[Model]:
    """Load the model of ``task`` that ``directory`` holds, on the CPU and in evaluation mode;
    ``build`` makes it from the ``model`` section of its configuration and the number of units.

    Raises RunError where a file is missing or damaged, the format is another, or vocabulary,
    weights and configuration do not belong together; UsageError where the model needs a library
    that is not installed.
    """
    values = read_values(directory, task, {"vocab_size": int}, UNIT_MODEL_FILES)
    config = run_config(values, directory, task)
    for name in (UNITS_FILE, WEIGHTS_FILE):
        require(directory, name, UNIT_MODEL_FILES)
    units = load_units(directory)
    check_vocabulary(directory / UNITS_FILE, len(units), values["vocab_size"], "vocab_size")
    weights = directory / WEIGHTS_FILE
    model = build_to_fit(lambda: build(config.model, len(units)), weights)
    load_weights(model, weights)
    return UnitModel(model.eval(), units, config, read_card(directory))


def require(directory: Path, name: str, known: Sequence[str]) -> None:
    """Raises RunError where the file is not there."""
    if (directory / name).is_file():
        return
    _refuse_run(directory)
    present = sorted(path.name for path in directory.iterdir() if path.name in known)
    raise RunError(
        f"model {directory}: file {name} is missing "
        f"(found there: {', '.join(present) or 'no file of a saved model'}); "
        "copy the whole directory of the model again"
    )


def _refuse_run(directory: Path) -> None:
    if (directory / "model" / CONFIG_FILE).is_file():
        raise RunError(
            f"model {directory}: is the directory of a run; its model is {directory / 'model'}"
        )
    unsaved = without_model(directory)
    if unsaved:
        raise RunError(f"model {directory}: is the directory of a run that {unsaved}")


def without_model(directory: Path) -> str | None:
    """The end of a sentence on a training run's directory that holds no model: what the run has
    saved, and what to do. None for every other directory."""
    if not (directory / RUN_FILE).is_file() or (directory / "model" / CONFIG_FILE).is_file():
        return None
    if (directory / "checkpoints" / "last").exists():
        return (
            "has saved no model so far; it is still going on, or goes on with the same "
            "'seq2seq train' command and --resume"
        )
    return "has saved neither a model nor a checkpoint so far; wait, or start it again"


def read_values(
    directory: Path, task: str, kinds: dict[str, type], known: Sequence[str]
) -> dict[str, Any]:
    """config.json of a model of this task, with a configuration and values of these types;
    RunError where it is something else."""
    path = directory / CONFIG_FILE
    require(directory, CONFIG_FILE, known)
    try:
        values = read_json(path)
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: damaged, not JSON ({error}); copy the file again") from None
    form = values.get("format") if isinstance(values, dict) else None
    if form is None:
        _refuse_run(directory)  # a run keeps its configuration under the same name
    if form != format_of(task):
        raise RunError(
            f"{path}: format is {form!r}, expected {format_of(task)!r}; {_what_it_is(form, task)}"
        )
    if values.get("format_version") != FORMAT_VERSION:
        raise RunError(
            f"{path}: format_version is {values.get('format_version')!r}, expected "
            f"{FORMAT_VERSION}; the model was saved by another version of seq2seq: install the one "
            "that wrote it"
        )
    for key, kind in {**kinds, "config": dict}.items():
        if type(values.get(key)) is not kind:
            raise RunError(
                f"{path}: '{key}' is {values.get(key)!r}, expected a value of type "
                f"{kind.__name__}; copy the file again"
            )
    return values


def _what_it_is(form: object, task: str) -> str:
    """What a model of another format is, and the command for it."""
    for name, entry in registry.TASKS.items():
        if form == format_of(name):
            return f"this is a {name} model, not a {task} model: use 'seq2seq {entry.command}'"
    return f"this is not a {task} model saved by seq2seq"


def task_of(directory: Path) -> str:
    """The task of a saved model. Raises RunError for a folder that holds none."""
    require(directory, CONFIG_FILE, (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE))
    try:
        values = read_json(directory / CONFIG_FILE)
    except (OSError, ValueError) as error:
        raise RunError(
            f"{directory / CONFIG_FILE}: damaged, not JSON ({error}); copy the file again"
        ) from None
    form = values.get("format") if isinstance(values, dict) else None
    task = next((name for name in registry.TASKS if form == format_of(name)), None)
    if task is None:
        _refuse_run(directory)
        known = ", ".join(map(format_of, registry.TASKS))
        raise RunError(f"{directory / CONFIG_FILE}: format is {form!r}, expected one of: {known}")
    return task


def run_config(values: dict[str, Any], directory: Path, task: str) -> Any:
    """The configuration in config.json; RunError if it is invalid, or another task's."""
    path = directory / CONFIG_FILE
    try:
        config = config_from_dict(values["config"], where=str(path))
    except UsageError as error:  # nobody typed it: the file is damaged or of another version
        raise RunError(str(error)) from None
    if config.task != task:
        raise RunError(f"{path}: the configuration is not one of {task}")
    return config


def check_vocabulary(path: Path, pieces: int, expected: int, key: str) -> None:
    if pieces != expected:
        raise RunError(
            f"{path}: holds {pieces} pieces, but the weights were trained with {expected} ({key} "
            f"in {CONFIG_FILE}); use the tokenizer that was saved with this model"
        )


def load_weights(model: torch.nn.Module, path: Path) -> None:
    """Give ``model`` the weights that the file ``path`` of a saved model holds.

    Raises RunError where it cannot be read, holds other tensors than the model has, or is not the
    file that was saved: its digest in config.json is another. Models of before have none.
    """
    try:
        stored = safetensors.torch.load_file(path)
    except (SafetensorError, OSError) as error:
        raise damaged(path, error) from None
    expected = distinct_tensors(model)
    shapes = [{n: tuple(t.shape) for n, t in tensors.items()} for tensors in (expected, stored)]
    check_shapes(path, *shapes)
    for name, tensor in expected.items():
        if not same_kind(stored[name], tensor):
            raise RunError(
                f"{path}: tensor '{name}' holds {str(stored[name].dtype).removeprefix('torch.')}, "
                f"expected {str(tensor.dtype).removeprefix('torch.')}; quantised weights cannot be "
                "used: save the model again as it was trained"
            )
    _check_digest(path)
    # Layers that share a tensor share it in the model just built, so one copy serves both.
    with torch.no_grad():
        for name, tensor in expected.items():
            tensor.copy_(stored[name])


def same_kind(stored: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether a stored tensor can stand for the expected one: any precision of floating-point
    numbers of at least 16 bits, of others the same type."""
    if expected.is_floating_point():
        return stored.is_floating_point() and stored.element_size() >= 2
    return stored.dtype == expected.dtype


def _check_digest(path: Path) -> None:
    try:
        values = read_json(path.parent / CONFIG_FILE)
        expected = values.get(WEIGHTS_DIGEST)
    except (OSError, ValueError, AttributeError):
        return  # weights alone: nothing says what they were
    if expected is not None and file_digest(path) != expected:
        raise RunError(
            f"{path}: not the weights that were saved (their sha256 is another than "
            f"'{WEIGHTS_DIGEST}' in {CONFIG_FILE}); copy the whole directory of the model again"
        )


def check_files(directory: Path) -> None:
    """Raises RunError for a vocabulary, or another file that turns data into numbers, that is not
    the one that was saved with the weights. Models of before know no digests."""
    known = read_json(directory / CONFIG_FILE).get(FILES_DIGEST)
    for name, digest in known.items() if isinstance(known, dict) else ():
        path = directory / name
        if path.is_file() and file_digest(path) != digest:
            raise RunError(
                f"{path}: not the file that was saved with these weights (its sha256 is another "
                f"than in '{FILES_DIGEST}' of {CONFIG_FILE}); copy the whole directory of the "
                "model again"
            )


def read_card(directory: Path) -> str | None:
    try:
        return (directory / CARD_FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None  # a model runs without its card
