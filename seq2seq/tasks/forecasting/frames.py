"""Forecasts as tables and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seq2seq.json_files import to_json
from seq2seq.tasks.forecasting.series import Forecast

if TYPE_CHECKING:
    from pandas import DataFrame, Index


def frame_of(forecasts: Sequence[Forecast]) -> DataFrame:
    """One row for each series, target and time: series, target, time, mean, median, a column for
    each quantile level ("0.1") and each sampled path ("path1")."""
    import pandas

    return pandas.concat([_frame(one) for one in forecasts], ignore_index=True)


def _frame(forecast: Forecast) -> DataFrame:
    import pandas

    steps, targets = forecast.mean.shape
    columns: dict[str, Any] = {
        "series": [forecast.name] * (steps * targets),
        "target": np.repeat(forecast.targets, steps),
        "time": np.tile(shown_times(forecast), targets),
        "mean": forecast.mean.T.ravel(),
        "median": forecast.median.T.ravel(),
    }
    if forecast.zone is not None:
        columns["time"] = pandas.concat([pandas.Series(shown_times(forecast))] * targets).array
    for level, values in zip(forecast.levels, forecast.quantiles, strict=True):
        columns[f"{level:g}"] = values.T.ravel()
    if forecast.paths is not None:
        for number, values in enumerate(forecast.paths, start=1):
            columns[f"path{number}"] = values.T.ravel()
    return pandas.DataFrame(columns)


def shown_times(forecast: Forecast) -> Index:
    """The times as they were given: in their zone, if they had one."""
    return in_zone(forecast.times, forecast.zone)


def in_zone(times: np.ndarray, zone: str | None) -> Index:
    """Times of a series: with a ``zone`` they are instants in UTC, and shown by its clocks."""
    import pandas

    if zone is None:
        return pandas.Index(times)
    return pandas.DatetimeIndex(times).tz_localize("UTC").tz_convert(zone)


def json_of(forecast: Forecast) -> str:
    """One line: series, times, levels, and for each target mean, median, quantiles (by level) and
    paths."""
    targets = {}
    for number, name in enumerate(forecast.targets):
        targets[name] = {
            "mean": forecast.mean[:, number].tolist(),
            "median": forecast.median[:, number].tolist(),
            "quantiles": {
                f"{level:g}": values[:, number].tolist()
                for level, values in zip(forecast.levels, forecast.quantiles, strict=True)
            },
        }
        if forecast.paths is not None:
            targets[name]["paths"] = forecast.paths[:, :, number].tolist()
    times = shown_times(forecast)
    found = {
        "series": forecast.name,
        "times": [int(t) if times.dtype.kind == "i" else t.isoformat() for t in times],
        "targets": targets,
    }
    return to_json(found)
