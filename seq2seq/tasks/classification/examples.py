"""Reading the files of ``data``, whatever their kind, and dividing them into training, validation
and test sets."""

from __future__ import annotations

from typing import Any

import numpy as np

from seq2seq.config.layers import CharacterConfig
from seq2seq.errors import UsageError
from seq2seq.tasks.classification.config import ClassDataConfig, ClassificationConfig
from seq2seq.tasks.classification.images import read_images
from seq2seq.tasks.classification.labelled import Columns, Labelled, read_texts
from seq2seq.tasks.classification.series_files import read_series
from seq2seq.tasks.classification.sources import ImageSource, SeriesSource, Source, TextSource
from seq2seq.tasks.classification.targets import counts_of, held_rows, split_rows
from seq2seq.text.vocabulary import Units
from seq2seq.training.log import say


def read_examples(
    path: str, data: ClassDataConfig, training: bool = False, columns: Columns | None = None
) -> Labelled:
    """The inputs and targets of a file; ``columns`` of series: what the training data names."""
    if data.kind == "text":
        return read_texts(path, data, phrases=training and data.phrases)
    if data.kind == "series":
        return read_series(path, data, columns=columns)
    return read_images(path, data)


def source_of(
    inputs: Any,
    data: ClassDataConfig,
    units: Units | None,
    characters: CharacterConfig | None = None,
) -> Source:
    """Inputs as numbers; ``characters``: how the network reads the letters of text's words."""
    if data.kind == "text":
        assert units is not None
        read = characters is not None and characters.kind != "none"
        return TextSource(inputs, units, data, characters.longest if characters and read else 0)
    if data.kind == "series":
        return SeriesSource(inputs, data)
    return ImageSource(inputs, data.image)


def load_splits(
    config: ClassificationConfig, columns: Columns | None = None
) -> dict[str, Labelled]:
    """``train``, and ``validation`` and ``test`` where there are any; ``columns``: the features of
    a model to begin with.

    With ``data.folds`` the test set is a part of the training set, without ``data.validation`` the
    validation set a share of what is left; in both each label has its share. An example with a
    label that no other example has stays in training. With ``data.phrases`` whole sentences are
    divided, so that no phrase of a held-out sentence is trained on.
    """
    data = config.data
    if not data.train:
        raise UsageError("'data.train' is not set; expected a file of examples with labels")
    divided = bool(data.folds) or (not data.validation and data.validation_share > 0)
    examples = read_examples(data.train, data, training=True, columns=columns)
    whole = read_examples(data.train, data) if data.phrases and divided else examples
    if examples.unused:
        say(f"warning: 'data.rename': {data.train} has no label {examples.unused[0]!r}")
    splits = {"train": examples}
    for split in ("validation", "test"):
        if path := getattr(data, split):
            splits[split] = read_examples(path, data, columns=examples.columns)
    train = whole
    if data.folds:
        parts = split_rows(train.targets, data.target, data.folds, parts_seed(config))
        held = _known_elsewhere(parts == data.fold, train, data)
        if not held.any():
            raise UsageError(f"{train.name}: fold {data.fold} of {data.folds} has no example")
        splits["test"] = train.select(np.flatnonzero(held).tolist())
        train = train.select(np.flatnonzero(~held).tolist())
    if not data.validation and data.validation_share:
        train, splits["validation"] = _held_out(train, config)
    if whole is not examples:  # phrases of the sentences that are left
        lines = set(whole.places) - set(train.places)
        train = examples.select(n for n, line in enumerate(examples.places) if line not in lines)
    splits["train"] = train
    if data.target == "label":
        _warn_of_rare(train)
    return splits


def parts_seed(config: ClassificationConfig) -> int:
    """The seed by which examples are divided into parts, folds and a validation set."""
    chosen = config.data.parts_seed
    return config.seed if chosen is None else chosen


def _held_out(train: Labelled, config: ClassificationConfig) -> tuple[Labelled, Labelled]:
    share = config.data.validation_share
    held = held_rows(train.targets, config.data.target, share, parts_seed(config) + 1)
    held = _known_elsewhere(held, train, config.data)
    if not held.any() or held.all():
        raise UsageError(
            f"{train.name}: {len(train)} examples are too few to hold out a share of "
            f"{share} for validation; set 'data.validation', or "
            "'data.validation_share: 0'"
        )
    return (
        train.select(np.flatnonzero(~held).tolist()),
        train.select(np.flatnonzero(held).tolist()),
    )


def _known_elsewhere(held: np.ndarray, train: Labelled, data: ClassDataConfig) -> np.ndarray:
    """``held`` (N,) without the rows that have a label which no other row has: such labels would
    be unknown to training, and a file would be refused for a division that it did not make."""
    if data.target == "number":
        return held
    names = [one if isinstance(one, list) else [one] for one in train.targets]
    known = {name for row in np.flatnonzero(~held) for name in names[row]}
    kept = held.copy()
    for row in np.flatnonzero(held):
        if not known.issuperset(names[row]):
            kept[row] = False
            known.update(names[row])
    return kept


def _warn_of_rare(train: Labelled) -> None:
    counts = counts_of("label", train.targets)
    rare = sorted(name for name, count in counts.items() if count == 1)
    if rare:
        listed = ", ".join(rare[:5]) + (", ..." if len(rare) > 5 else "")
        say(
            f"warning: {len(rare)} of {len(counts)} labels have one example of training each "
            f"({listed}); they will hardly be learnt"
        )
