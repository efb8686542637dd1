"""Dates that users name: where a part of the data or a backtest begins."""

from __future__ import annotations

import contextlib
import re

import numpy as np

from seq2seq.errors import UsageError
from seq2seq.tasks.forecasting.series_set import SeriesSet

QUARTER = r"(\d{4})[- ]?[Qq]([1-4])"  # 2024Q1: its first day
_YEARS = range(1678, 2262)  # what nanoseconds in 64 bits can count


def steps_before(series: SeriesSet, date: str, where: str, expected: str) -> np.ndarray:
    """(N,) how many steps of each series lie before ``date`` (ISO 8601), by the clocks of the
    series' zone where it has one and the date no offset of its own.

    Raises UsageError, which begins with ``where``, for series whose times are numbers, for what is
    no date (``expected``), and for an offset where the series have no zone.
    """
    if not series.step.dated:
        raise UsageError(f"{where} {date!r}; the times of these series are whole numbers")
    return _bisected(series, _moment(series, date, where, expected))


def _moment(series: SeriesSet, date: str, where: str, expected: str) -> np.datetime64:
    import pandas

    at, given = pandas.NaT, date
    if quarter := re.fullmatch(QUARTER, date):
        given = f"{quarter[1]}-{3 * int(quarter[2]) - 2:02d}-01"
    if re.match(r"\d{4}", date):  # pandas takes "now" for a date, too
        with contextlib.suppress(ValueError):
            at = pandas.to_datetime(given, format="ISO8601")
    if at is pandas.NaT or at.year not in _YEARS:
        raise UsageError(f"{where} {date!r}; expected {expected}")
    if series.zone is None and at.tzinfo is not None:
        raise UsageError(
            f"{where} {date!r}; the times of these series have no zone: leave out what follows the "
            "time"
        )
    if series.zone is not None:
        # of an hour that clocks show twice the first is meant; of one that they skip, its end
        if at.tzinfo is None:
            at = at.tz_localize(series.zone, ambiguous=True, nonexistent="shift_forward")
        at = at.tz_convert("UTC").tz_localize(None)
    return at.to_datetime64().astype("datetime64[ns]")


def _bisected(series: SeriesSet, moment: np.datetime64) -> np.ndarray:
    low, high = np.zeros_like(series.lengths), series.lengths
    while (low < high).any():
        middle = (low + high) // 2
        before = series.step.times(series.starts, middle) < moment
        low = np.where((low < high) & before, middle + 1, low)
        high = np.where((low <= high) & ~before, np.minimum(high, middle), high)
    return low
