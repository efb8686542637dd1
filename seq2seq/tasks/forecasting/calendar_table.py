"""The calendar features of a set of series, looked up in place of computed again.

Windows overlap, and series of a set mostly share their clock: the same times come up again and
again in training. Once more times were asked for than there are different ones, their features are
computed once, in a table, and windows read its rows. The numbers are the same. Series whose clocks
differ by a part of a step have no table, nor have times over a very long range.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from seq2seq.tasks.forecasting.calendar_features import calendar_features
from seq2seq.tasks.forecasting.series_set import SeriesSet

_MOST: Final = 1 << 20  # times of a table: 64 MB with four phases of four features each


class CalendarTable:
    """The features of the phases ``names`` at any step of ``series``, from ``before`` steps before
    its first to ``after`` steps behind its last; by the clocks of ``zone``, see
    ``calendar_features``."""

    def __init__(
        self, series: SeriesSet, names: Sequence[str], before: int, after: int, zone: str | None
    ) -> None:
        self._series, self._names, self._zone = series, tuple(names), zone
        self._asked, self._before = 0, before
        self._table: np.ndarray | None = None  # (times, K) float32
        self._count = _MOST + 1  # times of the table
        if not names:
            return
        starts, place = np.unique(series.starts, return_inverse=True)
        apart = series.step.numbers(starts)  # steps behind the earliest start, -1 for none
        self._origin, self._shift = starts[0], apart[place] + before  # (N,) row of the first step
        if (apart >= 0).all():
            self._count = int((self._shift + series.lengths).max()) + after

    def features(self, index: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The features (B, T, K) float32 of steps ``rows`` (B, T) of the series ``index`` (B,)."""
        if self._table is None:
            self._asked += rows.size
            if self._count > _MOST or self._asked <= self._count:
                times = self._series.step.times(self._series.starts[index][:, None], rows)
                return calendar_features(times, self._names, self._zone)
            steps = np.arange(-self._before, self._count - self._before)
            times = self._series.step.times(self._origin, steps)
            self._table = calendar_features(times, self._names, self._zone)
        return self._table[self._shift[index][:, None] + rows]
