"""Backtests: a trained model forecasts from many origins of known series, and is scored at each.

Nothing behind an origin is read (``Forecaster.predict``), so the forecasts are those that the model
would have given then. Sizes: N windows (origins of all series), H horizon, C targets, Q levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from seq2seq.arguments import check_whole
from seq2seq.errors import UsageError
from seq2seq.tasks.forecasting.dates import steps_before
from seq2seq.tasks.forecasting.evaluation import Scores, evaluate, naive_forecasts
from seq2seq.tasks.forecasting.frames import in_zone
from seq2seq.tasks.forecasting.prediction import Predicted
from seq2seq.tasks.forecasting.rolling import Origins, actual_values
from seq2seq.tasks.forecasting.series import Forecast, Series
from seq2seq.tasks.forecasting.series_set import SeriesSet, pack

if TYPE_CHECKING:
    from pandas import DataFrame

    from seq2seq.precision import Precision
    from seq2seq.tasks.forecasting.forecaster import Forecaster


@dataclass(frozen=True)
class Backtest:
    """Forecasts from many origins and what came."""

    series: SeriesSet
    where: Origins
    actual: np.ndarray  # (N, H, C), NaN where missing
    found: Predicted
    levels: tuple[float, ...]
    naive: dict[str, np.ndarray]  # name -> (N, H, C)
    season: int
    deviation: np.ndarray  # (C,) of training: the unit of mse, mae and crps

    def scores(self, steps: Sequence[int] = ()) -> dict[str, Scores]:
        """The scores of all steps ("all"), and of each of ``steps`` ahead apart ("3", counted from
        1), of the model and of the naive forecasts; see ``evaluation.evaluate``."""
        horizon = self.actual.shape[1]
        for step in steps:
            if not 1 <= step <= horizon:
                raise UsageError(f"step {step} ahead; expected 1 to {horizon}, the horizon")
        chosen = {"all": slice(None), **{str(step): slice(step - 1, step) for step in steps}}
        return {name: self._score(part) for name, part in chosen.items()}

    def by_origin(self) -> DataFrame:
        """One row an origin: series, origin (the time of its first forecast step, in the
        zone of the series), mae and mse of
        the model in units of the standard deviation of training, and the mae of each naive
        forecast."""
        import pandas

        columns: dict[str, object] = {
            "series": self.series.names[self.where.series],
            "origin": in_zone(
                self.series.step.times(self.series.starts[self.where.series], self.where.origins),
                self.series.zone,
            ),
            "mse": self._mean(self.found.mean, 2),
            "mae": self._mean(self.found.median, 1),
        }
        for name, forecast in self.naive.items():
            columns[f"mae {name}"] = self._mean(forecast, 1)
        return pandas.DataFrame(columns)

    def drawn(self, number: int = 0) -> tuple[list[tuple[Series, Forecast]], np.ndarray]:
        """Forecasts of the series ``number`` whose windows do not overlap, at most eight of the
        latest, as ``plots.plot_backtest`` takes them; and what came after the last origin."""
        horizon = self.actual.shape[1]
        own = np.flatnonzero(self.where.series == number)
        if not len(own):
            raise UsageError(f"series {str(self.series.names[number])!r} has no origin to draw")
        chosen, limit = [], None
        for window in own[::-1]:
            origin = int(self.where.origins[window])
            if limit is None or origin <= limit - horizon:
                chosen.append(int(window))
                limit = origin
        windows = chosen[:8][::-1]
        series = self.series[number]
        return [(series.until(int(self.where.origins[w])), self._forecast(w)) for w in windows], (
            self.actual[windows[-1]]
        )

    def _forecast(self, window: int) -> Forecast:
        index, origin = int(self.where.series[window]), int(self.where.origins[window])
        ahead = np.arange(origin, origin + self.actual.shape[1])
        return Forecast(
            str(self.series.names[index]),
            self.series.step.times(self.series.starts[index], ahead),
            self.series.targets,
            self.found.mean[window],
            self.found.median[window],
            self.levels,
            self.found.quantiles[window],
            zone=self.series.zone,
        )

    def _mean(self, forecast: np.ndarray, power: int) -> np.ndarray:
        """(N,) mean of abs(error)^power, NaN where nothing came."""
        error = np.abs(self.actual - forecast) / self.deviation
        there = ~np.isnan(error)
        count = there.sum((1, 2))
        total = np.where(there, error, 0.0) ** power
        return np.where(count > 0, total.sum((1, 2)) / np.maximum(count, 1), np.nan)

    def _score(self, steps: slice) -> Scores:
        found = Predicted(
            self.found.mean[:, steps],
            self.found.median[:, steps],
            self.found.quantiles[:, :, steps],
            None,
        )
        naive = {name: forecast[:, steps] for name, forecast in self.naive.items()}
        # the scale of MASE: what came before the first origin of each series
        ends = np.full(len(self.series), np.iinfo(np.int64).max)
        np.minimum.at(ends, self.where.series, self.where.origins)
        return evaluate(
            self.actual[:, steps],
            self.series,
            self.where.series,
            found,
            self.levels,
            naive,
            self.season,
            np.minimum(ends, self.series.lengths),
            self.deviation,
        )


def backtest(
    forecaster: Forecaster,
    series: Series | Sequence[Series],
    horizon: int | None = None,
    *,
    first: int | str | datetime | None = None,
    stride: int | None = None,
    levels: Sequence[float] | None = None,
    lower: float | None = None,
    upper: float | None = None,
    precision: Precision = "fp32",
) -> Backtest:
    """Forecast each series from all its origins, ``stride`` steps apart (default: the horizon),
    whose whole horizon is known. ``series``: what ``Forecaster.read`` gives, or Series.

    ``first`` is the first origin: a number of steps that are seen before it (at least one is), or a
    date, from which on is forecast, by the clocks of the series' zone unless it has an offset
    itself; by default the latest origin alone is taken. ``levels``, ``lower`` and ``upper`` are
    those of ``Forecaster.forecast``.

    Raises:
        UsageError: a series of another kind, no origin in any series, a date for series whose times
            are numbers; see ``Forecaster.forecast``.
        RunError: the model gives no numbers.
    """
    series = pack(series)
    forecaster.check(series)
    asked = forecaster.asked(horizon, levels=levels, lower=lower, upper=upper)
    stride = check_whole("stride", asked.horizon if stride is None else stride, 1)
    where = _origins(series, asked.horizon, first, stride)
    found = forecaster.predict(series, where, asked, precision)
    season, context = forecaster.encoding.season, forecaster.config.model.context
    return Backtest(
        series,
        where,
        actual_values(series, where, asked.horizon),
        found,
        asked.levels,
        naive_forecasts(series, where, asked.horizon, season, context),
        season,
        np.asarray(forecaster.encoding.target_deviation),
    )


def _origins(
    series: SeriesSet, horizon: int, first: int | str | datetime | None, stride: int
) -> Origins:
    """All origins from ``first`` on, in the order of series and time."""
    if isinstance(first, datetime):
        first = first.isoformat()
    latest = series.lengths - horizon
    if first is None:
        begins = latest
    elif isinstance(first, str):
        expected = "a number of steps, or a date: 2024-05-01"
        begins = steps_before(series, first, "the first origin is", expected)
    else:
        begins = np.full(len(series), check_whole("the first origin", first, 0))
    begins = np.maximum(begins, 1)  # something is seen before every origin
    counts = np.where(begins <= latest, (latest - begins) // stride + 1, 0)
    if not counts.any():
        raise UsageError(
            f"no origin: the longest series has {series.lengths.max()} steps; expected {horizon} "
            f"steps of known values after {'at least one' if first is None else first}"
        )
    index = np.repeat(np.arange(len(series)), counts)
    place = np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)
    return Origins(index, begins[index] + place * stride, series.lengths[index])
