"""Steps found in times, and times made of steps, against pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from seq2seq.errors import UsageError
from seq2seq.tasks.forecasting.calendar_features import calendar_features, resolve
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
