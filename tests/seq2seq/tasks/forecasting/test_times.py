"""Steps found in times, and times made of steps, against pandas."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from seq2seq.errors import UsageError
from seq2seq.tasks.forecasting.calendar_features import calendar_features, resolve
from seq2seq.tasks.forecasting.reading import Columns, series_of_frame
from seq2seq.tasks.forecasting.times import Step, find_step, step_named

NAMES = ["s", "15min", "h", "6h", "D", "W", "MS", "ME", "QS", "QE", "YS", "YE", "B"]


@pytest.mark.parametrize("name", NAMES)
def test_steps_of_pandas(name):
    start = "2023-12-29 05:00" if name == "B" else "2023-12-31 05:00"
    times = pd.date_range(start, periods=60, freq=name).to_numpy().astype("datetime64[ns]")
    step = find_step(times)
    assert str(step) == name and step_named(name) == step
    assert np.array_equal(step.times(times[0], np.arange(60)), times)
    assert step.numbers(times).tolist() == list(range(60))
    holes = np.delete(times, [3, 4, 17])
    assert find_step(holes) == step
    assert step.numbers(holes).tolist() == np.delete(np.arange(60), [3, 4, 17]).tolist()
    between = np.sort(np.append(times, times[7] + np.timedelta64(1, "ns")))
    assert (step.numbers(between) == -1).sum() == 1


@pytest.mark.parametrize("name", ["6h", "D", "W", "MS", "ME", "QS", "YS", "10YS", "B"])
def test_times_that_are_more_than_292_years_apart(name):
    """Their distance in nanoseconds is more than 63 bits hold."""
    times = pd.date_range("1678-01-03", "2262-04-01", freq=name).to_numpy()
    times = times.astype("datetime64[ns]")
    step = find_step(times)
    assert step == step_named(name)
    numbers = np.arange(len(times))
    assert np.array_equal(step.times(times[0], numbers), times)
    assert step.numbers(times).tolist() == numbers.tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert step.times(times[0], np.array(len(times) - 1))[()] == times[-1]
    several = np.array(["1678-01-03", "1700-01-03"], "datetime64[ns]")
    assert step_named("D").times(several, np.array([213_000, 0])).astype(str)[0].startswith("2261")


@pytest.mark.parametrize("gap", ["error", "fill", "ignore"])
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_tables_that_span_more_than_292_years(gap, zone):
    days = pd.date_range("1680-01-01", "2261-12-31", freq="D", tz=zone)
    holes = days.delete([1000, 150_000]) if gap == "fill" else days
    frame = pd.DataFrame({"time": holes, "y": np.arange(len(holes), dtype=float)})
    series = series_of_frame(frame, Columns("time", gaps=gap))
    assert series.lengths.tolist() == [len(days)]
    assert np.isnan(series[0].values).sum() == (2 if gap == "fill" else 0)
    if gap != "ignore":
        assert str(series.step) == "D" and series[0].times[-1] == np.datetime64("2261-12-31")
    # two series of a few rows each, far apart
    far = frame.iloc[[0, 1, -2, -1]].assign(name=list("aabb"))
    series = series_of_frame(far, Columns("time", ("name",), gaps=gap))
    assert series.lengths.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("times", "settings", "said"),
    [
        (["1700-01-03 05:00", "2020-01-01 07:00"], {}, "no row lies between the times 1700-01-03"),
        (["1700-01-01", "1700-01-02", "2020-01-01"], {}, r"comes 116876 steps \(D\) after the row"),
        (
            ["1700-01-01", "2020-01-01"],
            {"step": step_named("s"), "gaps": "fill"},
            "comes 10,098,172,800 steps .* makes at most 1,000,000,000 rows",
        ),
        ([0, 1, 2**40], {"gaps": "fill"}, "makes at most 1,000,000,000 rows"),
        ([-(2**63), 2**63 - 1], {}, "further apart than any step is long"),
    ],
)
def test_gaps_that_are_too_long(times, settings, said):
    frame = pd.DataFrame({"time": times, "y": np.arange(len(times), dtype=float)})
    with pytest.raises(UsageError, match=said):
        series_of_frame(frame, Columns("time", **settings))


@pytest.mark.parametrize("name", ["9" * 30, "9" * 30 + "h", "200000B", "200000YS", str(2**63)])
def test_steps_that_are_too_long(name):
    with pytest.raises(UsageError, match="step is"):
        step_named(name)


def test_whole_numbers():
    assert find_step(np.array([3, 5, 7, 11])) == Step(2, "rows")
    assert find_step(np.array([3])) is None
    assert Step(2, "rows").times(np.int64(3), np.arange(3)).tolist() == [3, 5, 7]
    assert step_named("5") == Step(5, "rows")


def test_steps_without_a_name():
    for name in ("hour", "0", "-1", "1.5h", ""):
        with pytest.raises(UsageError, match="step is"):
            step_named(name)


def test_calendar():
    assert resolve(["auto"], step_named("h")) == ["time_of_day", "weekday"]
    assert resolve(["auto"], step_named("D")) == ["weekday", "day_of_month", "day_of_year"]
    assert resolve(["auto"], step_named("MS")) == ["day_of_year"]
    assert resolve(["weekday", "auto"], step_named("h")) == ["weekday", "time_of_day"]
    assert resolve(["auto"], Step(1, "rows")) == []
    times = np.array(["2024-02-29T06:00", "2024-03-04T00:00"], "datetime64[ns]")
    found = calendar_features(times, ["time_of_day", "weekday"], None)
    assert found[0, :4] == pytest.approx([1, 0, 0, -1], abs=1e-6)
    assert found[1] == pytest.approx([0, 1, 0, 1, 0, 1, 0, 1], abs=1e-6)  # a Monday, midnight


def test_the_calendar_is_that_of_the_zone():
    times = np.array(["2024-07-01T22:00"], "datetime64[ns]")
    local = np.array(["2024-07-02T00:00"], "datetime64[ns]")
    names = ["time_of_day", "weekday", "day_of_month", "day_of_year"]
    found = calendar_features(times, names, "Europe/Berlin")
    assert np.array_equal(found, calendar_features(local, names, None))
