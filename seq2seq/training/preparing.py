"""Preparations that tasks share: the vocabularies of a run, and its initial weights."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from seq2seq.config import VocabularyConfig
from seq2seq.errors import RunError, UsageError
from seq2seq.text.vocabulary import UNITS_FILE, Units, load_units, save_units, train_units
from seq2seq.training import checkpoints
from seq2seq.training.log import say


def units_of_run(
    config: VocabularyConfig, folder: Path, texts: Iterable[str], first: Units | None, keep: bool
) -> Units:
    """The vocabulary of a run, saved in its ``folder``.

    With ``keep`` it is the one that the folder holds; else ``first``, that of the model to start
    from; else a new one of ``texts``. Raises UsageError where ``first`` is of another kind.
    """
    if keep and (folder / UNITS_FILE).exists():
        return load_units(folder)
    if first is None and config.kind != "bytes":
        say(f"learning the vocabulary: {config.kind}")
    units = train_units(texts, config) if first is None else first
    if units.kind != config.kind:
        raise UsageError(
            f"units.kind is {config.kind}; the model of training.start_from has {units.kind}: set "
            f"'units.kind: {units.kind}', or start from another model"
        )
    save_units(units, folder)
    return units


def make_folder(folder: Path) -> None:
    """The folder of the run; UsageError where it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"output {folder}: cannot be made ({error.strerror}); give another --output"
        ) from None


def rehearse_end(folder: Path, save: Callable[[Path, str], None]) -> None:
    """Have ``save`` write the model into a folder of its own, and remove it: what the end of a run
    could not write, with hours of training behind it, is known before the first step.

    Raises UsageError for something that stands in the way in the ``folder`` of the run, RunError
    for what cannot be written.
    """
    model = folder / "model"
    if model.exists() and not (model.is_dir() and os.access(model, os.W_OK)):
        what = "cannot be written into" if model.is_dir() else "is a file"
        raise UsageError(f"output {folder}: {model} {what}, and the model is to be saved there")
    for path in (model / "README.md", *folder.glob("test.*")):
        if path.is_dir():
            raise UsageError(f"output {folder}: {path} is a folder where a file is to be written")
    trial = folder / ".model.trial"
    try:
        save(trial, "")
    finally:
        shutil.rmtree(trial, ignore_errors=True)


def copy_weights(
    source: nn.Module,
    model: nn.Module,
    name: str | None,
    fresh: Collection[str] = (),
    configs: tuple[Any, Any] | None = None,
) -> None:
    """Begin with the weights of ``source``, the model that ``training.start_from`` names, but for
    those of the parts ``fresh`` (of each member of a committee), which stay as they are.
    ``configs``: the configurations (``model``) of both, which tell why they do not fit.
    UsageError for a committee of another number of members and for another shape by its
    configuration, RunError for another shape that no key tells."""
    found, wanted = (len(getattr(one, "members", ())) or 1 for one in (source, model))
    if found != wanted:
        raise UsageError(
            f"training.start_from {name}: has {found} members, and 'model.members' is {wanted}; "
            "expected as many"
        )

    def kept(weights: dict[str, Tensor], is_fresh: bool) -> dict[str, Tensor]:
        return {key: value for key, value in weights.items() if (_part(key) in fresh) is is_fresh}

    weights = kept(checkpoints.weights_of(source), False)
    weights |= kept(checkpoints.weights_of(model), True)
    try:
        checkpoints.load_weights(model, weights, f"training.start_from {name}")
    except RunError:
        differences = _differences(*configs) if configs else []
        if not differences:
            raise
        raise UsageError(
            f"training.start_from {name}: its {'; its '.join(differences[:5])}; expected a model "
            "of the same shape"
        ) from None


def _differences(before: Any, here: Any, prefix: str = "model") -> list[str]:
    """The keys of a model's configuration with other values, but for shares and rates, which have
    no part in its shape."""
    told = []
    for field in dataclasses.fields(here):
        name = f"{prefix}.{field.name}"
        value, other = getattr(here, field.name), getattr(before, field.name)
        if dataclasses.is_dataclass(value):
            told += _differences(other, value, name)
        elif value != other and not isinstance(value, float):
            told.append(f"'{name}' is {other}, here {value}")
    return told


def _part(key: str) -> str:
    """The part of a model that a weight belongs to: heads.0.linear.bias -> heads."""
    names = key.split(".")
    return names[2] if names[0] == "members" and len(names) > 2 else names[0]
