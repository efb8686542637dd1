"""No value behind the origin changes a forecast: of any model, scaling and base, in use, in
validation and in training."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from seq2seq.tasks.forecasting.encoding import learn_encoding
from seq2seq.tasks.forecasting.making import reach_of
from seq2seq.tasks.forecasting.rolling import Origins
from seq2seq.tasks.forecasting.series_set import pack
from seq2seq.tasks.forecasting.windows import WindowCutter
from seq2seq.training.loop import train
from tests.seq2seq.tasks.forecasting.models import MODELS, make_config, make_forecaster, make_series

ORIGINS = np.array([20, 15, 9])


def changed_after(series, origins):
    """The same series with other values from each origin on."""
    found = []
    for one, origin in zip(series, origins, strict=True):
        values = one.values.copy()
        values[origin:] = np.where(np.isnan(values[origin:]), 3e6, np.nan)
        values[origin] = 5e7
        found.append(dataclasses.replace(one, values=values))
    return found


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        *((name, "window") for name in MODELS),
        *((name, "recent") for name in MODELS if not name.startswith("autoregressive")),
    ],
)
def test_values_behind_the_origin_change_no_forecast(name, widths):
    series = make_series()
    forecaster = make_forecaster(widths=widths, **MODELS[name])
    asked = forecaster.asked(paths=3)
    where = Origins(np.arange(3), ORIGINS, ORIGINS + 5)
    before, after, cut = (
        forecaster.predict(pack(one), where, asked)
        for one in (
            series,
            changed_after(series, ORIGINS),
            [one.until(int(origin)) for one, origin in zip(series, ORIGINS, strict=True)],
        )
    )
    for first, second, third in zip(before, after, cut, strict=True):
        assert np.isfinite(first).all()
        assert np.array_equal(first, second)
        assert np.array_equal(first, third)
    earlier = [dataclasses.replace(one, values=one.values * 3) for one in series]
    moved = forecaster.predict(pack(earlier), where, asked)
    assert not np.array_equal(before.mean, moved.mean)  # what lies before it does


@pytest.mark.parametrize("name", [n for n in MODELS if n.startswith("autoregressive")])
def test_in_training_a_distribution_depends_on_earlier_values_alone(name):
    series = pack(make_series(missing=False))
    forecaster = make_forecaster(**MODELS[name])
    cutter = WindowCutter(series, forecaster.encoding, reach_of(forecaster.model))
    batch, _, _ = cutter.cut(np.arange(3), ORIGINS, ORIGINS + 5)
    context = forecaster.config.model.context
    future = batch.future.clone()
    future[:, 2] += 1
    with torch.inference_mode():
        first = forecaster.model.teacher_forced(batch).parameters
        second = forecaster.model.teacher_forced(dataclasses.replace(batch, future=future))
    assert torch.equal(first[:, : context + 3], second.parameters[:, : context + 3])
    assert not torch.equal(first[:, context + 3], second.parameters[:, context + 3])


def test_the_past_of_a_window_holds_nothing_of_its_future():
    series = make_series()
    forecaster = make_forecaster(kind="segments", scaling="window")
    batches = [
        WindowCutter(pack(one), forecaster.encoding, reach_of(forecaster.model)).cut(
            np.arange(3), ORIGINS, ORIGINS + 5
        )[0]
        for one in (series, changed_after(series, ORIGINS))
    ]
    for name in ("past", "observed", "features", "shift", "scale", "categories", "numbers"):
        assert torch.equal(*(getattr(batch, name) for batch in batches)), name
    assert not torch.equal(batches[0].future, batches[1].future)


def test_statistics_are_of_the_training_part():
    series, config = make_series(), make_config(kind="segments")
    before, after = (
        learn_encoding(config, pack(one), ORIGINS)
        for one in (series, changed_after(series, ORIGINS))
    )
    assert before == after
    rows = np.concatenate([one.values[:n] for one, n in zip(series, ORIGINS, strict=True)])
    assert before.target_mean == pytest.approx(np.nanmean(rows, 0))
    assert before.target_deviation == pytest.approx(np.nanstd(rows, 0))


def test_the_test_part_changes_nothing_of_a_trained_model(tmp_path, monkeypatch, hourly):
    """Weights, calibration and the choice of the checkpoint."""
    monkeypatch.chdir(tmp_path)
    frame, values = hourly
    models = []
    for number, factor in enumerate((1.0, 50.0)):
        changed = frame.copy()
        test = changed["time"] >= "2024-01-08"
        changed.loc[test, "y"] *= factor
        changed.to_csv("series.csv", index=False)
        train(values(output=f"run{number}"), quiet=True)
        models.append((tmp_path / f"run{number}" / "model" / "model.safetensors").read_bytes())
    assert models[0] == models[1]
