"""Widths of intervals that follow the model's own errors of late."""

from __future__ import annotations

import json

import numpy as np
import pytest

from seq2seq.errors import UsageError
from seq2seq.tasks.forecasting.forecaster import Forecaster
from seq2seq.tasks.forecasting.prediction import Predicted
from seq2seq.tasks.forecasting.recent import error_sizes, recent_widths, widened
from seq2seq.tasks.forecasting.rolling import Origins
from seq2seq.tasks.forecasting.series import Series
from seq2seq.tasks.forecasting.series_set import pack
from seq2seq.tasks.forecasting.times import step_named
from seq2seq.training.loop import train
from tests.seq2seq.tasks.forecasting.models import MODELS, make_config, make_forecaster, make_series


def plain_series(values):
    step = step_named("h")
    times = step.times(np.datetime64("2024-01-01", "ns"), np.arange(len(values)))
    return Series("s", times, step, np.asarray(values, dtype=np.float64), ("a", "b"))


def unit_interval(past):
    """-1, 0 and 1 for all 4 steps of two targets."""
    return np.tile(np.array([-1.0, 0.0, 1.0])[:, None, None], (len(past.series), 1, 4, 2))


def test_widths_are_quantiles_of_the_errors_before_the_origin():
    random = np.random.default_rng(0)
    values = random.normal(size=(120, 2)) * [1.0, 0.5]
    values[60:, 1] *= 4
    values[70, 0] = np.nan
    series, origins = pack([plain_series(values)]), np.array([60, 100])
    where = Origins(np.zeros(2, dtype=int), origins, np.full(2, 120))
    found = recent_widths(unit_interval, series, where, 30, 10, 4, 0.8)
    for row, origin in enumerate(origins):
        sizes = []  # of each origin before, those of its steps that are recent and known
        for past in range(origin - 33, origin):
            for time in range(past, past + 4):
                if origin - 30 <= time < origin:
                    sizes.append(np.abs(values[time]))
        for target in range(2):
            own = [size[target] for size in sizes if not np.isnan(size[target])]
            expected = np.quantile(own, 0.8, method="weibull")
            assert found[row, target] == pytest.approx(np.clip(expected, 0.25, 4))
    assert found[1, 1] > 2 * found[0, 1]
    early = Origins(np.zeros(1, dtype=int), np.array([11]), np.array([120]))
    assert recent_widths(unit_interval, series, early, 30, 10, 4, 0.8).tolist() == [[1, 1]]
    none = Origins(np.zeros(1, dtype=int), np.array([5]), np.array([120]))
    assert recent_widths(unit_interval, series, none, 30, 10, 4, 0.8).tolist() == [[1, 1]]


def test_sizes_of_errors_on_both_sides():
    quantiles = np.array([-2.0, 0.0, 1.0]).reshape(1, 3, 1, 1).repeat(5, 2)
    actual = np.array([-2.0, -1.0, 0.0, 3.0, np.nan]).reshape(1, 5, 1)
    found = error_sizes(quantiles, actual)[0, :, 0]
    assert found[:4].tolist() == [1.0, 0.5, 0.0, 3.0] and np.isnan(found[4])
    assert np.isnan(error_sizes(0 * quantiles, actual)).all()


@pytest.mark.parametrize("log", [False, True])
def test_distances_to_the_median_are_multiplied(log):
    quantiles = np.array([4.0, 8.0, 32.0]).reshape(1, 3, 1, 1)
    found = Predicted(quantiles[:, 1], quantiles[:, 1], quantiles, quantiles[:, :2])
    moved = widened(found, np.array([[2.0]]), log=log, counts=False)
    expected = [2.0, 8.0, 128.0] if log else [0.0, 8.0, 56.0]
    assert moved.quantiles.ravel().tolist() == expected
    assert moved.paths.ravel().tolist() == expected[:2]
    assert moved.mean is found.mean and moved.median is found.median
    counts = widened(found, np.array([[2.6]]), log=False, counts=True)
    assert counts.quantiles.ravel().tolist() == [0.0, 8.0, 70.0]


@pytest.mark.parametrize("name", ["segments", "attention", "log"])
def test_forecasts_are_the_fixed_ones_with_other_widths(name):
    """Alone, in a batch, for a shorter horizon and without calibration."""
    series = make_series(missing=False)
    fixed, recent = (make_forecaster(widths=w, **MODELS[name]) for w in ("fixed", "recent"))
    before, after = fixed.forecast(series, paths=3), recent.forecast(series, paths=3)
    move = np.log if name == "log" else np.asarray
    factors = []
    for one, two in zip(before, after, strict=True):
        assert np.array_equal(one.median, two.median) and np.array_equal(one.mean, two.mean)
        for x, y in ((one.quantiles, two.quantiles), (one.paths, two.paths)):
            with np.errstate(invalid="ignore"):  # 0 / 0 at the median itself
                ratio = (move(y) - move(two.median)) / (move(x) - move(one.median))
            assert np.nanstd(ratio, axis=(0, 1)) == pytest.approx(0, abs=1e-4)
            factors.append(np.nanmean(ratio, axis=(0, 1)))
    assert max(np.ptp(np.array(factors), axis=0)) > 0.01
    for one, two in zip(series, after, strict=True):
        alone = recent.forecast(one, horizon=2)[0]
        assert np.array_equal(alone.quantiles, two.quantiles[:, :2])
    for one, two in zip(
        *(f.forecast(series, calibrate=False) for f in (fixed, recent)), strict=True
    ):
        assert np.array_equal(one.quantiles, two.quantiles)


def test_intervals_hold_in_calmer_times(tmp_path, monkeypatch, hourly):
    """A test part that varies a fifth as much as the validation part; saving keeps the setting."""
    monkeypatch.chdir(tmp_path)
    frame, values = hourly
    random = np.random.default_rng(0)
    frame = frame.copy()
    calm = frame["time"] >= "2024-01-07"
    frame["y"] = random.normal(size=len(frame)) * np.where(calm, 1.0, 5.0)
    frame.to_csv("series.csv", index=False)
    covers = {}
    for widths in ("fixed", "recent"):
        config = values(
            model={"scaling": "global", "base": "mean", "head": "point"},
            training={"max_epochs": 1},
            output=widths,
        )
        config.forecast.widths, config.forecast.recent_steps = widths, 24
        config.data.split = ["2024-01-05", "2024-01-08"]
        config.data.validation_stride = config.data.test_stride = 1
        folder = train(config, quiet=True)
        again = Forecaster.from_pretrained(folder, device="cpu").config.forecast
        assert (again.widths, again.recent_steps) == (widths, 24)
        scores = json.loads((folder.parent / "test.scores.json").read_text())
        covers[widths] = scores["model"]["coverage_80"]
    assert covers["fixed"] > 0.9
    assert covers["recent"] == pytest.approx(0.8, abs=0.08)


def test_models_that_cannot_have_them():
    with pytest.raises(UsageError, match="widths: recent"):
        make_config("recent", kind="autoregressive", head="student")
    config = make_config("recent", kind="segments")
    assert config.forecast.recent_steps == 8
