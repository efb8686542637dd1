"""Distillation (Hinton et al. 2015): training targets that lie between the labels and what
teachers answer: trained models, or files of the answers of any model."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seq2seq.errors import RunError, UsageError
from seq2seq.tasks.classification.answers import read_answers
from seq2seq.tasks.classification.classifier import Classifier
from seq2seq.tasks.classification.config import ClassificationConfig
from seq2seq.tasks.classification.examples import parts_seed
from seq2seq.tasks.classification.labelled import Labelled
from seq2seq.tasks.classification.targets import Targets


def taught(
    config: ClassificationConfig,
    train: Labelled,
    truth: np.ndarray,
    targets: Targets,
    device: torch.device,
    held_out: Collection[Any] = (),
) -> np.ndarray:
    """(1 - w) y + w mean_i t_i, with w = ``training.teacher_weight``: (N, K) float32 probabilities
    of ``label`` and ``labels``, (N,) float64 numbers.

    ``truth`` y: (N,) ids, (N, K) sets or (N,) numbers. t_i are the calibrated probabilities, or the
    numbers, that teacher i gives the inputs of ``train``, read in its own way: teachers may have
    other words and other sizes. A teacher that is a file holds the answers themselves
    (``answers``); ``held_out`` are the places of what this run keeps from training. Raises
    UsageError for a teacher of other inputs or other labels, or one that has learnt from what this
    run holds out.
    """
    weight, teachers = config.training.teacher_weight, config.training.teachers
    each = [_answers(name, config, train, targets, device, held_out) for name in teachers]
    answers = np.mean(each, 0)
    if targets.kind == "label":
        truth = np.eye(targets.outputs, dtype=np.float32)[truth]
    kind = np.float64 if targets.kind == "number" else np.float32
    return ((1 - weight) * truth + weight * answers).astype(kind)


def _answers(
    name: str,
    config: ClassificationConfig,
    train: Labelled,
    targets: Targets,
    device: torch.device,
    held_out: Collection[Any],
) -> np.ndarray:
    where = f"training.teachers: {name}"
    if Path(name).is_file() or ".tsv" in Path(name).suffixes:
        try:
            return read_answers(Path(name), train, targets, held_out)
        except UsageError as error:
            raise UsageError(f"training.teachers: {error}") from None
    try:
        teacher = Classifier.from_pretrained(name, device=str(device))
    except (UsageError, RunError) as error:
        raise UsageError(f"training.teachers: {error}") from None
    found, expected = (_reading(one) for one in (teacher.config, config))
    for key, value in expected.items():
        if found[key] != value:  # the kind comes first: from there on keys are the same
            raise UsageError(f"{where}: its {key} is {found[key]}; expected {value}, as here")
    if teacher.columns and train.columns and teacher.columns != train.columns:
        own, here = (
            ", ".join((*one.features, *one.static)) for one in (teacher.columns, train.columns)
        )
        raise UsageError(f"{where}: its features are {own}; expected {here}, in this order")
    _check_parts(where, teacher.config, config)
    if teacher.targets != targets:
        own, here = (_told(one) for one in (teacher.targets, targets))
        raise UsageError(f"{where}: it answers with {own}; expected {here}")
    return teacher.answers(teacher.read(train.inputs))


def _reading(config: ClassificationConfig) -> dict[str, object]:
    """How inputs were read before a teacher sees them."""
    data = config.data
    found: dict[str, object] = {"'data.kind'": data.kind}
    if data.kind == "series":
        found["'data.bin'"] = data.bin
    elif data.kind == "image":
        found["'data.image.size'"] = data.image.size
        found["'data.image.steps'"] = "grid" if data.image.steps == "grid" else "no grid"
    return found


def _check_parts(where: str, teacher: ClassificationConfig, student: ClassificationConfig) -> None:
    """Refuse a teacher that was trained on what this run keeps for its test or validation set:
    both have divided the same file, in another way."""
    files = [one.data.train for one in (teacher, student)]
    if not all(files) or len({Path(str(file)).resolve() for file in files}) > 1:
        return
    data, keys = student.data, ["folds", "fold"] if student.data.folds else []
    if not data.validation and data.validation_share:
        keys += ["validation", "validation_share"]
    if not keys:
        return
    wrong = [key for key in keys if getattr(teacher.data, key) != getattr(data, key)]
    told = [f"data.{key} {getattr(teacher.data, key)}, here {getattr(data, key)}" for key in wrong]
    if parts_seed(teacher) != parts_seed(student):
        told.append(f"data.parts_seed {parts_seed(teacher)}, here {parts_seed(student)}")
    if told:
        raise UsageError(
            f"{where}: it has divided {data.train} in another way, and learnt from what this run "
            f"holds out ({'; '.join(told)}); train teachers and student with the same values"
        )


def _told(targets: Targets) -> str:
    return f"{targets.kind} {', '.join(targets.names[:8])}".strip()
