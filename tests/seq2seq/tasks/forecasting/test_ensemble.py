"""Several forecasters as one: means, what must be alike, the commands."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pytest

from seq2seq.errors import UsageError
from seq2seq.tasks.forecasting.backtest import backtest
from seq2seq.tasks.forecasting.forecaster import Forecaster
from seq2seq.tasks.forecasting.series_set import pack
from tests.seq2seq.tasks.forecasting.models import make_forecaster, make_series

PARTS = ("mean", "median", "quantiles", "paths")


def two():
    """Models of other kinds, whose offsets are at other levels."""
    first = make_forecaster(kind="segments", base="last", scaling="window")
    second = make_forecaster(seed=1, kind="attention", base="mean", scaling="global")
    second.config.forecast.levels = [0.2, 0.5, 0.8]
    return first, second


def test_forecasts_are_the_mean_of_the_members(tmp_path):
    members, series = two(), make_series(2)
    levels = [0.1, 0.5, 0.9]
    alone = [one.forecast(series, paths=4, levels=levels) for one in members]
    together = Forecaster.ensemble(members).forecast(series, paths=4, levels=levels)
    for one, *others in zip(together, *alone, strict=True):
        for part in PARTS:
            expected = np.mean([getattr(other, part) for other in others], axis=0)
            assert getattr(one, part) == pytest.approx(expected, rel=1e-12)


def test_alone_in_a_batch_and_in_an_ensemble_of_ensembles_they_are_the_same():
    first, second = two()
    series = make_series(3)
    whole = Forecaster.ensemble([Forecaster.ensemble([first, second]), first])
    flat = Forecaster.ensemble([first, second, first])
    found = flat.forecast(series)
    for number, one in enumerate(whole.forecast(series)):
        assert np.array_equal(one.quantiles, found[number].quantiles)
        assert np.array_equal(flat.forecast(series[number])[0].mean, one.mean)


def test_an_ensemble_of_one_is_that_model_and_bounds_hold():
    first, second = two()
    series = make_series(1)
    one = Forecaster.ensemble([first]).forecast(series)[0]
    assert np.array_equal(one.quantiles, first.forecast(series)[0].quantiles)
    first.config.forecast.lower = 1.0  # the first's configuration counts
    both = Forecaster.ensemble([first, second]).forecast(series, upper=2.0)[0]
    assert both.quantiles.min() >= 1 and both.quantiles.max() <= 2


def test_counts_stay_counts():
    members = [
        make_forecaster(seed, kind="autoregressive", scaling="mean", head="negative_binomial")
        for seed in (0, 1)
    ]
    one = Forecaster.ensemble(members).forecast(make_series(1), paths=3)[0]
    for part in ("median", "quantiles", "paths"):
        assert np.array_equal(getattr(one, part), np.rint(getattr(one, part)))


def test_backtests_score_the_mean():
    members, series = two(), pack(make_series(2))
    alone = [backtest(one, series, first=25, stride=3) for one in members]
    found = backtest(Forecaster.ensemble(members), series, first=25, stride=3)
    expected = np.mean([one.found.mean for one in alone], axis=0)
    assert found.found.mean == pytest.approx(expected, rel=1e-12)
    error = (found.actual - expected) / found.deviation
    assert found.scores()["all"]["model"]["mse"] == pytest.approx(np.nanmean(error**2), rel=1e-9)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"horizon": 4}, "the horizon is 5 in model 1 and 4 in model 2"),
        (
            {"kind": "autoregressive", "head": "gaussian"},
            "'model.kind' is 'at once' in model 1 and 'autoregressive' in model 2",
        ),
        ({"series": make_series(known=False)}, "known covariates are price in model 1 and none"),
    ],
)
def test_unlike_models_are_refused(other, told):
    first, second = (
        make_forecaster(kind="segments"),
        make_forecaster(**{"kind": "segments"} | other),
    )
    with pytest.raises(UsageError, match=told):
        Forecaster.ensemble([first, second])


def test_what_is_no_list_of_forecasters_and_saving_are_refused(tmp_path):
    first, second = two()
    for given in ([], "model", [first, "model"], first):
        with pytest.raises(UsageError):
            Forecaster.ensemble(given)
    with pytest.raises(UsageError, match="cannot be saved; save its members"):
        Forecaster.ensemble([first, second]).save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_commands_take_further_models(tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    series = make_series(1, 30, known=False, missing=False)
    for name, kind in (("a", "segments"), ("b", "attention")):
        made = make_forecaster(series=series, kind=kind, base="last", scaling="window")
        made.config.data.known, made.config.data.static = [], ["kind", "size"]
        made.save_pretrained(name)
    one = series[0]
    columns = {"time": one.times, "name": "x", "a": one.values[:, 0], "b": one.values[:, 1]}
    pd.DataFrame({**columns, **one.static}).to_csv("history.csv", index=False)
    read = ("--input", "history.csv")
    tables = {}
    for name, options in {"a": ["a"], "b": ["b"], "both": ["a", "--ensemble", "b"]}.items():
        model, *further = options
        status, out, err = run("forecast", model, *read, *further)
        assert status == 0, err
        tables[name] = pd.read_csv(io.StringIO(out))["0.9"].to_numpy()
    assert tables["both"] == pytest.approx((tables["a"] + tables["b"]) / 2, rel=1e-6)
    status, out, err = run("backtest", "a", *read, "--json", "--ensemble", "b")
    assert status == 0, err
    both = backtest(
        Forecaster.ensemble([Forecaster.from_pretrained(n, device="cpu") for n in "ab"]),
        Forecaster.from_pretrained("a", device="cpu").read("history.csv"),
    )
    mse = json.loads(out)["scores"]["all"]["model"]["mse"]
    assert mse == pytest.approx(both.scores()["all"]["model"]["mse"], rel=1e-6)
