"""Bounds that no forecast passes: of the configuration, of Python and of the commands."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from seq2seq.config import config_from_dict
from seq2seq.errors import UsageError
from seq2seq.tasks.forecasting.backtest import backtest
from seq2seq.tasks.forecasting.forecaster import Forecaster
from seq2seq.tasks.forecasting.series_set import pack
from tests.seq2seq.tasks.forecasting.models import MODELS, make_forecaster, make_series

PARTS = ("mean", "median", "quantiles", "paths")


@pytest.fixture(scope="module")
def forecaster():
    return make_forecaster(kind="segments", base="last", scaling="window")


@pytest.mark.parametrize("name", MODELS)
def test_every_part_ends_at_the_bounds_and_is_as_before_between_them(name):
    model, series = make_forecaster(**MODELS[name]), make_series(2)
    free = model.forecast(series, paths=6)
    all_values = np.concatenate([getattr(one, part).ravel() for one in free for part in PARTS])
    lower, upper = np.quantile(all_values, [0.3, 0.6])
    held = model.forecast(series, paths=6, lower=float(lower), upper=float(upper))
    for one, other in zip(held, free, strict=True):
        for part in PARTS:
            expected = np.clip(getattr(other, part), lower, upper)
            assert np.array_equal(getattr(one, part), expected), part


def test_the_configuration_holds_for_forecasts_backtests_and_saved_models(tmp_path):
    made, series = make_forecaster(kind="segments", base="last", scaling="window"), make_series(2)
    free = made.forecast(series)
    made.config.forecast.lower = 1.0
    made.config.forecast.upper = float(max(np.nanmax(one.values) for one in series))
    made.save_pretrained(tmp_path / "model")
    loaded = Forecaster.from_pretrained(tmp_path / "model", device="cpu")
    bounds = (1.0, made.config.forecast.upper)
    for one, other in zip(loaded.forecast(series), free, strict=True):
        assert np.array_equal(one.quantiles, np.clip(other.quantiles, *bounds))
    found = backtest(loaded, pack(series), first=20, stride=1).found
    assert found.quantiles.min() == 1.0 and found.quantiles.max() <= bounds[1]
    closer = backtest(loaded, pack(series), first=20, stride=1, lower=5, upper=6).found
    assert closer.mean.min() == 5 and closer.mean.max() == 6


def test_data_beyond_the_bounds_are_told():
    made, series = make_forecaster(kind="segments"), make_series(2)
    series[1].values[4, 1] = -2.5
    made.config.forecast.lower = 0.0
    message = r"series 's1', row 5 \(time 2024-03-01 10:00\): b is -2.5; expected none beyond 0, as"
    with pytest.raises(UsageError, match=message + " 'forecast.lower' says"):
        made.forecast(series)
    series[1].values[4, 1] = 1e4
    made.config.forecast.upper = 100.0
    with pytest.raises(UsageError, match=r"b is 10000; .* 'forecast.upper'"):
        made.forecast(series)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"lower": 2, "upper": 2}, "lower is 2 and upper 2; expected a lower bound below"),
        ({"lower": "0"}, "lower is '0'; expected a number"),
        ({"upper": float("nan")}, "upper is nan"),
        ({"upper": float("inf")}, "upper is inf"),
        ({"lower": True}, "lower is True"),
    ],
)
def test_bounds_that_make_no_sense(forecaster, bounds, message):
    with pytest.raises(UsageError, match=message):
        forecaster.forecast(make_series(1), **bounds)


def test_a_configuration_that_makes_no_sense():
    values = {"task": "forecasting", "forecast": {"lower": 3, "upper": 1}}
    with pytest.raises(UsageError, match=r"'forecast.lower' is 3 and 'forecast.upper' 1; expected"):
        config_from_dict(values)


def test_the_commands_take_bounds(tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    series = make_series(1, 30, known=False, missing=False)
    made = make_forecaster(series=series, kind="segments", base="last", scaling="window")
    made.config.data.known, made.config.data.static = [], ["kind", "size"]
    made.save_pretrained("model")
    one = series[0]
    columns = {"time": one.times, "name": "x", "a": one.values[:, 0], "b": one.values[:, 1]}
    pd.DataFrame({**columns, **one.static}).to_csv("history.csv", index=False)
    read = ("--input", "history.csv", "--lower", "6.5", "--upper", "7")
    status, out, err = run("forecast", "model", *read)
    assert status == 0, err
    numbers = pd.read_csv(io.StringIO(out))[["mean", "median", "0.1", "0.5", "0.9"]].to_numpy()
    assert numbers.min() == 6.5 and numbers.max() == 7
    status, out, err = run("backtest", "model", *read, "--json")
    assert status == 0, err
    assert out != run("backtest", "model", *read[:2], "--json")[1]
    status, _, err = run("forecast", "model", *read[:2], "--lower", "1", "--upper", "-1")
    assert status == 2 and "lower is 1 and upper -1" in err
    status, _, err = run("forecast", "model", *read[:2], "--lower", "inf")
    assert status == 2 and "'inf' is no finite number" in err
