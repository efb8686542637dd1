"""Reading the files of ``data``, whatever their kind, and dividing them into training, validation
and test sets."""

from __future__ import annotations

from typing import Any

import numpy as np

from seq2seq.errors import UsageError
from seq2seq.tasks.classification.config import ClassDataConfig, ClassificationConfig
from seq2seq.tasks.classification.images import read_images
from seq2seq.tasks.classification.labelled import Labelled, read_texts
from seq2seq.tasks.classification.series import read_series
from seq2seq.tasks.classification.sources import ImageSource, SeriesSource, Source, TextSource
from seq2seq.tasks.classification.targets import counts_of, split_rows
from seq2seq.text.vocabulary import Units
from seq2seq.training.log import say


def read_examples(path: str, data: ClassDataConfig, training: bool = False) -> Labelled:
    """The inputs and targets of a file."""
    if data.kind == "text":
        return read_texts(path, data, phrases=training and data.phrases)
    return read_series(path, data) if data.kind == "series" else read_images(path, data)


def source_of(inputs: Any, data: ClassDataConfig, units: Units | None) -> Source:
    """Inputs as numbers."""
    if data.kind == "text":
        assert units is not None
        return TextSource(inputs, units, data)
    if data.kind == "series":
        return SeriesSource(inputs, data)
    return ImageSource(inputs, data.image)


def load_splits(config: ClassificationConfig) -> dict[str, Labelled]:
    """``train``, and ``validation`` and ``test`` where there are any.

    With ``data.folds`` the test set is a part of the training set, without ``data.validation`` the
    validation set a share of what is left; in both each label has its share. A label with one
    example stays in training.
    """
    data = config.data
    if not data.train:
        raise UsageError("'data.train' is not set; expected a file of examples with labels")
    splits = {"train": read_examples(data.train, data, training=True)}
    for split in ("validation", "test"):
        if path := getattr(data, split):
            splits[split] = read_examples(path, data)
    train = splits["train"]
    if data.folds:
        parts = split_rows(train.targets, data.target, data.folds, config.seed)
        splits["test"] = train.select(np.flatnonzero(parts == data.fold).tolist())
        train = train.select(np.flatnonzero(parts != data.fold).tolist())
    if not data.validation and data.validation_share:
        train, splits["validation"] = _held_out(train, config)
    splits["train"] = train
    if data.target == "label":
        _warn_of_rare(train)
    return splits


def _held_out(train: Labelled, config: ClassificationConfig) -> tuple[Labelled, Labelled]:
    parts = max(2, round(1 / config.data.validation_share))
    part = split_rows(train.targets, config.data.target, parts, config.seed + 1)
    held = part == 0
    if config.data.target == "label":
        counts = counts_of("label", train.targets)
        held &= np.array([counts[str(target)] > 1 for target in train.targets])
    if not held.any() or held.all():
        raise UsageError(
            f"{train.name}: {len(train)} examples are too few to hold out a share of "
            f"{config.data.validation_share} for validation; set 'data.validation', or "
            "'data.validation_share: 0'"
        )
    return (
        train.select(np.flatnonzero(~held).tolist()),
        train.select(np.flatnonzero(held).tolist()),
    )


def _warn_of_rare(train: Labelled) -> None:
    counts = counts_of("label", train.targets)
    rare = sorted(name for name, count in counts.items() if count == 1)
    if rare:
        listed = ", ".join(rare[:5]) + (", ..." if len(rare) > 5 else "")
        say(
            f"warning: {len(rare)} of {len(counts)} labels have one example of training each "
            f"({listed}); they will hardly be learnt"
        )
