"""Inputs as numbers, and batches of them as tensors: text as ids, series with what was measured
and when, images as steps. Shapes: B batch, S steps, D features, F static features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from seq2seq.images.files import to_float
from seq2seq.tasks.classification.config import ClassDataConfig, ImageInputConfig
from seq2seq.tasks.classification.series import Series
from seq2seq.tasks.classification.spelling import Spelled, spell
from seq2seq.text.splitting import Token, split_spaces, split_words
from seq2seq.text.vocabulary import UNK, Units, Words


class Inputs(NamedTuple):
    """What the network reads; past a length anything may stand."""

    # (B, S) int64 ids of text; (B, S, D) float32: the value measured last, or NaN; (B, 3, P, P)
    # float32 of images that a CNN reads
    values: Tensor
    lengths: Tensor  # (B,), on the CPU
    measured: Tensor | None = None  # (B, S, D) bool: whether it was measured in this step
    gaps: Tensor | None = None  # (B, S, D) float32: time since the measurement before
    static: Tensor | None = None  # (B, F) float32, NaN where unknown
    spelled: Spelled | None = None  # the letters of text's words, where the network reads them

    def to(self, device: torch.device) -> Inputs:
        moved = [None if part is None else part.to(device) for part in self]
        return Inputs(moved[0], self.lengths, *moved[2:])  # type: ignore[arg-type]


class Source(Protocol):
    """Inputs that batches are made of."""

    lengths: np.ndarray  # (N,) steps of each
    cut: int  # how many of them were longer

    def __len__(self) -> int: ...

    def collate(self, rows: np.ndarray, draw: np.random.Generator | None = None) -> Inputs:
        """The inputs of these rows; ``draw``: for training, which may change them at random."""


def tokens_of(text: str, config: ClassDataConfig, units: Units | None = None) -> list[Token]:
    """The words of a text as ``data.split`` has them, and as ``units``, once it is made."""
    if config.split != "simple":
        return split_spaces(text)
    return split_words(text, units.combining if isinstance(units, Words) else True)


def clean_text(text: str, config: ClassDataConfig, kind: str, units: Units | None = None) -> str:
    """A text as the vocabulary reads it: on one line, words between single spaces."""
    if kind == "words":
        simple = config.split == "simple"  # str.split is the faster one
        words = [one.text for one in tokens_of(text, config, units)] if simple else text.split()
        text = " ".join(words)
    else:
        text = " ".join(text.split("\n"))
    return text.lower() if config.lowercase else text


class TextSource:
    """Texts as ids, cut at ``data.max_length``; with ``longest``, the letters of a word that are
    read, also as their words' letters, capitals as they are."""

    def __init__(
        self, texts: Sequence[str], units: Units, config: ClassDataConfig, longest: int = 0
    ) -> None:
        cleaned = (clean_text(text, config, units.kind, units) for text in texts)
        whole = [units.encode(text) for text in cleaned]
        self.ids = [ids[: config.max_length] for ids in whole]
        self.cut = sum(len(ids) > config.max_length for ids in whole)
        self.longest = longest
        tokens = (tokens_of(text, config, units)[: config.max_length] for text in texts if longest)
        self.words = [[token.text for token in found] for found in tokens]
        self.lengths = np.array([len(ids) for ids in self.ids], np.int64)

    def __len__(self) -> int:
        return len(self.ids)

    def collate(self, rows: np.ndarray, draw: np.random.Generator | None = None) -> Inputs:
        lengths = self.lengths[rows]
        padded = np.full((len(rows), max(1, lengths.max(initial=1))), UNK, np.int64)
        for place, row in enumerate(rows):
            padded[place, : lengths[place]] = self.ids[row]
        spelled = None
        if self.longest:
            spelled = spell([self.words[row] for row in rows], padded.shape[1], self.longest)
        return Inputs(torch.from_numpy(padded), torch.from_numpy(lengths), spelled=spelled)


class SeriesSource:
    """Series: what was measured last, whether in this step, and how long before."""

    def __init__(self, series: Sequence[Series], config: ClassDataConfig) -> None:
        self.rows = [_filled(one, config.max_length) for one in series]
        self.cut = sum(len(one.values) > config.max_length for one in series)
        self.static = np.stack([one.static for one in series]) if series else np.zeros((0, 0))
        self.lengths = np.array([len(values) for values, _, _ in self.rows], np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    def collate(self, rows: np.ndarray, draw: np.random.Generator | None = None) -> Inputs:
        lengths = self.lengths[rows]
        found = [self.rows[row] for row in rows]
        shape = (len(rows), int(lengths.max(initial=1)), found[0][0].shape[1])
        values, gaps = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        measured = np.zeros(shape, bool)
        for place, (value, seen, gap) in enumerate(found):
            count = lengths[place]
            values[place, :count], measured[place, :count] = value, seen
            gaps[place, :count] = gap
        static = torch.from_numpy(self.static[rows]) if self.static.shape[1] else None
        return Inputs(
            torch.from_numpy(values),
            torch.from_numpy(lengths),
            torch.from_numpy(measured),
            torch.from_numpy(gaps),
            static,
        )


def _filled(series: Series, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(T, D): the value measured last or NaN, whether it was measured, the time since the
    measurement before (since the beginning where there is none; Che et al. 2018, eq. 2)."""
    values, times = series.values[:most], series.times[:most]
    seen = ~np.isnan(values)
    steps = np.arange(len(values))[:, None]
    last = np.maximum.accumulate(np.where(seen, steps, -1))  # (T, D) the step measured last
    filled = np.take_along_axis(values, last.clip(min=0), 0)
    filled = np.where(last < 0, np.float32("nan"), filled).astype(np.float32)
    before = np.concatenate([np.zeros_like(last[:1]), last[:-1]]).clip(min=0)
    gaps = (times[:, None] - times[before]).astype(np.float32)
    return filled, seen, gaps


class ImageSource:
    """Images (N, P, P) uint8 as steps: rows, pixels, or pixels in an order of their own; or, also
    in colour (N, P, P, 3), as a CNN reads them."""

    cut = 0

    def __init__(self, pixels: np.ndarray, config: ImageInputConfig) -> None:
        self.pixels, self.config = pixels, config
        steps = {"rows": config.size, "grid": 1}.get(config.steps, config.size**2)
        self.lengths = np.full(len(pixels), steps, np.int64)
        self.order = None
        if config.steps == "permuted":
            self.order = np.random.default_rng(config.permutation).permutation(config.size**2)

    def __len__(self) -> int:
        return len(self.pixels)

    def collate(self, rows: np.ndarray, draw: np.random.Generator | None = None) -> Inputs:
        pixels = self.pixels[rows]  # (B, P, P)
        if draw is not None and self.config.shift:
            pixels = _shifted(pixels, self.config.shift, draw)
        if self.config.steps == "grid":
            colour = pixels if pixels.ndim == 4 else np.repeat(pixels[..., None], 3, -1)
            images = torch.from_numpy(np.ascontiguousarray(colour.transpose(0, 3, 1, 2)))
            return Inputs(to_float(images), torch.from_numpy(self.lengths[rows]))
        if self.config.steps != "rows":
            pixels = pixels.reshape(len(rows), -1, 1)
        if self.order is not None:
            pixels = pixels[:, self.order]
        values = torch.from_numpy(pixels.astype(np.float32) / 255)
        return Inputs(values, torch.from_numpy(self.lengths[rows]))


def _shifted(pixels: np.ndarray, most: int, draw: np.random.Generator) -> np.ndarray:
    """Each image moved by up to ``most`` pixels across and down, zeros coming in."""
    size = pixels.shape[1]
    around = ((0, 0), (most, most), (most, most), (0, 0))
    wide = np.pad(pixels, around[: pixels.ndim])
    moves = draw.integers(0, 2 * most + 1, (len(pixels), 2))
    moved = [wide[n, y : y + size, x : x + size] for n, (y, x) in enumerate(moves)]
    return np.stack(moved)
