"""Distillation (Hinton et al. 2015): training targets that lie between the labels and what trained
models, the teachers, answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from seq2seq.errors import UsageError
from seq2seq.tasks.classification.classifier import Classifier
from seq2seq.tasks.classification.config import ClassificationConfig
from seq2seq.tasks.classification.examples import parts_seed
from seq2seq.tasks.classification.targets import Targets

_READING = {  # keys of ``data`` by which inputs were read before the teachers see them
    "text": (),
    "series": ("bin",),
    "image": ("image",),
}


def taught(
    config: ClassificationConfig,
    inputs: Any,
    truth: np.ndarray,
    targets: Targets,
    device: torch.device,
) -> np.ndarray:
    """(1 - w) y + w mean_i t_i, with w = ``training.teacher_weight``: (N, K) float32 probabilities
    of ``label`` and ``labels``, (N,) float32 numbers.

    ``truth`` y: (N,) ids, (N, K) sets or (N,) numbers. t_i are the calibrated probabilities, or the
    numbers, that teacher i gives the training ``inputs``, read in its own way: teachers may have
    other words and other sizes. Raises UsageError for a teacher of other inputs or other labels.
    """
    weight, teachers = config.training.teacher_weight, config.training.teachers
    answers = np.mean([_answers(name, config, inputs, targets, device) for name in teachers], 0)
    if targets.kind == "label":
        truth = np.eye(targets.outputs, dtype=np.float32)[truth]
    return ((1 - weight) * truth + weight * answers).astype(np.float32)


def _answers(
    name: str, config: ClassificationConfig, inputs: Any, targets: Targets, device: torch.device
) -> np.ndarray:
    teacher = Classifier.from_pretrained(name, device=str(device))
    where, own, data = f"training.teachers: {name}", teacher.config.data, config.data
    if own.kind != data.kind:
        raise UsageError(f"{where}: it reads {own.kind}; 'data.kind' is {data.kind}")
    for key in _READING[data.kind]:
        found, expected = getattr(own, key), getattr(data, key)
        if found != expected:
            raise UsageError(f"{where}: its 'data.{key}' is {found}; expected {expected}, as here")
    _check_parts(where, teacher.config, config)
    if teacher.targets != targets:
        found, expected = (_told(one) for one in (teacher.targets, targets))
        raise UsageError(f"{where}: it answers with {found}; expected {expected}")
    return teacher.answers(teacher.read(inputs))


def _check_parts(where: str, teacher: ClassificationConfig, student: ClassificationConfig) -> None:
    """Refuse a teacher that was trained on what this run keeps for its test or validation set:
    both have divided the same file, in another way."""
    if teacher.data.train != student.data.train:
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
