"""Backtests: origins, what is read, scores of single steps, pictures, the command."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from seq2seq.errors import UsageError
from seq2seq.tasks.forecasting.backtest import backtest
from seq2seq.tasks.forecasting.plots import plot_backtest, plot_forecast, plot_paths
from seq2seq.tasks.forecasting.series_set import pack
from tests.seq2seq.tasks.forecasting.models import make_forecaster, make_series


@pytest.fixture(scope="module")
def forecaster():
    return make_forecaster(kind="segments", base="last", scaling="window")


@pytest.fixture(scope="module")
def series():
    return pack(make_series(2, 40))  # of 40 and 37 steps


def test_origins(forecaster, series):
    latest = backtest(forecaster, series)
    assert latest.where.origins.tolist() == [35, 32]
    found = backtest(forecaster, series, 4, first=25, stride=3)
    assert found.where.series.tolist() == [0] * 4 + [1] * 3
    assert found.where.origins.tolist() == [25, 28, 31, 34, 25, 28, 31]
    dated = backtest(forecaster, series, 4, first="2024-03-02 06:00", stride=3)
    assert dated.where.origins.tolist() == [25, 28, 31, 34, 24, 27, 30, 33]


def test_every_forecast_is_that_of_the_history_alone(forecaster, series):
    found = backtest(forecaster, series, 4, first=25, stride=3)
    for window, (number, origin) in enumerate(
        zip(found.where.series, found.where.origins, strict=True)
    ):
        alone = forecaster.forecast(series[int(number)].until(int(origin)), 4)[0]
        np.testing.assert_array_equal(found.found.median[window], alone.median)
        came = series[int(number)].values[origin : origin + 4]
        np.testing.assert_array_equal(found.actual[window], came)


def test_scores_of_single_steps(forecaster, series):
    found = backtest(forecaster, series, 4, first=25, stride=3)
    scores = found.scores([1, 4])
    assert list(scores) == ["all", "1", "4"]
    error = (found.actual[:, 3] - found.found.mean[:, 3]) / found.deviation
    assert scores["4"]["model"]["mse"] == pytest.approx(np.nanmean(error**2))
    error = np.abs(found.actual - found.naive["last"]) / found.deviation
    assert scores["all"]["last"]["mae"] == pytest.approx(np.nanmean(error))
    assert found.by_origin()["mae last"].iloc[2] == pytest.approx(np.nanmean(error[2]))
    with pytest.raises(UsageError, match="step 5 ahead; expected 1 to 4"):
        found.scores([5])


def test_without_an_origin(forecaster, series):
    with pytest.raises(UsageError, match="the longest series has 40 steps; expected 5 steps"):
        backtest(forecaster, series, first=38)
    for date in ("soon", "", "NaT", "nan", "-3", "99999-01-01", "2024-13-01", "now", "today"):
        with pytest.raises(UsageError, match=f"first origin is '{date}'; expected a number of"):
            backtest(forecaster, series, first=date)
    with pytest.raises(
        UsageError, match="first origin is -3; expected a whole number of at least 0"
    ):
        backtest(forecaster, series, first=-3)
    with pytest.raises(UsageError, match="the times of these series have no zone"):
        backtest(forecaster, series, first="2024-03-02T06:00+01:00")


def test_origins_go_by_the_clocks_of_the_zone(recwarn):
    """New York is five hours behind UTC in March's first days."""
    zoned = make_series(2, 40)
    for one in zoned:
        object.__setattr__(one, "zone", "America/New_York")
    forecaster = make_forecaster(kind="segments", base="last", scaling="window", series=zoned)
    start = pd.Timestamp(pack(zoned).starts[0], tz="UTC")
    for hours, date in (
        (29, "2024-03-02"),
        (30, "2024-03-02 01:00"),
        (24, "2024-03-02T00:00Z"),
        (23, "2024-03-02T00:00+01:00"),
    ):
        found = backtest(forecaster, pack(zoned), 4, first=date, stride=1)
        origins = found.by_origin()["origin"]
        expected = pd.Timestamp("2024-03-01", tz="UTC") + pd.Timedelta(hours=hours)
        assert origins[0] == max(expected, start + pd.Timedelta(hours=1))
        assert str(origins.dt.tz) == "America/New_York"
    assert not [one for one in recwarn if "timezones" in str(one.message)]


def test_pictures(forecaster, series, tmp_path):
    found = backtest(forecaster, series, 4, first=20, stride=2)
    pairs, came = found.drawn(1)
    origins = [len(history) for history, _ in pairs]
    assert origins == [20, 24, 28, 32]  # no two windows overlap
    np.testing.assert_array_equal(came, series[1].values[32:36])
    assert plot_backtest(pairs, tmp_path / "b.png", actual=came).stat().st_size > 0
    assert plot_forecast(*pairs[0], tmp_path / "f.svg").stat().st_size > 0
    with pytest.raises(UsageError, match=r"shape \(3, 2\); expected \(4, 2\)"):
        plot_forecast(*pairs[0], tmp_path / "f.png", actual=came[:3])
    with pytest.raises(UsageError, match="at least one"):
        plot_backtest([], tmp_path / "f.png")


def test_picture_of_paths(tmp_path):
    past, actual = np.zeros((4, 3, 2)), np.ones((4, 5, 2))
    actual[1, 2:] = np.nan
    path = plot_paths(past, actual, {"model": actual + 1}, tmp_path / "p.png")
    assert path.stat().st_size > 0
    with pytest.raises(UsageError, match=r"paths 'model' have shape \(4, 4, 2\)"):
        plot_paths(past, actual, {"model": actual[:, 1:]}, tmp_path / "p.png")


def test_command(tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    known = make_series(2, 40, known=False)
    forecaster = make_forecaster(series=known, kind="segments", base="last", scaling="window")
    forecaster.config.data.static, forecaster.config.data.known = ["kind", "size"], []
    forecaster.save_pretrained("model")
    rows = [
        pd.DataFrame({"time": one.times, "name": one.name, "a": one.values[:, 0]}).assign(
            b=one.values[:, 1], **one.static
        )
        for one in known
    ]
    pd.concat(rows).to_csv("series.csv", index=False)
    options = ("backtest", "model", "--input", "series.csv", "--first", "25", "--stride", "3")
    status, out, err = run(*options, "--steps", "1,3", "--json", "--output", "each.csv")
    assert status == 0, err
    found = json.loads(out)
    # horizon 5: origins 25, 28, 31, 34 of 40 steps, 25, 28, 31 of 37
    assert found["windows"] == 7 and list(found["scores"]) == ["all", "1", "3"]
    assert len(pd.read_csv("each.csv")) == 7
    status, out, err = run(*options, "--plot", "b.png")
    assert status == 0 and "constant velocity" in out and (tmp_path / "b.png").exists()
    status, _, err = run(*options, "--steps", "6")
    assert status == 2 and "step 6 ahead" in err


def test_what_a_backtest_takes(forecaster, series):
    expected = backtest(forecaster, series, first=25).where.origins
    for given in (list(series), series[0]):
        found = backtest(forecaster, given, first=25)
        np.testing.assert_array_equal(found.where.origins, expected[: len(found.where.origins)])
    with pytest.raises(UsageError, match=r"history is DataFrame; .*forecast_frame takes pandas"):
        backtest(forecaster, pd.DataFrame())
    dated = backtest(forecaster, series, first=pd.Timestamp("2024-03-02 06:00"), stride=3)
    text = backtest(forecaster, series, first="2024-03-02 06:00", stride=3)
    np.testing.assert_array_equal(dated.where.origins, text.where.origins)
    for wrong in ({"first": True}, {"first": 20.5}, {"stride": True, "first": 5}, {"stride": 2.0}):
        with pytest.raises(UsageError, match="expected a whole number"):
            backtest(forecaster, series, **wrong)
