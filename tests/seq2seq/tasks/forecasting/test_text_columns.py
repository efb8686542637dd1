"""Covariates that are text: a column of 0 and 1 for each of their texts."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from seq2seq import Forecaster
from seq2seq.config import config_from_dict
from seq2seq.errors import RunError, UsageError
from seq2seq.tasks.forecasting.arrays import read_arrays, write_arrays
from seq2seq.tasks.forecasting.encoding import (
    ENCODING_FILE,
    learn_encoding,
    load_encoding,
    save_encoding,
)
from seq2seq.tasks.forecasting.reading import Columns, read_series, series_of_frame
from seq2seq.training.loop import train

TEXTS = {"holiday": ("Easter", "May Day"), "sky": ("rain", "sun")}
COLUMNS = Columns("time", targets=("y",), known=("price", "holiday"), past=("sky", "wind"))


def frame_of(rows=8):
    """Six observed rows and two of the future."""
    steps = np.arange(rows)
    return pd.DataFrame(
        {
            "time": steps,
            "y": np.where(steps < rows - 2, steps * 1.0, np.nan),
            "price": steps + 10.0,
            "holiday": [{1: "Easter", 5: " May Day"}.get(step % 8) for step in steps],
            "sky": [["rain", "sun", None][step % 3] for step in steps],
            "wind": steps * 0.5,
        }
    )


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "categories.parquet", "arrays.npz"])
def test_each_text_is_a_column(tmp_path, name):
    frame, path = frame_of(), tmp_path / name
    if name == "t.csv":
        frame.to_csv(path, index=False)
    elif name == "arrays.npz":
        write_arrays(series_of_frame(frame, COLUMNS), path)
    else:
        kinds = {"holiday": "category", "sky": "category"} if "categories" in name else {}
        frame.astype(kinds).to_parquet(path)
    arrays = name.endswith("npz")
    series = read_arrays(path) if arrays else read_series(str(path), COLUMNS)
    assert series.known_names == ("price", "holiday=Easter", "holiday=May Day")
    assert series.past_names == ("sky=rain", "sky=sun", "wind")
    assert arrays or series.texts == TEXTS
    (one,) = series
    assert one.known[:, 0].tolist() == list(range(10, 18))
    assert one.known[:, 1].tolist() == [0, 1, 0, 0, 0, 0, 0, 0]
    assert one.known[:, 2].tolist() == [0, 0, 0, 0, 0, 1, 0, 0]
    assert one.past[:, 0].tolist() == [1, 0, 0, 1, 0, 0]  # of the observed rows
    assert one.past[:, 1].tolist() == [0, 1, 0, 0, 1, 0]
    assert one.past[:, 2].tolist() == [0, 0.5, 1, 1.5, 2, 2.5]


def test_texts_that_are_known_keep_their_columns():
    columns = Columns("time", targets=("y",), past=("sky",), texts={"sky": ("rain", "snow", "sun")})
    for sky, expected in (
        ("snow", [0, 1, 0]),
        ("hail", [0, 0, 0]),  # never seen
        (None, [0, 0, 0]),
        (np.nan, [0, 0, 0]),
    ):
        (one,) = series_of_frame(frame_of().assign(sky=sky), columns)
        assert one.past_names == ("sky=rain", "sky=snow", "sky=sun")
        assert one.past.tolist() == [expected] * 6, sky


@pytest.mark.parametrize(
    ("texts", "sky", "message"),
    [
        (None, ["rain", 2, *["sun"] * 6], "t: row 2: sky is '2'; expected text, as 'rain'"),
        (None, ["rain", *range(7)], "t: row 1: sky is 'rain'; expected a number"),
        (None, [10**400, *range(7)], "t: sky holds a whole number of hundreds of digits"),
        (None, ["1", "2,5", *["3"] * 6], "t: row 2: sky is '2,5'; expected a number"),
        (None, ["1,5"] * 8, "t: row 1: sky is '1,5'; expected a number"),
        (None, [None, "20%", "x", *["30 %"] * 5], "t: row 2: sky is '20%'; expected a number"),
        (None, ["$ 1 200.50"] * 8, r"t: row 1: sky is '\$ 1 200.50'; expected a number"),
        (None, pd.date_range("2024-01-01", periods=8), "sky is '2024-01-01.*expected a number"),
        ({}, ["rain"] * 8, "t: row 1: sky is 'rain'; expected a number"),
        ({"sky": ("a", "b")}, [None, 3, *["a"] * 6], "t: row 2: sky is '3'; .*training: a, b"),
        ({"sky": ("a", "b")}, [None, "a", *["3.5"] * 6], "row 3: sky is '3.5'; expected text"),
        ({"sky": tuple("abcdef")}, np.arange(8), r"sky is '0'; .*: a, b, c, d, e, \.\.\."),
        ({"sky": ("a",)}, pd.date_range("2024", periods=8), "sky is '2024.*expected text"),
    ],
)
def test_numbers_among_texts_and_texts_among_numbers(texts, sky, message):
    columns = Columns("time", targets=("y",), past=("sky",), texts=texts)
    with pytest.raises(UsageError, match=message):
        series_of_frame(frame_of().assign(sky=sky), columns, "t")


def test_texts_with_figures_are_texts():
    for text in ("1st", "3-5 km", "A4", "2024 Q1"):
        (one,) = series_of_frame(frame_of().assign(sky=text), COLUMNS)
        assert one.past_names[0] == f"sky={text}"


def test_truth_values_among_texts_are_texts():
    frame = frame_of().assign(sky=["True", True, "maybe", False, None, "", "True", "maybe"])
    (one,) = series_of_frame(frame, COLUMNS)
    assert one.past_names == ("sky=False", "sky=True", "sky=maybe", "wind")
    assert one.past[:, 1].tolist() == [1, 1, 0, 0, 0, 0]
    columns = Columns("time", targets=("y",), past=("sky",), texts={"sky": ("True", "maybe")})
    for sky in (True, np.array([True] * 8), pd.array([True] * 8, dtype="boolean")):
        (one,) = series_of_frame(frame_of().assign(sky=sky), columns)
        assert one.past.tolist() == [[1, 0]] * 6


def test_types_are_those_of_the_whole_column(tmp_path):
    """pandas reads large files in parts, and guesses the types of each."""
    rows = 300_000
    frame = pd.DataFrame({"time": np.arange(rows), "y": 1.0, "sky": "True"})
    frame.loc[rows - 1, "sky"] = "maybe"
    frame.to_csv(tmp_path / "t.csv", index=False)
    columns = Columns("time", targets=("y",), past=("sky",))
    series = read_series(str(tmp_path / "t.csv"), columns)
    assert series.texts == {"sky": ("True", "maybe")}
    assert series.past.sum(0).tolist() == [rows - 1, 1]


@pytest.mark.parametrize("use", ["past", "known"])
def test_texts_behind_the_training_part_are_not_learned(tmp_path, monkeypatch, use):
    monkeypatch.chdir(tmp_path)
    steps = np.arange(300)
    sky = np.where(steps >= 200, "storm", np.where(steps % 2, "rain", "sun"))
    frame = pd.DataFrame({"time": steps, "y": np.sin(steps), "sky": sky})
    frame.to_csv("t.csv", index=False)

    def run(split, output="run"):
        values = {
            **{"task": "forecasting", "output": output},
            "data": {"train": "t.csv", "targets": ["y"], use: ["sky"], "split": split, "season": 1},
            "model": {"context": 8, "horizon": 2, "hidden_size": 8, "segment": 2},
            "training": {"max_steps": 3, "device": "cpu", "threads": 1},
        }
        train(config_from_dict(values), quiet=True)

    run([150, 50, 100])
    forecaster = Forecaster.from_pretrained("run/model")
    assert forecaster.encoding.texts == {"sky": ("rain", "sun")}
    means = [
        forecaster.forecast_frame(
            pd.concat([frame, frame[-2:].assign(time=[300, 301], y=np.nan)]).assign(sky=sky)
        )["mean"].tolist()
        for sky in ("storm", "never", "rain")
    ]
    assert means[0] == means[1] != means[2]
    frame.loc[steps < 200, "sky"] = None
    frame.to_csv("t.csv", index=False)
    with pytest.raises(UsageError, match="sky has no text in the training part, such as 'storm'"):
        run([150, 50, 100], "other")


DAMAGED = {
    "texts of another column": lambda v: v["texts"].update(rain=["a"]),
    "no texts": lambda v: v["texts"].update(sky=[]),
    "texts twice": lambda v: v["texts"].update(sky=["rain", "rain"]),
    "texts in another order": lambda v: v["texts"].update(sky=["sun", "rain"]),
    "texts that are none": lambda v: v["texts"].update(sky=[1, 2]),
    "nothing for a text": lambda v: v["texts"].update(sky=["rain", None]),
    "one text for a list": lambda v: v["texts"].update(sky="rain"),
    "names that are none": lambda v: v.update(past_names=[1, 2, 3]),
    "without texts": lambda v: v.pop("texts"),
    "a deviation of 0": lambda v: v.update(past_deviation=[1.0, 0.0, 1.0]),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_encodings_are_told(tmp_path, name):
    series = series_of_frame(frame_of(), COLUMNS)
    config = config_from_dict({"task": "forecasting", "data": {"targets": ["y"]}})
    encoding = learn_encoding(config, series, series.lengths)
    save_encoding(encoding, tmp_path)
    assert load_encoding(tmp_path) == encoding
    values = json.loads((tmp_path / ENCODING_FILE).read_text())
    DAMAGED[name](values)
    (tmp_path / ENCODING_FILE).write_text(json.dumps(values))
    with pytest.raises(RunError, match=r"encoding\.json: damaged"):
        load_encoding(tmp_path)


def test_truth_values_with_gaps_are_numbers():
    (one,) = series_of_frame(frame_of().assign(sky=[True, None, *[False] * 6]), COLUMNS)
    assert one.past_names == ("sky", "wind")
    assert one.past[:3, 0] == pytest.approx([1, np.nan, 0], nan_ok=True)


def test_too_many_texts():
    frame = frame_of(200).assign(sky=[f"id{n}" for n in range(200)])
    with pytest.raises(UsageError, match="t: sky holds 200 different texts, such as 'id0'"):
        series_of_frame(frame, COLUMNS, "t")


def test_targets_stay_numbers():
    with pytest.raises(UsageError, match=r"sky is 'rain'.*'data.targets'"):
        series_of_frame(frame_of(), Columns("time", targets=("sky",)), "t")


@pytest.mark.parametrize("split", [True, False])
def test_a_model_keeps_the_texts_of_its_training(tmp_path, monkeypatch, split):
    """Two days before, the sky announced the value; what a file of test or use lacks stays a
    column."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    wet = random.random(700) < 0.5
    frame = pd.DataFrame({"time": np.arange(700), "sky": np.where(wet, "rain", "sun")})
    frame["y"] = np.roll(wet, 2) * 3.0
    frame["feast"] = np.where(np.arange(700) % 50 == 0, "yes", None)
    frame.to_csv("all.csv", index=False)
    dry = frame.iloc[500:600].assign(sky="sun", feast=None)
    dry.to_csv("dry.csv", index=False)

    def config(output, **training):
        return config_from_dict(
            {
                **{"task": "forecasting", "output": output},
                "data": {
                    **{"train": "all.csv", "targets": ["y"], "past": ["sky"], "known": ["feast"]},
                    **{"batch_size": 32, "season": 1, "split": [500, 100, 100]},
                    **({"validation": "dry.csv", "test": "dry.csv"} if split else {}),
                },
                "model": {
                    **{"context": 8, "horizon": 2, "hidden_size": 16, "segment": 2, "dropout": 0.0},
                    **{"base": "none", "scaling": "global", "head": "point"},
                },
                "training": {"max_epochs": 6, "device": "cpu", "threads": 1, **training},
            }
        )

    train(config("run", learning_rate=0.02), quiet=True)
    texts = {"feast": ("yes",), "sky": ("rain", "sun")}
    assert load_encoding(tmp_path / "run" / "model").texts == texts
    if not split:
        scores = json.loads((tmp_path / "run" / "test.scores.json").read_text())
        assert scores["model"]["mae"] < 0.3  # of 0 and 3
    forecaster = Forecaster.from_pretrained("run/model")
    for name, first in (("all.csv", 0), ("dry.csv", 500)):
        history = pd.read_csv(name).iloc[:90]
        ahead = pd.DataFrame({"time": first + np.arange(90, 92)})  # no text is a feast
        found = forecaster.forecast_frame(pd.concat([history, ahead]))
        assert np.abs(found["mean"] - (history["sky"] == "rain").to_numpy()[-2:] * 3.0).max() < 1
    # fine-tuning on a file that lacks a text, and going on with that
    frame.assign(sky="sun").to_csv("all.csv", index=False)
    train(config("tuned", start_from="run/model", max_steps=3), quiet=True)
    train(config("tuned", start_from="run/model", max_steps=5), quiet=True, resume=True)
    assert load_encoding(tmp_path / "tuned" / "model").texts == texts


def test_an_encoding_of_before_has_none(tmp_path):
    values = {
        **{"targets": ["y"], "step": "h", "season": 24, "calendar": [], "target_mean": [0.0]},
        **{"target_deviation": [1.0], "known_names": [], "known_mean": [], "known_deviation": []},
        **{"categories": {}, "numbers": {}, "needs_static": []},
    }
    (tmp_path / ENCODING_FILE).write_text(json.dumps(values))
    assert load_encoding(tmp_path).texts == {} and load_encoding(tmp_path).past_names == ()
