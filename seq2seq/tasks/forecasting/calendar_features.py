"""Covariates made of the time: where in the day, week, month and year it lies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seq2seq.tasks.forecasting.times import Step

FEATURES_EACH = 4  # sine and cosine of the phase, and of twice the phase
_DAY = 86_400 * 10**9
_DEFAULT = (  # from which step on a phase no longer changes, in days; and how short it must be
    ("time_of_day", 0.0, 0.5),
    ("weekday", 0.0, 1.0),
    ("day_of_month", 0.9, 1.0),
    ("day_of_year", 0.9, 200.0),
)


def resolve(names: Sequence[str], step: Step) -> list[str]:
    """The phases that ``data.calendar`` asks for; "auto" stands for those that a step shows:
    time of day and weekday below a day, weekday, day of month and year at a day, day of year above.
    Times that are whole numbers have none."""
    if not step.dated:
        return []
    days = step.count / _DAY if step.unit == "ns" else step.count * 30.0
    days = float(step.count) if step.unit == "business days" else days
    auto = [name for name, least, most in _DEFAULT if least <= days <= most]
    found = [one for name in names for one in (auto if name == "auto" else [name])]
    return list(dict.fromkeys(found))


def calendar_features(times: np.ndarray, names: Sequence[str], zone: str | None) -> np.ndarray:
    """times (...) datetime64[ns] -> (..., 4 for each name) float32.

    With a ``zone`` times are instants in UTC, and phases are those of the zone's clocks.
    """
    if zone is not None:
        times = local_times(times, zone)
    days = times.astype("datetime64[D]")
    parts = []
    for name in names:
        angle = 2 * np.pi * _phase(name, times, days)
        parts += [np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle)]
    return np.stack(parts, -1).astype(np.float32)


def local_times(times: np.ndarray, zone: str) -> np.ndarray:
    """Instants in UTC -> what the clocks of a zone show."""
    import pandas

    index = pandas.DatetimeIndex(times.ravel()).tz_localize("UTC").tz_convert(zone)
    return index.tz_localize(None).to_numpy().astype("datetime64[ns]").reshape(times.shape)


def _phase(name: str, times: np.ndarray, days: np.ndarray) -> np.ndarray:
    """(...) from 0 to below 1"""
    if name == "time_of_day":
        return (times - days).astype(np.int64) / _DAY
    if name == "weekday":  # 1970-01-01 was a Thursday
        return ((days.astype(np.int64) + 3) % 7) / 7
    start = days.astype("datetime64[M]" if name == "day_of_month" else "datetime64[Y]")
    number = (days - start.astype("datetime64[D]")).astype(np.int64)
    return number / (31 if name == "day_of_month" else 366)
