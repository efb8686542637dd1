"""The calendar features of a set of series, looked up in place of computed again.

Windows overlap, and series of a set share their clock: the same times come up again and again in
training. Once more times were asked for than there are different ones, their features are computed
once, in a table, and windows read its rows. The numbers are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from seq2seq.tasks.forecasting.calendar_features import calendar_features
from seq2seq.tasks.forecasting.series_set import SeriesSet

_MOST: Final = 1 << 20  # times of a table: at most 64 MB with the features of four phases


class CalendarTable:
    """The features of the phases ``names`` at any step of ``series``, from ``before`` steps before
    its first to ``after`` steps behind its last."""

    def __init__(self, series: SeriesSet, names: Sequence[str], before: int, after: int) -> None:
        self._series, self._names = series, tuple(names)
        self._asked = 0
        self._table: np.ndarray | None = None  # (times, K) float32
        starts, place = np.unique(series.starts, return_inverse=True)
        apart = series.step.numbers(starts)  # steps behind the earliest start
        last = int((apart[place] + series.lengths).max()) + after
        self._origin, self._steps = starts[0], np.arange(-before, last)
        self._shift = apart[place] + before  # (N,) the row of a series' first step
        self._shared = bool((apart >= 0).all()) and len(self._steps) <= _MOST

    def features(self, index: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Of steps ``rows`` (B, T) of the series ``index`` (B,): (B, T, K) float32"""
        if self._table is None:
            self._asked += rows.size
            if not self._shared or self._asked <= len(self._steps):
                times = self._series.step.times(self._series.starts[index][:, None], rows)
                return calendar_features(times, self._names, self._series.zone)
            times = self._series.step.times(self._origin, self._steps)
            self._table = calendar_features(times, self._names, self._series.zone)
        return self._table[self._shift[index][:, None] + rows]
