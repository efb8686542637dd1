"""Covariates that are read up to the origin and not forecast (``data.past``)."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch

from seq2seq import Forecaster
from seq2seq.config import config_from_dict
from seq2seq.errors import UsageError
from seq2seq.saved.directory import CONFIG_FILE, FILES_DIGEST
from seq2seq.tasks.forecasting.arrays import write_arrays
from seq2seq.tasks.forecasting.encoding import ENCODING_FILE, learn_encoding
from seq2seq.tasks.forecasting.making import make_model, reach_of
from seq2seq.tasks.forecasting.reading import Columns, columns_of, read_series, series_of_frame
from seq2seq.tasks.forecasting.rolling import Origins
from seq2seq.tasks.forecasting.series_set import pack
from seq2seq.tasks.forecasting.windows import WindowCutter
from seq2seq.training.loop import train
from tests.seq2seq.tasks.forecasting.models import SIZES, make_series

MODELS = {
    "segments": {"kind": "segments"},
    "segments that do not fill the past": {"kind": "segments", "segment": 5},
    "joint": {"kind": "segments", "channels": "joint", "cell": "lstm"},
    "attention": {"kind": "attention", "bidirectional": False},
    "regression": {"kind": "attention", "base": "regression"},
    "committee": {"kind": "segments", "base": "last", "other_bases": ["mean"]},
}
NAMES = ("wind", "rain")


def windy(count=3):
    """Series with two past covariates, some of whose values are missing."""
    found = []
    for number, one in enumerate(make_series(count)):
        random = np.random.default_rng(number)
        past = random.normal(5, 2, (len(one), 2))
        past[random.random(past.shape) < 0.2] = np.nan
        found.append(dataclasses.replace(one, past=past, past_names=NAMES))
    return found


def config_of(widths="fixed", **model):
    return config_from_dict(
        {
            "task": "forecasting",
            "data": {
                **{"season": 4, "targets": ["a", "b"], "known": ["price"], "series": ["name"]},
                **{"past": list(NAMES), "static": ["kind", "size"]},
            },
            "model": {**SIZES, **model},
            "forecast": {"levels": [0.1, 0.5, 0.9], "widths": widths, "recent_steps": 8},
        }
    )


def forecaster_of(series, widths="fixed", **model):
    config, packed = config_of(widths, **model), pack(series)
    encoding = learn_encoding(config, packed, packed.lengths - 8)
    torch.manual_seed(0)
    made = make_model(config, encoding).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return Forecaster(made, encoding, config)


@pytest.mark.parametrize("widths", ["fixed", "recent"])
@pytest.mark.parametrize("name", MODELS)
def test_a_forecast_reads_them_before_the_origin_and_never_behind_it(name, widths):
    series, origins = windy(), np.array([20, 15, 9])
    forecaster = forecaster_of(series, widths, **MODELS[name])
    where, asked = Origins(np.arange(3), origins, origins + 5), forecaster.asked()

    def changed(*, behind):
        found = []
        for one, origin in zip(series, origins, strict=True):
            past, rows = one.past.copy(), slice(origin, None) if behind else slice(origin)
            past[rows] = np.where(np.isnan(past[rows]), 1e6, past[rows] + 3)
            found.append(dataclasses.replace(one, past=past))
        return found

    def quantiles(given):
        found = forecaster.predict(pack(given), where, asked).quantiles
        assert np.isfinite(found).all()
        return found

    before = quantiles(series)
    assert np.array_equal(before, quantiles(changed(behind=True)))
    cut = [one.until(int(origin)) for one, origin in zip(series, origins, strict=True)]
    assert np.array_equal(before, quantiles(cut))
    moved = quantiles(changed(behind=False))
    assert all((before[n] != moved[n]).any() for n in range(3))


@pytest.mark.parametrize("name", MODELS)
def test_alone_and_after_loading_as_in_a_batch(name, tmp_path):
    series = windy()
    forecaster = forecaster_of(series, **MODELS[name])
    together = forecaster.forecast(series)
    forecaster.save_pretrained(tmp_path / "model")
    loaded = Forecaster.from_pretrained(tmp_path / "model")
    for one, expected in zip(series, together, strict=True):
        for own in (forecaster.forecast(one)[0], loaded.forecast(one)[0]):
            assert np.array_equal(own.quantiles, expected.quantiles)
    card = (tmp_path / "model" / "README.md").read_text()
    assert "wind, rain" in card


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_that_reads_them_learns(name):
    series = windy()
    config, packed = config_of(**MODELS[name]), pack(series)
    encoding = learn_encoding(config, packed, packed.lengths)
    model = make_model(config, encoding)
    cutter = WindowCutter(packed, encoding, reach_of(model))
    batch = cutter.cut(np.arange(3), packed.lengths - 5, packed.lengths)[0]
    batch = dataclasses.replace(batch, past_features=batch.past_features.requires_grad_())
    model.ahead(batch).parameters.square().sum().backward()
    gradient = batch.past_features.grad
    assert (gradient[..., :2] != 0).any(1).all()
    # a mark of what is missing says nothing before it has learnt
    assert torch.count_nonzero(gradient[..., 2:]) == 0
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), key


def test_a_window_holds_scaled_values_and_marks_what_is_missing():
    (series,) = windy(1)
    past = series.past.copy()
    past[:8] = np.nan
    past[8:12], past[10, 1] = [[1, 2], [3, 4], [5, 6], [7, 8]], np.nan
    packed = pack([dataclasses.replace(series, past=past)])
    forecaster = forecaster_of([series], kind="segments")
    cutter = WindowCutter(packed, forecaster.encoding, reach_of(forecaster.model))
    found = cutter.cut(np.array([0]), np.array([12]), np.array([17]))[0].past_features[0]
    mean, deviation = forecaster.encoding.past_mean, forecaster.encoding.past_deviation
    values = found[:, :2].double().numpy() * deviation + mean
    expected = np.array([[1, 2]] * 9 + [[3, 4], [5, 4], [7, 8]])
    assert values == pytest.approx(expected, rel=1e-5)
    marks = np.zeros((12, 2))
    marks[:8], marks[10, 1] = 1, 1
    assert np.array_equal(found[:, 2:], marks)
    early = cutter.cut(np.array([0]), np.array([3]), np.array([8]))[0].past_features[0]
    assert torch.equal(early[:, :2], torch.zeros(12, 2))  # nothing is known yet: the mean
    assert torch.equal(early[:, 2:], torch.ones(12, 2))


def frame_of(series):
    parts = []
    for one in series:
        times = one.step.times(one.times[0], np.arange(len(one) + one.future))
        part = pd.DataFrame({"time": times, "name": one.name, "price": one.known[:, 0]})
        for n, name in enumerate((*one.targets, *NAMES)):
            part[name] = np.nan
            part.loc[: len(one) - 1, name] = np.concatenate([one.values, one.past], 1)[:, n]
        part["kind"], part["size"] = one.static["kind"], one.static["size"]
        parts.append(part)
    return pd.concat(parts)


@pytest.mark.parametrize("name", ["table.csv", "table.parquet", "arrays.npz", "arrays"])
def test_files(name, tmp_path):
    series, path = windy(), tmp_path / name
    if name.endswith("csv"):
        frame_of(series).to_csv(path, index=False)
    elif name.endswith("parquet"):
        frame_of(series).to_parquet(path)
    else:
        write_arrays(pack(series), path)
    found = read_series(str(path), columns_of(config_of().data))
    for one, expected in zip(found, series, strict=True):
        assert one.past_names == NAMES
        assert np.allclose(one.past, expected.past, rtol=1e-15, equal_nan=True)


def test_values_behind_the_last_target_are_the_future_and_not_read():
    series = windy()
    frame = frame_of(series)
    later = frame.copy()
    behind = later["a"].isna() & later["b"].isna() & later["wind"].isna()
    later.loc[behind, list(NAMES)] = 100.0
    assert behind.sum() >= 15
    columns = columns_of(config_of().data)
    for one, other in zip(*(series_of_frame(f, columns) for f in (frame, later)), strict=True):
        assert np.array_equal(one.past, other.past, equal_nan=True)


def test_a_time_that_is_filled_in_has_none():
    frame = pd.DataFrame({"time": [1, 2, 4], "y": [1.0, 2, 3], "w": [5.0, 6, 7]})
    columns = Columns("time", targets=("y",), gaps="fill", past=("w",))
    assert series_of_frame(frame, columns)[0].past[:, 0] == pytest.approx(
        [5, 6, np.nan, 7], nan_ok=True
    )
    assert series_of_frame(frame, Columns("time", gaps="fill", past=("w",))).targets == ("y",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"wind": np.inf}, r"series 's0', row 1 \(time 2024-03-01 05:00.*\): wind is inf"),
        ({"wind": ["strong"] + [1.0] * 125}, "row 1: wind is 'strong'; expected a number"),
        ({}, "no column 'wind'; did you mean 'wint'"),
    ],
)
def test_errors_name_series_and_row(change, message):
    frame = frame_of(windy())
    frame = frame.assign(**change) if change else frame.rename(columns={"wind": "wint"})
    with pytest.raises(UsageError, match=message):
        series_of_frame(frame, columns_of(config_of().data))


def test_series_of_another_kind_and_arrays_that_do_not_fit(tmp_path):
    series = windy()
    forecaster = forecaster_of(series, **MODELS["segments"])
    bare = dataclasses.replace(series[0], past=None, past_names=())
    with pytest.raises(UsageError, match="past covariates are none; the model was trained with"):
        forecaster.forecast([bare])
    with pytest.raises(UsageError, match="past names is"):
        pack([series[0], bare])
    with pytest.raises(UsageError, match=r"have shape \(40, 2\); expected \(40 times, 1 columns"):
        dataclasses.replace(series[0], past_names=("wind",))
    for arrays, message in (
        ({"past": np.zeros((3, 1)), "past_names": ["w"]}, "3 past rows; expected 4"),
        ({"past": np.zeros((4, 1))}, "0 past_names; expected 1"),
        ({"past_names": ["w"]}, "1 past_names; expected 0"),
        ({"past": np.full((4, 1), "a"), "past_names": ["w"]}, "'past' holds <U1"),
        ({"past": np.zeros(4), "past_names": ["w"]}, "expected 2 dimensions"),
    ):
        np.savez(tmp_path / "a.npz", values=np.zeros(4), **arrays)
        with pytest.raises(UsageError, match=message):
            read_series(str(tmp_path / "a.npz"), Columns(None))


def test_a_model_that_goes_beyond_its_horizon_refuses_them():
    with pytest.raises(UsageError, match=r"'data.past' names wind, rain.*autoregressive"):
        config_of(kind="autoregressive", base="none")
    config = config_of(kind="segments")
    config.data.past, config.model.kind, config.model.base = [], "autoregressive", "none"
    series = pack(windy())  # as arrays have them, whatever the configuration names
    with pytest.raises(UsageError, match=r"'data.past' names wind, rain.*autoregressive"):
        make_model(config, learn_encoding(config, series, series.lengths))


def test_past_of_another_kind_is_refused():
    (series,) = windy(1)
    for past, message in (
        (series.past.astype(object), "past covariates are object; expected float64"),
        (series.past.tolist(), "past covariates are list; expected float64"),
        (series.past + 1j, "past covariates are complex128"),
        (series.past[:, 0], r"shape \(40,\)"),
    ):
        with pytest.raises(UsageError, match=message):
            dataclasses.replace(series, past=past)
    empty = dataclasses.replace(series, past=np.zeros((40, 0)), past_names=())
    assert pack([empty, dataclasses.replace(empty, past=None)]).past is None


def test_half_precision_hides_no_infinity(tmp_path):
    past = np.zeros((30, 1), np.float16)
    past[3] = np.inf
    values, names = np.arange(30.0, dtype=np.float16), ["w"]
    for arrays, message in (
        ({"values": values, "past": past, "past_names": names}, "row 4 .*w is inf"),
        ({"values": values, "known": past, "known_names": names}, "'known' holds NaN, infinity"),
        ({"values": past}, "row 4 .*target is inf"),
        ({"values": values, "past": past, "past_names": ["target"]}, "are named 'target'"),
    ):
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(UsageError, match=message):
            read_series(str(tmp_path / "a.npz"), Columns(None))


def test_a_column_that_does_not_vary_in_training_is_not_read():
    """A sensor that was put in later, one that stood still, and a holiday that was not yet."""
    series, config = windy(1), config_of(kind="segments")
    past, price = series[0].past.copy(), series[0].known.copy()
    past[:32, 0], past[:32, 1], price[:32] = np.nan, 1013.0, 0.0
    first = dataclasses.replace(series[0], past=past, known=price)
    packed = pack([first])
    encoding = learn_encoding(config, packed, np.array([32]))
    assert encoding.constant == ["price", "wind", "rain"]
    torch.manual_seed(0)
    forecaster = Forecaster(make_model(config, encoding).eval(), encoding, config)
    still = first.past.copy()
    still[:, 0], still[:, 1] = np.where(np.isnan(still[:, 0]), np.nan, 7.0), 1013.0
    other = dataclasses.replace(first, past=still, known=np.zeros_like(price))
    before, after = (forecaster.forecast(one)[0].quantiles for one in (first, other))
    assert np.abs(before - after).max() < 1e-6


def test_arrays_of_other_columns_than_the_configuration_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_arrays(pack(make_series()), "series.npz")
    config = config_of(kind="segments")
    config.data.train = "series.npz"
    with pytest.raises(UsageError, match=r"have the past none; 'data.past' names wind, rain"):
        train(config, quiet=True)


def test_a_model_of_arrays_reads_a_table():
    series = windy()
    forecaster = forecaster_of(series, **MODELS["segments"])
    expected = forecaster.forecast(series)
    forecaster.config.data.past, forecaster.config.data.known = [], []
    found = forecaster.forecast_frame(frame_of(series))
    for one in expected:
        own = found[(found["series"] == one.name) & (found["target"] == "a")]
        assert np.array_equal(own["mean"], one.mean[:, 0])


def test_an_encoding_of_before_has_none(tmp_path):
    series = make_series()
    config = config_of(kind="segments")
    config.data.past = []
    packed = pack(series)
    encoding = learn_encoding(config, packed, packed.lengths)
    torch.manual_seed(0)
    Forecaster(make_model(config, encoding).eval(), encoding, config).save_pretrained(tmp_path)
    values = json.loads((tmp_path / ENCODING_FILE).read_text())
    for key in ("past_names", "past_mean", "past_deviation"):
        assert values.pop(key) == []
    assert values.pop("texts") == {}
    assert values.pop("zone") is None and values.pop("day_first") is None
    (tmp_path / ENCODING_FILE).write_text(json.dumps(values))
    whole = json.loads((tmp_path / CONFIG_FILE).read_text())
    del whole[FILES_DIGEST]  # which models of before have not, either
    (tmp_path / CONFIG_FILE).write_text(json.dumps(whole))
    assert Forecaster.from_pretrained(tmp_path).encoding == encoding


def test_training_learns_what_they_announce(tmp_path, monkeypatch):
    """Each value was announced six steps before, by nothing but the covariate."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    sign = random.normal(size=900)
    frame = pd.DataFrame({"time": np.arange(900), "y": np.roll(sign, 6), "sign": sign})
    frame.to_csv("series.csv", index=False)
    errors = {}
    for past in ([], ["sign"]):
        output = f"run{len(past)}"
        train(
            config_from_dict(
                {
                    **{"task": "forecasting", "output": output},
                    "data": {
                        **{"train": "series.csv", "targets": ["y"], "past": past, "season": 1},
                        **{"split": [600, 150, 150], "batch_size": 32},
                    },
                    "model": {
                        **{"context": 12, "horizon": 6, "hidden_size": 32, "segment": 6},
                        **{"base": "none", "scaling": "global", "head": "point", "dropout": 0.0},
                    },
                    "training": {
                        **{"max_epochs": 25, "learning_rate": 0.01, "device": "cpu", "threads": 1}
                    },
                }
            ),
            quiet=True,
        )
        scores = json.loads((tmp_path / output / "test.scores.json").read_text())
        errors[len(past)] = scores["model"]["mse"]
    assert errors[0] > 0.5  # noise
    assert errors[1] < 0.1 * errors[0]
