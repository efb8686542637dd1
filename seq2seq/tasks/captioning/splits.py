"""The sets of a captioning run: training, what is held out of it, validation, test."""

from __future__ import annotations

import logging
from pathlib import Path

import datasets
import numpy as np

from seq2seq.errors import UsageError
from seq2seq.tasks.captioning.caption_formats import Split
from seq2seq.tasks.captioning.captions import load_captions, names_of
from seq2seq.tasks.captioning.config import CaptioningConfig
from seq2seq.training.checkpoints import write_text

HELD_OUT_FILE = "held_out.txt"
_log = logging.getLogger("seq2seq")
_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def load_splits(config: CaptioningConfig) -> dict[str, datasets.Dataset]:
    """Images and captions by set; "held_out" is a part of the training images where
    ``data.held_out`` is set. Raises UsageError for what ``load_captions`` refuses."""
    data = config.data
    if not data.train:
        raise UsageError(
            "'data.train' is not set; expected a folder of images with metadata.jsonl, or a file "
            "that names images"
        )
    sets: dict[str, datasets.Dataset] = {
        split: load_captions(getattr(data, split), split, data.images)
        for split in _SPLITS
        if getattr(data, split)
    }
    _warn_of_shared(sets)
    if data.held_out:
        train, held_out = hold_out(sets["train"], data.held_out, config.seed)
        sets = {"train": train, "held_out": held_out, **{s: sets[s] for s in sets if s != "train"}}
    return sets


def hold_out(
    rows: datasets.Dataset, count: int, seed: int
) -> tuple[datasets.Dataset, datasets.Dataset]:
    """(the others, ``count`` images), both in the order of ``rows``. Which images are held out
    follows from the seed and their names, not from their order."""
    if count >= len(rows):
        raise UsageError(
            f"'data.held_out' is {count:,} and there are {len(rows):,} training images; hold out "
            "fewer"
        )
    names = np.argsort(np.array(rows["image"][:]))
    drawn = np.random.default_rng(seed).permutation(len(rows))[:count]
    held = np.zeros(len(rows), dtype=bool)
    held[names[drawn]] = True
    return rows.select(np.flatnonzero(~held)), rows.select(np.flatnonzero(held))


def write_held_out(folder: Path, rows: datasets.Dataset) -> None:
    """Keep the names of what was held out in the run's folder."""
    write_text(folder / HELD_OUT_FILE, "".join(f"{x}\n" for x in names_of(rows["image"][:])))


def _warn_of_shared(sets: dict[str, datasets.Dataset]) -> None:
    """A file without splits that is named twice gives scores of images that were trained on."""
    train = set(sets["train"]["image"][:])
    for split in ("validation", "test"):
        if split in sets and (both := train.intersection(sets[split]["image"][:])):
            _log.warning(
                "'data.train' and 'data.%s' share %s images, such as %s: their scores say little; "
                "'data.held_out' keeps a part of a file without splits from training",
                split,
                f"{len(both):,}",
                min(both),
            )
