"""Runs: they learn, resume to the same numbers, and say what a naive forecast reaches."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from kernels.modules import GRU, LSTM, RNN
from seq2seq.config import config_from_dict, config_to_dict
from seq2seq.errors import UsageError
from seq2seq.tasks.forecasting.calibration import correlated, learn_offsets, learn_ranks
from seq2seq.tasks.forecasting.config import base_of, scaling_of
from seq2seq.tasks.forecasting.evaluation import as_json, verdict
from seq2seq.tasks.forecasting.forecaster import Forecaster
from seq2seq.tasks.forecasting.segments import parallel_step
from seq2seq.training.loop import train
from tests.seq2seq.running import assert_same_run, kill_and_resume, records
from tests.seq2seq.tasks.forecasting.models import MODELS, make_config


@pytest.fixture
def here(tmp_path, monkeypatch, hourly):
    monkeypatch.chdir(tmp_path)
    frame, values = hourly
    frame.to_csv("series.csv", index=False)
    return values


LEARNERS = {
    "segments": {"kind": "segments", "head": "point", "base": "seasonal"},
    "attention": {"kind": "attention", "base": "smoothing", "head": "gaussian"},
    "autoregressive": {"kind": "autoregressive", "head": "student", "cell": "lstm"},
    "committee": {"kind": "segments", "head": "point", "base": "mean", "other_bases": ["seasonal"]},
}


@pytest.mark.parametrize("name", LEARNERS)
def test_each_kind_learns_a_season_better_than_the_last_value(here, name, capsys):
    training = {"max_epochs": 12, "learning_rate": 0.02, "validation_paths": 20}
    model = {**LEARNERS[name], "hidden_size": 16}
    folder = train(here(model=model, training=training), quiet=True)
    told = capsys.readouterr().err
    assert "naive forecasts on the validation set, mse/mae: last" in told
    assert "2 series of 1 target(s), step h, season 24; windows: training 230" in told
    scores = json.loads((folder.parent / "test.scores.json").read_text())
    assert scores["windows"] == 24 and scores["split"] == "test"
    assert scores["model"]["mae"] < 0.6 * scores["last"]["mae"]
    assert scores["model"].keys() >= {"mse", "smape", "mase", "rse", "crps", "coverage_80"}
    card = (folder / "README.md").read_text()
    assert "smape: " in card and "seq2seq forecast MODEL" in card
    log = records(folder.parent)
    losses = [record["loss"] for record in log if "loss" in record]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("cell", ["gru", "lstm", "tanh", "relu"])
@pytest.mark.parametrize("kind", LEARNERS)
def test_each_kind_and_cell_trains_in_bf16(here, kind, cell):
    model = {**LEARNERS[kind], "cell": cell, "hidden_size": 16}
    training = {"max_steps": 2, "validation_paths": 2}
    losses = []
    for precision in ("fp32", "bf16"):
        asked = {**training, "precision": precision, "log_every": 1}
        made = here(output=precision, model=model, training=asked)
        log = records(train(made, quiet=True).parent)
        losses.append([record["loss"] for record in log if "loss" in record])
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_a_run_resumes_to_the_same_numbers(here, tmp_path):
    model = LEARNERS["autoregressive"]
    training = {"validation_paths": 5, "schedule": "constant", "validate_every": 1}
    train(here("whole", model, {**training, "max_steps": 8}), quiet=True)
    train(here("part", model, {**training, "max_steps": 5}), quiet=True)
    train(here("part", model, {**training, "max_steps": 8}), quiet=True, resume=True)
    assert_same_run(tmp_path / "part", tmp_path / "whole")


def test_a_killed_run_resumes_to_the_same_numbers(here, tmp_path):
    training = {"max_epochs": 30, "checkpoint_every": 2, "patience": None}
    model = {"kind": "segments"}
    whole, killed = here("whole", model, training), here("killed", model, training)
    train(whole, quiet=True)
    kill_and_resume(config_to_dict(killed), tmp_path)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_a_run_can_start_from_a_model(here, tmp_path):
    train(here("first"), quiet=True)
    training = {"start_from": "first/model", "max_steps": 1, "learning_rate": 1e-9}
    train(here("second", training=training), quiet=True)
    weights = [
        Forecaster.from_pretrained(tmp_path / name / "model", device="cpu").model.state_dict()
        for name in ("first", "second")
    ]
    for key, value in weights[0].items():
        assert torch.allclose(value, weights[1][key], atol=1e-6), key


@pytest.mark.parametrize("forecast", [{"levels": [0.2, 0.8]}, {"calibrate": False}])
def test_calibration_is_not_taken_over(here, tmp_path, forecast):
    train(here("first"), quiet=True)
    training = {"start_from": "first/model", "max_steps": 1, "learning_rate": 1e-9}
    values = config_to_dict(here("second", training=training))
    values["forecast"] |= forecast
    train(config_from_dict(values), quiet=True)
    first, second = (
        Forecaster.from_pretrained(tmp_path / name / "model", device="cpu").model
        for name in ("first", "second")
    )
    assert first.offsets.abs().sum() > 0
    if forecast == {"calibrate": False}:
        assert second.offsets.abs().sum() == 0
    else:
        assert len(second.offsets) == 2 and second.offsets.abs().sum() > 0


def test_fine_tuning_needs_as_many_networks(here):
    train(here(training={"max_steps": 1}), quiet=True)
    model, training = {"other_bases": ["mean"]}, {"start_from": "run/model"}
    with pytest.raises(UsageError, match=r"it has 1 network\(s\), on last, here 2, on last, mean"):
        train(here(output="next", model=model, training=training), quiet=True)


def test_a_run_that_started_from_a_model_resumes_with_its_statistics(here, tmp_path, hourly):
    model = {"scaling": "global"}
    train(here("first", model), quiet=True)
    frame, _ = hourly
    frame["y"] = 7 * frame["y"] + 3
    frame.to_csv("series.csv", index=False)
    training = {"start_from": "first/model", "schedule": "constant", "validate_every": 1}
    train(here("whole", model, {**training, "max_steps": 4}), quiet=True)
    train(here("part", model, {**training, "max_steps": 2}), quiet=True)
    train(here("part", model, {**training, "max_steps": 4}), quiet=True, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "part")


def test_sets_of_their_own_and_counts(tmp_path, monkeypatch, hourly):
    monkeypatch.chdir(tmp_path)
    frame, values = hourly
    frame["y"] = frame["y"].round().clip(lower=0)
    for name, part in (("train", frame.iloc[:240]), ("other", frame.iloc[240:300])):
        part.to_csv(f"{name}.csv", index=False)
    data = {"train": "train.csv", "validation": "other.csv", "test": "other.csv", "test_stride": 1}
    model = {"kind": "autoregressive", "head": "negative_binomial", "scaling": "mean"}
    folder = train(values(data=data, model=model), quiet=True)
    scores = json.loads((folder.parent / "test.scores.json").read_text())
    assert scores["windows"] == 60 - 24 - 6 + 1
    forecaster = Forecaster.from_pretrained(folder, device="cpu")
    found = forecaster.forecast_frame(frame.iloc[240:300], paths=3)
    assert (found["path1"] == found["path1"].round()).all()


def test_a_base_needs_a_whole_season(here):
    with pytest.raises(
        UsageError, match=r"reads a whole season of 24 steps; 'model.context' is 12"
    ):
        train(here(model={"base": "seasonal", "context": 12}), quiet=True)


def test_a_loss_to_a_naive_forecast_is_said():
    scores = {"model": {"mae": 2.0}, "last": {"mae": 3.0}, "drift": {"mae": 1.5}}
    assert verdict(scores) == (
        "the model LOSES to the naive forecast 'drift': mean absolute error 2.0000, naive 1.5000"
    )
    scores["model"]["mae"] = 1.2
    assert verdict(scores).startswith("mean absolute error 20.0% below the best naive forecast")


def test_scores_that_are_no_number_are_null_in_json():
    scores = {"model": {"mae": 2.0, "mase": float("nan")}}  # of a constant series
    assert json.dumps(as_json(scores), allow_nan=False) == '{"model": {"mae": 2.0, "mase": null}}'


@pytest.mark.parametrize("kind", ["gru", "lstm", "tanh", "relu"])
def test_a_parallel_step_is_the_layer_from_each_state(kind):
    torch.manual_seed(0)
    make = {"gru": GRU, "lstm": LSTM}.get(kind)
    layer = make(5, 6) if make else RNN(5, 6, nonlinearity=kind)
    layer = layer.double()
    hidden, cell = torch.randn(2, 3, 6, dtype=torch.float64)
    parts = [torch.randn(s, dtype=torch.float64) for s in ((1, 4, 5), (3, 1, 5), (3, 4, 5))]
    inputs = parts[0] + parts[1] + parts[2]
    found = parallel_step(layer, parts, hidden, cell)
    rows = [one.repeat_interleave(4, 0).unsqueeze(0) for one in (hidden, cell)]
    _, state = layer(inputs.reshape(1, 12, 5), tuple(rows) if kind == "lstm" else rows[0])
    expected = (state[0] if kind == "lstm" else state).reshape(3, 4, 6)
    assert torch.allclose(found, expected, atol=1e-12)


def test_offsets_give_the_coverage_that_they_promise():
    random = np.random.default_rng(0)
    errors = random.normal(size=(2000, 1, 3, 2)).repeat(2, 1)
    offsets = learn_offsets(errors, [0.1, 0.9])
    assert offsets[1].numpy() == pytest.approx(np.full((3, 2), 1.2816), abs=0.15)
    few = learn_offsets(errors[:20], [0.1, 0.9])  # 20 windows of 3 steps: pooled
    assert bool((few[:, 0] == few[:, 2]).all()) and bool((few[1] > 0.6).all())
    assert not learn_offsets(errors[:2], [0.1, 0.9]).any()
    errors[:, :, 1] = np.nan
    assert bool(learn_offsets(errors, [0.1, 0.9]).isfinite().all())


def test_ranks_are_the_correlation_of_errors():
    random = np.random.default_rng(0)
    steps = np.arange(4)
    true = 0.7 ** np.abs(steps[:, None] - steps)
    normal = random.multivariate_normal(np.zeros(4), true, 3000)
    ranks = learn_ranks(np.exp(normal)[..., None])  # any monotone scale
    assert ranks.numpy() == pytest.approx(true, abs=0.05)
    drawn = correlated(torch.rand(1, 5000, 4, 1), ranks)[0, :, :, 0].double()
    assert torch.special.ndtri(drawn).T.corrcoef().numpy() == pytest.approx(true, abs=0.07)
    assert torch.equal(learn_ranks(normal[:5, :, None]), torch.eye(4))


@pytest.mark.parametrize("name", MODELS)
def test_configurations_are_valid(name):
    make_config(**MODELS[name])


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("model", {"kind": "autoregressive", "head": "point"}, "is no distribution"),
        ("model", {"kind": "autoregressive", "base": "last"}, "model.lags"),
        ("model", {"lags": [0, 3]}, "model.lags"),
        ("model", {"layers": 2}, "has one recurrent layer"),
        ("model", {"head": "negative_binomial", "base": "last"}, "counts"),
        ("model", {"head": "negative_binomial", "scaling": "window"}, "counts"),
        ("model", {"base": "last", "base_form": "multiplicative"}, "divides by the base"),
        ("model", {"other_bases": ["last"] * 100}, "fewer than 100"),
        ("model", {"other_bases": ["last"], "kind": "autoregressive"}, "model.other_bases"),
        ("model", {"other_bases": ["last"], "head": "negative_binomial"}, "model.other_bases. to"),
        ("model", {"other_bases": ["last"], "read_base": ["a"]}, "model.other_bases. to"),
        ("model", {"other_bases": ["moon"]}, "moon"),
        ("model", {"other_losses": ["mse"]}, "1 losses for the 0 networks"),
        ("model", {"other_bases": ["mean"], "other_losses": ["mse"]}, "the head is quantiles"),
        ("model", {"base": "none", "base_form": "multiplicative"}, "needs a 'model.base'"),
        ("model", {"reversion": True, "scaling": "none"}, "'model.scaling' none"),
        ("model", {"reversion": True, "base": "mean"}, "'model.scaling' window"),
        ("model", {"reversion": True, "base": "seasonal"}, "'model.base' is seasonal"),
        ("model", {"reversion": True, "other_bases": ["velocity"]}, "'model.base' is velocity"),
        ("model", {"kind": "attention", "attention": "dot"}, "as wide as"),
        ("model", {"levels": [0.9, 0.1]}, "model.levels"),
        ("model", {"horizon": 0}, "model.horizon"),
        ("forecast", {"levels": [0.1, 1.0]}, "forecast.levels"),
        ("data", {"calendar": ["moon"]}, "holds 'moon'"),
        ("data", {"targets": ["a"], "known": ["a"]}, "one use of each column"),
        ("data", {"targets": ["time"]}, "one use of each column"),
        ("data", {"past": ["a"], "known": ["a"]}, "one use of each column"),
    ],
)
def test_configurations_that_make_no_sense(section, values, message):
    with pytest.raises(UsageError, match=message):
        config_from_dict({"task": "forecasting", section: values})


def test_scaling_and_base_by_default():
    def found(**model):
        config = make_config(**model).model
        return scaling_of(config), base_of(config)

    assert found() == ("window", "last")
    assert found(kind="autoregressive") == ("window", "none")
    assert found(kind="autoregressive", head="negative_binomial") == ("mean", "none")
    assert found(scaling="global", base="seasonal") == ("global", "seasonal")


def test_what_too_few_validation_values_mean_is_told(here, capsys):
    model = {**LEARNERS["segments"], "hidden_size": 8}
    short = {"max_steps": 2}
    folder = train(here(model=model, training=short, data={"split": [0.9, 0.0, 0.1]}), quiet=True)
    told = capsys.readouterr().err
    assert "no validation part: quantiles are all the forecast itself, and intervals" in told
    folder = train(
        here(output="b", model=model, training=short, data={"split": [0.7, 0.3, 0.0]}), quiet=True
    )
    told = capsys.readouterr().err
    assert "no test part: these windows chose the checkpoint" in told
    assert "no test part" in (folder / "README.md").read_text()
