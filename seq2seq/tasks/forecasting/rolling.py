"""Forecasts from many origins in a part of each series, and the values that came."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from seq2seq.tasks.forecasting.series_set import SeriesSet
from seq2seq.tasks.forecasting.windows import Windows


class Origins(NamedTuple):
    """N windows: their series and origins."""

    series: np.ndarray  # (N,) their numbers in the set
    origins: np.ndarray  # (N,)
    ends: np.ndarray  # (N,) values from here on are not scored

    def every(self, most: int) -> Origins:
        """At most so many of them, evenly spread."""
        if len(self.series) <= most:
            return self
        chosen = np.linspace(0, len(self.series) - 1, most).round().astype(np.int64)
        return Origins(*(part[chosen] for part in self))


def origins_of(windows: Windows) -> Origins:
    """All windows, in order."""
    index, origins = windows.locate(np.arange(len(windows)))
    return Origins(index, origins, windows.ends[index])


def actual_values(series: SeriesSet, where: Origins, horizon: int) -> np.ndarray:
    """The values (N, H, C) that came, NaN where missing or behind the end of the scored part."""
    return _values(series, where.series, where.origins, np.arange(horizon), where.ends)


def past_values(series: SeriesSet, where: Origins, steps: int) -> np.ndarray:
    """The last ``steps`` values (N, steps, C) before each origin, NaN where missing."""
    return _values(series, where.series, where.origins, np.arange(-steps, 0), where.origins)


def _values(
    series: SeriesSet, index: np.ndarray, origins: np.ndarray, steps: np.ndarray, ends: np.ndarray
) -> np.ndarray:
    rows = origins[:, None] + steps
    begin, after = series.offsets[index][:, None], series.offsets[index + 1][:, None]
    inside = (rows >= 0) & (rows < ends[:, None]) & (begin + rows < after)
    flat = np.clip(begin + rows, begin, after - 1)
    values = np.asarray(series.values[flat.ravel()], dtype=np.float64).reshape(*rows.shape, -1)
    return np.where(inside[..., None], values, np.nan)
