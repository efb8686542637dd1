"""Calendar features looked up are those computed."""

from __future__ import annotations

import numpy as np
import pytest

from seq2seq.tasks.forecasting.calendar_features import calendar_features
from seq2seq.tasks.forecasting.calendar_table import CalendarTable
from seq2seq.tasks.forecasting.series import Series
from seq2seq.tasks.forecasting.series_set import SeriesSet, pack
from seq2seq.tasks.forecasting.times import step_named

NAMES = ("time_of_day", "weekday", "day_of_month", "day_of_year", "hour")


def series_from(step: str, starts: list[str], zone: str | None = None) -> SeriesSet:
    found = []
    for number, start in enumerate(starts):
        length = 40 + 10 * number
        times = step_named(step).times(np.datetime64(start, "ns"), np.arange(length))
        values = np.zeros((length, 1))
        found.append(Series(str(number), times, step_named(step), values, ("y",), zone=zone))
    return pack(found)


@pytest.mark.parametrize(
    ("step", "starts", "zone", "shared"),
    [
        ("h", ["2024-03-02T05:00", "2024-02-28T22:00"], None, True),
        ("h", ["2024-03-02T05:00", "2024-03-27T22:00"], "Europe/Berlin", True),
        ("15min", ["2024-03-02T05:00", "2024-03-02T05:20"], None, False),  # other clocks
        ("D", ["2023-12-24", "2024-02-28", "2024-02-01"], None, True),
        ("MS", ["2020-05-01", "1999-12-01"], None, True),
        ("ME", ["2020-05-31", "1999-12-31"], None, True),
        ("B", ["2024-03-01", "2024-02-27"], None, True),
    ],
)
def test_the_table_has_the_features_of_each_time(step, starts, zone, shared):
    series = series_from(step, starts, zone)
    table = CalendarTable(series, NAMES, before=7, after=5, zone=series.zone)
    index = np.arange(len(series))
    for _ in range(20):  # computed; then, where the series share a clock, from the table
        for first, last in ((-7, 15), (10, 33)):
            rows = np.arange(first, last) + np.array([0, 3, 5])[: len(series), None]
            times = series.step.times(series.starts[index][:, None], rows)
            expected = calendar_features(times, NAMES, zone)
            assert np.array_equal(table.features(index, rows), expected)
        ends = series.lengths[:, None] + np.arange(-3, 5)  # as far as a forecast looks ahead
        times = series.step.times(series.starts[index][:, None], ends)
        assert np.array_equal(table.features(index, ends), calendar_features(times, NAMES, zone))
    assert (table._table is not None) == shared


@pytest.mark.parametrize("starts", [("1970-01-01", "2024-03-02"), ("2024-03-02", "2024-03-02")])
def test_times_far_apart_cost_no_memory(starts):
    """Milliseconds of half a century would be a table of 12 TiB."""
    series = series_from("ms", list(starts))
    table = CalendarTable(series, NAMES, before=7, after=5, zone=series.zone)
    index, rows = np.arange(2), np.arange(40)[None].repeat(2, 0)
    for _ in range(5):
        times = series.step.times(series.starts[index][:, None], rows)
        assert np.array_equal(table.features(index, rows), calendar_features(times, NAMES, None))
    assert (table._table is None) == (starts[0] != starts[1])
    assert CalendarTable(series, (), before=7, after=5, zone=series.zone)._table is None
