"""Forecasts are the same alone and in a batch, after saving and loading, by file and by frame."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch

from seq2seq.errors import RunError, UsageError
from seq2seq.saved.directory import CONFIG_FILE
from seq2seq.tasks.forecasting.encoding import ENCODING_FILE
from seq2seq.tasks.forecasting.forecaster import (
    Forecaster,
    make_model,
    reach_of,
)
from seq2seq.tasks.forecasting.objectives import ForecastLoss
from seq2seq.tasks.forecasting.prediction import _between, predict
from seq2seq.tasks.forecasting.series import Series
from seq2seq.tasks.forecasting.series_set import pack
from seq2seq.tasks.forecasting.times import step_named
from seq2seq.tasks.forecasting.windows import WindowCutter
from tests.seq2seq.tasks.forecasting.models import MODELS, make_forecaster, make_series


def numbers(forecast):
    return np.concatenate([forecast.mean[None], forecast.quantiles, forecast.paths])


@pytest.mark.parametrize("name", MODELS)
def test_alone_in_a_batch_and_after_loading_forecasts_are_the_same(name, tmp_path):
    series = make_series(5)
    forecaster = make_forecaster(**MODELS[name])
    together = forecaster.forecast(series, paths=4)
    alone = [forecaster.forecast(one, paths=4)[0] for one in reversed(series)][::-1]
    forecaster.save_pretrained(tmp_path / "model")
    loaded = Forecaster.from_pretrained(tmp_path / "model", device="cpu")
    again = loaded.forecast(series[2:], paths=4)
    for one, other in zip(together, alone, strict=True):
        assert np.array_equal(numbers(one), numbers(other))
    for one, other in zip(together[2:], again, strict=True):
        assert np.array_equal(numbers(one), numbers(other))
        assert one.times.tolist() == other.times.tolist()
    loaded.save_pretrained(tmp_path / "again")
    for file in (CONFIG_FILE, ENCODING_FILE):
        first, second = ((tmp_path / folder / file) for folder in ("model", "again"))
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("name", ["segments", "attention", "autoregressive, lstm"])
def test_a_forecast_is_well_formed(name):
    forecaster = make_forecaster(**MODELS[name])
    series = make_series()
    (one,) = forecaster.forecast(series[0], levels=[0.2, 0.5, 0.8], paths=30)
    assert one.name == "s0" and one.targets == ("a", "b") and one.levels == (0.2, 0.5, 0.8)
    assert one.times.tolist() == series[0].future_times(5).tolist()
    assert one.mean.shape == one.median.shape == (5, 2) and one.paths.shape == (30, 5, 2)
    assert (np.diff(one.quantiles, axis=0) >= 0).all()
    assert np.array_equal(one.median, one.quantiles[1])
    assert np.array_equal(one.interval(0.6)[0], one.quantiles[0])
    with pytest.raises(UsageError, match=r"no quantile 0.05 for an interval of 0.9"):
        one.interval(0.9)


def test_sampled_paths_follow_from_the_seed():
    forecaster = make_forecaster(**MODELS["autoregressive, quantiles"])
    series = make_series()[0]
    first, second, other = (
        forecaster.forecast(series, paths=5, seed=seed)[0] for seed in (1, 1, 2)
    )
    assert np.array_equal(first.paths, second.paths)
    assert not np.array_equal(first.paths, other.paths)
    long = dataclasses.replace(series, known=np.concatenate([series.known, np.zeros((20, 1))]))
    longer = forecaster.forecast(long, 25, paths=5, seed=1)[0]
    assert longer.paths.shape == (5, 25, 2)
    assert np.array_equal(longer.paths[:, :5], first.paths)


@pytest.mark.parametrize("name", ["segments", "autoregressive"])
def test_shorter_horizons_are_the_beginning_of_longer_ones(name):
    forecaster = make_forecaster(**MODELS[name])
    whole, part = (forecaster.forecast(make_series(), horizon)[1] for horizon in (5, 3))
    assert part.mean.shape == (3, 2)
    assert np.array_equal(whole.quantiles[:, :3], part.quantiles)


def test_paths_of_a_direct_model_are_correlated_and_keep_the_quantiles():
    forecaster = make_forecaster(**MODELS["attention"])
    (one,) = forecaster.forecast(make_series()[0], paths=4000, levels=[0.25, 0.75])
    inside = (one.paths > one.quantiles[0]) & (one.paths < one.quantiles[1])
    assert inside.mean(0) == pytest.approx(np.full((5, 2), 0.5), abs=0.04)  # 5 sigma
    correlation = np.corrcoef(one.paths[:, :, 0].T)
    assert correlation[0, 1] == pytest.approx(0.6, abs=0.06)
    assert correlation[0, 4] == pytest.approx(0.6**4, abs=0.08)


def test_frames_in_frames_out():
    forecaster = make_forecaster(**MODELS["segments"])
    series = make_series()
    rows = []
    for one in series:
        times = one.step.times(one.times[0], np.arange(len(one) + one.future))
        rows.append(pd.DataFrame({"time": times, "name": one.name, "price": one.known[:, 0]}))
        rows[-1]["a"], rows[-1]["b"] = np.nan, np.nan
        rows[-1].loc[: len(one) - 1, ["a", "b"]] = one.values
        rows[-1]["kind"], rows[-1]["size"] = one.static["kind"], one.static["size"]
    forecaster.config.data.static = ["kind", "size"]
    frame = pd.concat(rows).sample(frac=1, random_state=0)  # in any order
    found = forecaster.forecast_frame(frame)
    assert list(found.columns) == [
        "series",
        "target",
        "time",
        "mean",
        "median",
        "0.1",
        "0.5",
        "0.9",
    ]
    expected = {one.name: one for one in forecaster.forecast(series)}
    for (name, target), own in found.groupby(["series", "target"]):
        column = "ab".index(target)
        assert np.array_equal(own["mean"], expected[name].mean[:, column])
        assert np.array_equal(own["0.9"], expected[name].quantiles[2, :, column])
        assert own["time"].to_numpy().tolist() == expected[name].times.tolist()


def test_unusual_series_are_forecast():
    forecaster = make_forecaster(
        series=make_series(known=False), kind="segments", scaling="window", series_embedding=True
    )
    times = step_named("h").times(np.datetime64("2024-05-01", "ns"), np.arange(30))
    static = {"kind": "never seen", "size": 1e3}
    values = {
        "constant": np.full((30, 2), 5.0),
        "zero": np.zeros((30, 2)),
        "one": np.full((1, 2), 3.0),
        "half empty": np.where(np.arange(2) == 0, np.nan, np.arange(30.0)[:, None]),
        "large": 1e12 + np.arange(60.0).reshape(30, 2),
    }
    for name, own in values.items():
        series = Series(name, times[: len(own)], step_named("h"), own, ("a", "b"), static=static)
        (one,) = forecaster.forecast([series])
        assert np.isfinite(one.quantiles).all(), name
        if name == "constant":
            assert np.abs(one.mean - 5).max() < 0.1  # a thousandth is its unit
        if name == "large":
            assert np.abs(one.mean - 1e12).max() < 1e5


def test_what_a_model_cannot_forecast_is_refused():
    forecaster = make_forecaster(**MODELS["segments"])
    series = make_series()
    with pytest.raises(UsageError, match=r"forecasts 5 steps at once.*autoregressive"):
        forecaster.forecast(series, 6)
    short = dataclasses.replace(series[1], known=series[1].known[:-2])
    with pytest.raises(UsageError, match=r"series 's1', row 41 \(time 2024-03-02 22.*price"):
        forecaster.forecast([series[0], short])
    other = dataclasses.replace(series[0], targets=("a", "c"))
    with pytest.raises(UsageError, match="targets are a, c; the model was trained with a, b"):
        forecaster.forecast([other])
    static = dataclasses.replace(series[0], static={"kind": "x"})
    with pytest.raises(UsageError, match="no static column 'size'"):
        forecaster.forecast([static])
    values = series[0].values.copy()
    values[11, 1] = np.inf
    with pytest.raises(UsageError, match=r"series 's0', row 12 \(time 2024-03-01 16.*b is inf"):
        forecaster.forecast([dataclasses.replace(series[0], values=values)])
    daily = step_named("D")
    times = daily.times(series[0].times[0], np.arange(40))
    with pytest.raises(UsageError, match="the step is D; the model was trained with h"):
        forecaster.forecast([dataclasses.replace(series[0], times=times, step=daily)])
    for options, message in (
        ({"levels": [0.5, 0.1]}, "levels is"),
        ({"paths": -1}, "paths is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"horizon": 0}, "horizon is 0"),
    ):
        with pytest.raises(UsageError, match=message):
            forecaster.forecast(series, **options)
    with pytest.raises(UsageError, match="history is int"):
        forecaster.forecast(3)


def test_counts_and_positive_values_are_asked_for():
    series = make_series(missing=False)
    values = series[1].values.copy()
    values[3, 0] = 2.5
    counts = make_forecaster(**MODELS["autoregressive"])
    with pytest.raises(UsageError, match=r"series 's1', row 4 .*a is 2.5; expected a count"):
        counts.forecast([series[0], dataclasses.replace(series[1], values=values)])
    (one,) = counts.forecast(series[0], paths=50)
    assert (one.paths == one.paths.round()).all() and (one.paths >= 0).all()
    values[3, 0] = 0
    positive = make_forecaster(**MODELS["attention, lstm"])
    with pytest.raises(UsageError, match="a is 0; expected a number above 0"):
        positive.forecast([dataclasses.replace(series[1], values=values)])


def test_a_damaged_encoding_is_named(tmp_path):
    forecaster = make_forecaster(**MODELS["segments"])
    forecaster.save_pretrained(tmp_path)
    path = tmp_path / ENCODING_FILE
    values = json.loads(path.read_text())
    for damage in (
        {"season": "x", "extra": 1},
        {**values, "targets": ["a"]},
        {**values, "season": "x"},
        {**values, "target_mean": ["x", "y"]},
        [],
    ):
        path.write_text(json.dumps(damage))
        with pytest.raises(RunError, match=ENCODING_FILE):
            Forecaster.from_pretrained(tmp_path)


def test_quantiles_of_paths_are_those_of_numpy():
    random = np.random.default_rng(0)
    for count in (1, 2, 7):
        paths = random.normal(size=(2, count, 3, 1))
        levels = np.array([0.0, 0.13, 0.5, 1.0])
        ordered = torch.from_numpy(np.sort(paths, 1))
        found = _between(ordered, torch.from_numpy(levels)).numpy()
        assert found == pytest.approx(np.moveaxis(np.quantile(paths, levels, axis=1), 0, 1))


def test_times_come_back_in_their_zone():
    forecaster = make_forecaster(series=make_series(known=False), kind="segments", scaling="window")
    forecaster.config.data.known = []
    times = pd.date_range("2024-10-26 12:00", periods=30, freq="h", tz="Europe/Berlin")
    values = np.arange(30.0)
    frame = pd.DataFrame({"time": times, "name": "n", "a": values, "b": values})
    forecaster.config.data.static, frame["kind"], frame["size"] = ["kind", "size"], "x", 1.0
    found = forecaster.forecast_frame(frame)
    expected = pd.date_range("2024-10-26 12:00", periods=35, freq="h", tz="Europe/Berlin")[30:]
    assert found["time"][:5].tolist() == expected.tolist()


@pytest.mark.parametrize(
    "name", ["segments", "attention", "smoothing", "autoregressive, quantiles"]
)
def test_all_is_computed_on_the_device_of_the_batch(name):
    """On the meta device, which refuses tensors of another one."""
    series = pack(make_series())
    forecaster = make_forecaster(**MODELS[name])
    cutter = WindowCutter(series, forecaster.encoding, reach_of(forecaster.model))
    where = np.arange(3), np.array([20, 15, 9]), np.array([25, 20, 14])
    batch = cutter.cut(*where)[0].to(torch.device("meta"))
    with torch.device("meta"):
        model = make_model(forecaster.config, forecaster.encoding)
        uniform = torch.empty(3, 5, 7, 2)
    levels = torch.tensor([0.1, 0.9], dtype=torch.float64)
    found = predict(model, batch, levels, uniform, None)
    assert found.quantiles.is_meta and found.paths.shape == (3, 7, 5, 2)
    assert ForecastLoss(model)(batch).is_meta


def test_paths_that_are_asked_for_change_neither_mean_nor_quantiles():
    forecaster = make_forecaster(**MODELS["autoregressive, lstm"])
    series = make_series()
    plain = forecaster.forecast(series)[0]
    for count in (1, 3, 20):
        found = forecaster.forecast(series, paths=count)[0]
        assert found.paths.shape[0] == count
        for name in ("mean", "median", "quantiles"):
            np.testing.assert_array_equal(getattr(found, name), getattr(plain, name))


def test_times_of_a_series_are_one_step_apart():
    series = make_series(1)[0]
    gap = series.times.copy()
    gap[20:] += np.timedelta64(3, "h")
    lost = series.times.copy()
    lost[3] = np.datetime64("NaT")
    for times, message in (
        (gap, r"row 21: the time is 2024-03-02 04:00; expected times one step \(h\) apart"),
        (series.times[::-1].copy(), "row 2: the time is"),
        (lost, "row 4: the time is missing; expected"),
        (np.arange(40), "times are int64 and the step is h"),
        (pd.DatetimeIndex(series.times), "times is a DatetimeIndex; expected a ndarray"),
    ):
        with pytest.raises(UsageError, match=f"series 's0'.*{message}"):
            dataclasses.replace(series, times=times)
    with pytest.raises(UsageError, match=r"step is a str; expected a Step; times.step_named"):
        dataclasses.replace(series, step="h")
    with pytest.raises(UsageError, match="values is a list; expected a ndarray"):
        dataclasses.replace(series, values=[[1.0]])
    seconds = dataclasses.replace(series, times=series.times.astype("datetime64[s]"))
    forecaster = make_forecaster(kind="segments", base="last")
    found, expected = (forecaster.forecast(one)[0] for one in (seconds, series))
    np.testing.assert_array_equal(found.times, expected.times)
    wrong = dataclasses.replace(series, static={"kind": "x", "size": np.nan})
    with pytest.raises(UsageError, match="static column 'size' is nan; expected a number"):
        forecaster.forecast(wrong)


def test_intervals_without_width_are_told(caplog):
    forecaster = make_forecaster(kind="segments", base="last", head="point")
    forecaster.forecast(make_series())
    assert not caplog.text
    forecaster.model.offsets.zero_()
    forecaster.forecast(make_series())
    assert "the model gives points alone" in caplog.text
