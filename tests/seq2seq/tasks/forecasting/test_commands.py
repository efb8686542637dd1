"""seq2seq forecast, from a file, from standard input, as CSV and as JSON."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pytest

from seq2seq.tasks.forecasting.forecaster import Forecaster
from tests.seq2seq.running import heavy_modules_after
from tests.seq2seq.tasks.forecasting.models import make_forecaster, make_series


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """A model, and the table of series it has never seen."""
    monkeypatch.chdir(tmp_path)
    known = make_series(known=False)
    forecaster = make_forecaster(series=known, kind="segments", base="last", scaling="window")
    forecaster.config.data.static = ["kind", "size"]
    forecaster.config.data.known = []
    forecaster.save_pretrained("model")
    rows = [
        pd.DataFrame(
            {
                **{"time": one.times, "name": "new " + one.name, "a": one.values[:, 0]},
                **{"b": one.values[:, 1], **one.static},
            }
        )
        for one in make_series(2, 20, known=False, seed=5)
    ]
    pd.concat(rows).to_csv("history.csv", index=False)
    return tmp_path


def test_csv_json_standard_input_and_python_agree(saved, run):
    status, out, err = run("forecast", "model", "--input", "history.csv", "--horizon", "4")
    assert status == 0, err
    table = pd.read_csv(io.StringIO(out))
    assert list(table.columns) == [
        "series",
        "target",
        "time",
        "mean",
        "median",
        "0.1",
        "0.5",
        "0.9",
    ]
    assert len(table) == 2 * 2 * 4 and set(table["series"]) == {"new s0", "new s1"}
    text = (saved / "history.csv").read_bytes()
    assert run("forecast", "model", "--horizon", "4", stdin=text)[1] == out
    options = ("--horizon", "4", "--json", "--paths", "2", "--levels", "0.1,0.9", "--seed", "3")
    status, lines, err = run("forecast", "model", "--input", "history.csv", *options)
    first = json.loads(lines.splitlines()[0])
    assert first["series"] == "new s0" and len(first["times"]) == 4
    assert first["times"][0] == "2024-03-02T01:00:00"
    assert np.array(first["targets"]["b"]["paths"]).shape == (2, 4)
    assert list(first["targets"]["a"]["quantiles"]) == ["0.1", "0.9"]
    found = Forecaster.from_pretrained("model").forecast_frame(pd.read_csv("history.csv"), 4)
    assert table["0.9"].to_numpy() == pytest.approx(found["0.9"].to_numpy(), rel=1e-6)
    status, out, _ = run("forecast", "model", "--input", "history.csv", "--output", "f.csv")
    assert (status, out) == (0, "") and len(pd.read_csv("f.csv")) == 2 * 2 * 5


def test_mistakes_name_what_is_wrong(saved, run):
    def error(*options, stdin=b""):
        status, out, err = run("forecast", "model", *options, stdin=stdin)
        assert status == 2 and out == ""
        return err

    assert "no such file" in error("--input", "none.csv")
    assert "forecasts 5 steps at once" in error("--input", "history.csv", "--horizon", "6")
    assert "--seed goes with --paths N" in error("--input", "history.csv", "--seed", "3")
    assert "no list of numbers" in error("--input", "history.csv", "--levels", "x")
    assert "levels is [0.9, 0.1]" in error("--input", "history.csv", "--levels", "0.9,0.1")
    assert "standard input: cannot be read as a CSV table" in error()
    assert "no column 'time'" in error(stdin=b"day,name,a,b\n1,x,1,2\n")
    table = pd.read_csv("history.csv")
    table.loc[3, "time"] = table.loc[2, "time"]
    assert "series 'new s0', row 4: time 2024-03-01 07:00" in error(
        stdin=table.to_csv(index=False).encode()
    )


def test_help_waits_for_nothing_heavy():
    assert heavy_modules_after("forecast", "--help") == "0 []"


def test_a_forecast_is_drawn(saved, run):
    pytest.importorskip("matplotlib")
    status, _, err = run("forecast", "model", "--input", "history.csv", "--plot", "f.png")
    assert status == 0, err
    assert (saved / "f.png").read_bytes().startswith(b"\x89PNG")


def test_large_numbers_keep_their_digits(saved, run):
    table = pd.read_csv("history.csv")
    table[["a", "b"]] += 1.7e9
    table.to_csv("large.csv", index=False)
    for more in ((), ("--json",)):
        status, out, err = run("forecast", "model", "--input", "large.csv", *more)
        assert status == 0, err
        if more:
            mean = json.loads(out.splitlines()[0])["targets"]["a"]["mean"]
        else:
            plain = pd.read_csv(io.StringIO(out)).query("target == 'a'")["mean"].to_numpy()
    np.testing.assert_allclose(plain[:5], mean, rtol=1e-11)
    assert len(set(plain[:5])) > 1
