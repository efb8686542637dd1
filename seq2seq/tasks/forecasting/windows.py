"""Windows of series, drawn by index arithmetic: none is stored, and no loop runs over them.

A window is an origin in a series: what lies before it is the past, ``horizon`` steps from it on are
the future. Sizes: B windows, R steps of the past that are read, H horizon, C targets, K covariates
of past and future, J covariates of the past alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seq2seq.errors import UsageError
from seq2seq.tasks.forecasting.calendar_table import CalendarTable
from seq2seq.tasks.forecasting.config import Scaling
from seq2seq.tasks.forecasting.encoding import Encoding
from seq2seq.tasks.forecasting.scaling import window_scale
from seq2seq.tasks.forecasting.series_set import SeriesSet

MOST_EACH_EPOCH = 10_000_000  # windows; of more than these an epoch draws so many at random


@dataclass(frozen=True)
class Batch:
    """Windows as a network reads them; values are scaled: value = shift + scale * scaled."""

    past: Tensor  # (B, R, C) float32; a missing value is the last one before it
    observed: Tensor  # (B, R, C) float32, 1 where there is a value
    future: Tensor  # (B, H, C), 0 where missing
    future_observed: Tensor  # (B, H, C)
    features: Tensor  # (B, R + H, K)
    # (B, R, 2 J): J covariates, a missing one is the last one before it; then J marks, 1: missing
    past_features: Tensor
    categories: Tensor  # (B, S) int64, 0: never seen
    numbers: Tensor  # (B, N)
    shift: Tensor  # (B, C)
    scale: Tensor  # (B, C)
    target_count: int  # values that the loss is summed over, 1 where there is none

    def __len__(self) -> int:
        return len(self.past)

    def to(self, device: torch.device) -> Batch:
        moved: dict[str, Any] = {
            name: value.to(device)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class Reach:
    """How far windows reach."""

    context: int  # steps of the past that scale the window and lead the network in
    reach: int  # R: context, and how far lags go before it
    horizon: int
    scaling: Scaling
    log: bool = False  # the network sees logarithms
    past_targets: bool = False  # the loss is summed over the context, too


class WindowCutter:
    """Cuts windows out of a set of series."""

    def __init__(self, series: SeriesSet, encoding: Encoding, reach: Reach) -> None:
        self.series, self.encoding, self.reach = series, encoding, reach
        self._codes, self._numbers = encoding.codes(series), encoding.static_numbers(series)
        self._mean = np.asarray(encoding.target_mean)
        self._deviation = np.asarray(encoding.target_deviation)
        # instants have the clocks of training, wherever they were written down
        zone = None if series.zone is None else encoding.zone or series.zone
        names = encoding.calendar
        self._calendar = CalendarTable(series, names, reach.reach, reach.horizon, zone)

    def cut(
        self, index: np.ndarray, origins: np.ndarray, ends: np.ndarray
    ) -> tuple[Batch, np.ndarray, np.ndarray]:
        """The windows at ``origins`` (B,) of the series ``index`` (B,), whose targets end before
        ``ends`` (B,); and shift and scale (B, C) in float64."""
        reach, series = self.reach, self.series
        steps = np.arange(-reach.reach, reach.horizon)
        rows = origins[:, None] + steps  # (B, R + H)
        begin = series.offsets[index][:, None]
        length = series.offsets[index + 1][:, None] - begin
        flat = begin + np.clip(rows, 0, length - 1)
        values = np.asarray(series.values[flat.ravel()], dtype=np.float64)
        values = values.reshape(*rows.shape, -1)  # (B, R + H, C)
        if reach.log:
            values = np.log(values)
        inside = (rows >= 0) & (rows < np.minimum(ends[:, None], length))
        observed = inside[..., None] & ~np.isnan(values)
        past, there = values[:, : reach.reach], observed[:, : reach.reach]
        context = slice(reach.reach - reach.context, None)
        shift, scale = window_scale(
            reach.scaling, past[:, context], there[:, context], self._mean, self._deviation
        )
        # what float32 does not hold becomes a forecast that is no number, which is an error
        with np.errstate(invalid="ignore", over="ignore"):
            scaled = ((values - shift[:, None]) / scale[:, None]).astype(np.float32)
        past, there = scaled[:, : reach.reach], observed[:, : reach.reach]
        if not there.all():
            past = _filled(past, there)
        known = observed[:, reach.reach :]
        future = np.where(known, scaled[:, reach.reach :], np.float32(0))
        count = int(known.sum()) + (int(there[:, context].sum()) if reach.past_targets else 0)
        batch = Batch(
            torch.from_numpy(past),
            torch.from_numpy(there.astype(np.float32)),
            torch.from_numpy(future),
            torch.from_numpy(known.astype(np.float32)),
            torch.from_numpy(self._features(index, rows)),
            torch.from_numpy(self._past_features(flat, inside)),
            torch.from_numpy(self._codes[index]),
            torch.from_numpy(self._numbers[index]),
            torch.from_numpy(shift.astype(np.float32)),
            torch.from_numpy(scale.astype(np.float32)),
            max(1, count),
        )
        return batch, shift, scale

    def _features(self, index: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(B, R + H, K) float32"""
        series, encoding, parts = self.series, self.encoding, []
        if encoding.calendar:
            parts.append(self._calendar.features(index, rows))
        if series.known is not None and series.known_offsets is not None:
            begin = series.known_offsets[index][:, None]
            length = series.known_offsets[index + 1][:, None] - begin
            flat = begin + np.clip(rows, 0, length - 1)
            known = np.asarray(series.known[flat.ravel()], dtype=np.float64)
            known = (known - encoding.known_mean) / encoding.known_deviation
            parts.append(known.reshape(*rows.shape, -1).astype(np.float32))
        if not parts:
            return np.zeros((*rows.shape, 0), dtype=np.float32)
        return parts[0] if len(parts) == 1 else np.concatenate(parts, -1)

    def _past_features(self, flat: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """``flat``: rows of the set (B, R + H); ``inside``: whether each is one of its window ->
        (B, R, 2 J) float32"""
        series, encoding, reach = self.series, self.encoding, self.reach.reach
        if series.past is None:
            return np.zeros((len(flat), reach, 0), dtype=np.float32)
        flat, inside = flat[:, :reach], inside[:, :reach]
        values = np.asarray(series.past[flat.ravel()], dtype=np.float64)
        values = (values - encoding.past_mean) / encoding.past_deviation
        with np.errstate(over="ignore"):  # as values that float32 does not hold
            values = values.reshape(*flat.shape, -1).astype(np.float32)  # (B, R, J)
        there = inside[..., None] & ~np.isnan(values)
        filled = values if there.all() else _filled(values, there)
        return np.concatenate([filled, ~there], -1, dtype=np.float32)


def _filled(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """(B, R, C): each missing value replaced by the last one before it, before the first one by
    the first; 0 without any."""
    steps = np.arange(values.shape[1])[:, None]
    last = np.maximum.accumulate(np.where(there, steps, -1), axis=1)
    first = there.argmax(1)[:, None]  # (B, 1, C)
    filled = np.take_along_axis(values, np.where(last < 0, first, last), axis=1)
    return np.where(there.any(1, keepdims=True), filled, np.float32(0))


Change = Callable[[Batch, np.random.Generator], Batch]  # of a batch in training


def unchanged(batch: Batch, random: np.random.Generator) -> Batch:
    return batch


class Windows:
    """All windows whose targets lie in a part of each series, ``stride`` steps apart.

    In series i the targets lie in steps begins[i] to ends[i]. A part that is shorter than the
    horizon has one window, whose loss leaves out what lies behind the part. At least one step lies
    before every origin; where the series is long enough, as many as ``least_past``.
    """

    def __init__(
        self,
        cutter: WindowCutter,
        begins: np.ndarray,
        ends: np.ndarray,
        stride: int = 1,
        least_past: int = 1,
    ) -> None:
        self.cutter, self.ends, self.stride = cutter, ends, stride
        horizon = cutter.reach.horizon
        final = np.maximum(ends - horizon, np.maximum(begins, 1))  # the last origin
        first = np.maximum(begins, np.minimum(least_past, final))
        self.first = np.maximum(first, 1)
        counts = np.where(self.first < ends, (final - self.first) // stride + 1, 0)
        self._bounds = np.cumsum(np.concatenate([[0], np.maximum(counts, 0)]))

    def __len__(self) -> int:
        return int(self._bounds[-1])

    @property
    def counts(self) -> np.ndarray:
        """(N,) windows of each series."""
        return np.diff(self._bounds)

    def locate(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Series and origin of the windows ``numbers``."""
        index = np.searchsorted(self._bounds, numbers, side="right") - 1
        return index, self.first[index] + (numbers - self._bounds[index]) * self.stride

    def batch(self, numbers: np.ndarray) -> Batch:
        index, origins = self.locate(numbers)
        return self.cutter.cut(index, origins, self.ends[index])[0]


class TrainingBatches:
    """The batches of each epoch. All follows from ``seed``."""

    def __init__(
        self,
        windows: Windows,
        batch_size: int,
        seed: int,
        each_epoch: int | None = None,
        by_series: bool = False,
        change: Change = unchanged,
    ) -> None:
        """``change``: see ``augmentation``."""
        if not len(windows):
            raise UsageError(
                "no training window: no series has two observed steps in its training part; give "
                "longer series, or a larger training share in 'data.split'"
            )
        self._windows, self._size, self._seed = windows, batch_size, seed
        self._by_series, self._change = by_series, change
        whole = min(len(windows), MOST_EACH_EPOCH)
        self._drawn = by_series or each_epoch is not None or whole < len(windows)
        self.count = each_epoch or whole  # windows of an epoch

    def len_epoch(self, epoch: int) -> int:
        return -(-self.count // self._size)

    def epoch(self, epoch: int, skip: int = 0, every: int = 1) -> Iterator[Batch]:
        """Each ``every``-th batch of one epoch; the first ``skip`` are left out at no cost."""
        order = self._order(epoch)
        for number in range(skip, self.len_epoch(epoch), every):
            begin = number * self._size
            batch = self._windows.batch(order[begin : begin + self._size])
            yield self._change(batch, np.random.default_rng([self._seed, epoch, begin]))

    def _order(self, epoch: int) -> np.ndarray:
        random = np.random.default_rng([self._seed, epoch])
        if not self._drawn:
            return random.permutation(len(self._windows))
        if not self._by_series:
            return random.integers(0, len(self._windows), self.count)
        counts = self._windows.counts
        usable = np.flatnonzero(counts)
        index = usable[random.integers(0, len(usable), self.count)]
        before = np.concatenate([[0], np.cumsum(counts)])[index]
        return before + (random.random(self.count) * counts[index]).astype(np.int64)
