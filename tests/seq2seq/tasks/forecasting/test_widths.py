"""Widths of intervals that follow how unsteady the past is."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from seq2seq.tasks.forecasting.calibration import learn_offsets
from seq2seq.tasks.forecasting.forecaster import Forecaster
from seq2seq.tasks.forecasting.making import reach_of
from seq2seq.tasks.forecasting.rolling import Origins
from seq2seq.tasks.forecasting.series_set import pack
from seq2seq.tasks.forecasting.widths import learn_widths, unsteadiness, width_of
from seq2seq.tasks.forecasting.windows import WindowCutter
from seq2seq.training.loop import train
from tests.seq2seq.tasks.forecasting.models import MODELS, make_forecaster, make_series

SEGMENTS = MODELS["segments"]


def cut(forecaster, series):
    packed = pack(series)
    cutter = WindowCutter(packed, forecaster.encoding, reach_of(forecaster.model))
    return cutter.cut(np.arange(len(packed)), packed.lengths, packed.lengths)[0]


def test_unsteadiness_by_hand():
    forecaster = make_forecaster(**SEGMENTS)
    context = forecaster.config.model.context
    batch = cut(forecaster, make_series())
    found = unsteadiness(batch, context)
    past, seen = batch.past[:, -context:].numpy(), batch.observed[:, -context:].numpy() > 0
    assert not seen.all()
    for row in range(3):
        for target in range(2):
            values, there = past[row, :, target].astype(float), seen[row, :, target]
            steps = np.diff(values)[there[1:] & there[:-1]]
            expected = [values[there].std(), np.sqrt((steps**2).mean())]
            assert found[row, :, target].numpy() == pytest.approx(expected, rel=1e-9)


def restless(seed, count, shift=0.0):
    """Windows whose errors are as large as x_1 says: x (N, 2, 1) and errors (N, 3, 1)."""
    random = np.random.default_rng(seed)
    measured = np.exp(random.normal(size=(count, 2, 1)) * 0.5 + shift)
    errors = measured[:, :1] * random.normal(size=(count, 3, 1))
    return torch.from_numpy(measured), torch.from_numpy(errors)


def test_powers_are_found_and_intervals_hold_in_calmer_times():
    measured, errors = restless(0, 3000)
    powers, typical = learn_widths(measured, errors)
    assert powers[:, 0].tolist() == pytest.approx([1, 0], abs=0.1)
    width = width_of(measured, powers, typical)
    normalised = (errors / width[:, None]).numpy()[:, None].repeat(2, 1)
    low, high = learn_offsets(normalised, [0.1, 0.9])
    later, calm = restless(1, 3000, shift=-0.7)  # half as unsteady
    ratio = calm / width_of(later, powers, typical)[:, None]
    assert float(((ratio > low) & (ratio < high)).double().mean()) == pytest.approx(0.8, abs=0.03)
    low, high = learn_offsets(errors.numpy()[:, None].repeat(2, 1), [0.1, 0.9])
    assert float(((calm > low) & (calm < high)).double().mean()) > 0.9  # one width for all


def test_constant_windows_and_few_ones():
    measured, errors = restless(0, 50)
    powers, typical = learn_widths(measured[:10], errors[:10])
    assert not powers.any()
    powers, typical = learn_widths(measured, errors)
    width = width_of(torch.zeros(1, 2, 1), powers, typical)
    assert float(width) == 0.25
    for still in (
        learn_widths(torch.zeros_like(measured), errors),
        learn_widths(measured, 0 * errors),
    ):
        assert not still[0].abs().gt(1e-6).any()
        assert float(width_of(torch.zeros(1, 2, 1), *still)) == pytest.approx(1)
    errors[:, 1:] = torch.nan
    errors[3] = torch.nan
    assert bool(learn_widths(measured, errors)[0].isfinite().all())


@pytest.mark.parametrize("name", ["segments", "log", "autoregressive, quantiles"])
def test_offsets_are_multiplied_by_the_width_and_survive_saving(name, tmp_path):
    forecaster = make_forecaster(widths="window", **MODELS[name])
    series = make_series(missing=False)
    plain = forecaster.forecast(series, calibrate=False)
    with torch.no_grad():
        forecaster.model.offsets.copy_(
            torch.tensor([-5.0, 0.0, 5.0])[:, None, None].expand(-1, 5, 2)
        )
    wide = forecaster.forecast(series)
    fixed = make_forecaster(**MODELS[name])
    fixed.model.load_state_dict(forecaster.model.state_dict(), strict=False)
    narrow = fixed.forecast(series)
    width = width_of(
        unsteadiness(cut(forecaster, series), forecaster.config.model.context),
        forecaster.model.powers,
        forecaster.model.typical,
    ).numpy()
    assert np.ptp(width) > 0.01
    for number in range(3):
        values = [one[number].quantiles for one in (plain, wide, narrow)]
        if name == "log":
            values = [np.log(one) for one in values]
        base, own, one = values
        assert (own - base)[0] == pytest.approx((one - base)[0] * width[number], rel=1e-3)
    forecaster.save_pretrained(tmp_path / "model")
    again = Forecaster.from_pretrained(tmp_path / "model", device="cpu").forecast(series)
    assert all(np.array_equal(a.quantiles, b.quantiles) for a, b in zip(wide, again, strict=True))
    where = Origins(np.array([1]), np.array([len(series[1])]), np.array([len(series[1])]))
    alone = forecaster.predict(pack(series), where, forecaster.asked())
    assert np.array_equal(alone.quantiles[0], wide[1].quantiles)


def test_training_learns_them(tmp_path, monkeypatch, hourly):
    monkeypatch.chdir(tmp_path)
    frame, values = hourly
    frame.to_csv("series.csv", index=False)
    config = values(model={**SEGMENTS, "hidden_size": 8}, training={"max_epochs": 2})
    config.forecast.widths = "window"
    config.data.split = ["2024-01-05", "2024-01-08"]
    config.data.validation_stride = 1
    folder = train(config, quiet=True)
    model = Forecaster.from_pretrained(folder, device="cpu").model
    assert bool(model.powers.any()) and bool((model.typical > 0).all())
    scores = json.loads((folder.parent / "test.scores.json").read_text())
    assert 0.5 < scores["model"]["coverage_80"] < 1
