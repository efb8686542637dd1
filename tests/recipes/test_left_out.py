"""Intervals calibrated on groups of series that a model has not seen."""

from __future__ import annotations

import calibrate_left_out
import numpy as np
import pandas as pd
import pytest

from seq2seq import Forecaster
from seq2seq.config import config_from_dict
from seq2seq.training.loop import train

LEVELS = [0.1, 0.9]
GROUPS = {"calm": 0.1, "rough": 1.0, "wild": 3.0}  # noise of a walk's steps


@pytest.fixture
def model(tmp_path):
    draw, rows = np.random.default_rng(0), []
    for group, noise in GROUPS.items():
        for number in range(6):
            walk = draw.normal(0, noise, 60).cumsum()
            time = pd.date_range("2024-01-01", periods=60, freq="D")
            rows.append(pd.DataFrame({"name": f"{group}/{number}", "time": time, "y": walk}))
    pd.concat(rows[:12]).to_csv(tmp_path / "train.csv", index=False)  # calm and rough
    pd.concat(rows).to_csv(tmp_path / "all.csv", index=False)
    values = {
        "task": "forecasting",
        "output": str(tmp_path / "run"),
        "data": {
            **{"train": str(tmp_path / "train.csv"), "series": ["name"], "batch_size": 16},
            **{"split": ["0.7", "0.3"], "validation_stride": 2, "calendar": []},
        },
        "model": {
            **{"kind": "segments", "context": 8, "horizon": 4, "segment": 4, "hidden_size": 4},
            **{"scaling": "none", "base": "last", "head": "quantiles"},
        },
        "training": {"max_epochs": 1, "device": "cpu", "threads": 1},
        "forecast": {"levels": LEVELS},
    }
    return train(config_from_dict(values), quiet=True)


def below(model, series, folder) -> list[float]:
    """The share of each group's values below the quantiles of the model that has not seen it, moved
    by the offsets of ``model``; the mean of the groups."""
    shares = []
    for group in ("calm", "rough"):
        (run,) = folder.glob(f"{group}-*/run")
        other = Forecaster.from_pretrained(run / "model", device="cpu")
        own = [one for one in series if one.name.startswith(group)]
        found, came = [], []
        for origin in range(8, 57, 2):
            now = other.forecast([one.until(origin) for one in own], 4, calibrate=False)
            found += [one.quantiles + model.model.offsets.numpy() for one in now]
            came += [one.values[origin : origin + 4] for one in own]
        shares.append((np.stack(came)[:, None] < np.stack(found)).mean((0, 2, 3)))
    return np.mean(shares, 0).tolist()


def test_each_group_counts_as_much_and_the_forecast_stays(model, tmp_path, call):
    done = call(calibrate_left_out, model, "calm", "rough", "--output", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    assert "calm: " in done.stderr and "rough: " in done.stderr
    before, after = (Forecaster.from_pretrained(p, device="cpu") for p in (model, tmp_path / "new"))
    series = before.read(str(tmp_path / "all.csv"))
    one, two = (f.forecast(series) for f in (before, after))
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first.mean, second.mean)
    assert below(after, series, model.parent / "model-left-out") == pytest.approx(LEVELS, abs=0.02)
    assert "`calm`, `rough`" in (tmp_path / "new" / "README.md").read_text()
    work = model.parent / "model-left-out"
    weights = {path: path.stat().st_mtime_ns for path in work.glob("*/run/model/*.safetensors")}
    # in another order
    done = call(calibrate_left_out, model, "rough", "calm", "--output", tmp_path / "again")
    assert done.returncode == 0 and len(weights) == 2
    assert weights == {path: path.stat().st_mtime_ns for path in weights}  # not trained again
    again = Forecaster.from_pretrained(tmp_path / "again", device="cpu")
    assert np.allclose(again.model.offsets, after.model.offsets, atol=1e-6)


def test_misuse_is_told(model, tmp_path, call, start):
    for patterns, why in (
        (["calm"], "one group; expected at least two"),
        (["calm", "none"], "'none': none of the series of"),
        (["calm|rough", "x"], "'calm|rough': all of the series of"),
        (["(", "calm"], "unterminated subpattern"),
    ):
        done = call(calibrate_left_out, model, *patterns)
        assert done.returncode == 2 and why in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
    done = start(calibrate_left_out, tmp_path / "absent", "a", "b")
    assert done.returncode == 2 and "no such directory" in done.stderr
