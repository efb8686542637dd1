"""The forecasting recipe's scripts: tables from files as published, the demo's balls, scores."""

from __future__ import annotations

import io
import tarfile
import zipfile

import ball
import demo_forecast
import numpy as np
import pandas
import prepare_series
import prepare_stocks
import prepare_trajectories as trajectories
import pytest
import score_directions

from seq2seq.errors import UsageError


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def tar(path, files):
    with tarfile.open(path, "w:xz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return path


def test_m4_joins_both_parts(tmp_path):
    head = ",".join(f'"V{n}"' for n in range(1, 50))
    write(tmp_path / "Hourly-train.csv", '"V1","V2","V3","V4"\n"H2",5,6,7\n"H10",1,2,\n')
    rows = "".join(f'"{name}",{",".join(map(str, range(48)))}\n' for name in ("H2", "H10"))
    write(tmp_path / "Hourly-test.csv", f"{head}\n{rows}")
    table = prepare_series.m4(tmp_path)["m4_hourly"]
    assert list(table["series"].unique()) == ["H2", "H10"]
    second = table[table["series"] == "H10"]
    assert second["time"].tolist() == list(range(50))
    assert second["value"].tolist() == [1, 2, *range(48)]
    write(tmp_path / "Hourly-test.csv", '"V1","V2"\n"H2",5\n"H10",5\n')
    with pytest.raises(UsageError, match="expected 48 values a series"):
        prepare_series.m4(tmp_path)


def test_pm25_and_what_is_not_there(tmp_path):
    text = "No,year,month,day,hour,pm2.5,DEWP,TEMP,PRES,Iws,cbwd\n1,2010,1,1,0,NA,1,2,3,4,NW\n"
    text += "2,2010,1,1,1,9,1,2,3,4,SE\n3,2010,1,1,2,NA,1,2,3,4,cv\n"
    table = prepare_series.pm25(write(tmp_path / "p.csv", text))["pm25"]
    assert table["time"].astype(str).tolist() == ["2010-01-01 01:00:00", "2010-01-01 02:00:00"]
    assert np.isnan(table["pm2.5"].iloc[1])
    assert table["wind"].tolist() == ["SE", "cv"]
    with pytest.raises(UsageError, match="no column 'date'"):
        prepare_series.etth1(tmp_path / "p.csv")
    with pytest.raises(UsageError, match="cannot be read"):
        prepare_series.sunspots(tmp_path / "none.csv")


def test_paths_of_balls_are_interpolated_and_dealt_into_folds(tmp_path):
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("index.csv", "traj_file,x_spin\n0,1\n")
        for n in range(10):
            archive.writestr(f"{n:03d}.csv", f"0.0;0;0;{n}\n0.015;3;0;{n}\n0.04;8;0;{n}\n")
    tables = dict(trajectories.balls(tmp_path / "b.zip"))
    tests = [set(tables[f"{fold}/test"]["series"]) for fold in range(5)]
    assert sorted(set.union(*tests)) == [f"{n:03d}" for n in range(10)]
    for fold in range(5):
        parts = [set(tables[f"{fold}/{split}"]["series"]) for split in ("train", "validation")]
        assert not (tests[fold] & parts[0] or tests[fold] & parts[1] or parts[0] & parts[1])
    first = tables["0/test"].groupby("series").get_group(min(tests[0]))
    np.testing.assert_allclose(first["x"], [0, 2, 4, 6, 8])


def test_windows_of_pedestrians():
    frames = np.arange(21) * 10.0
    together = [[f, p, f / 10, p] for f in frames for p in (1, 2)]
    rows = np.array([row for row in together if row[:2] != [200.0, 2]])  # 2 leaves before 1
    found = trajectories.windows(rows)
    assert sorted(found) == ["0/1", "0/2"]  # from frame 10 on, 1 is alone
    np.testing.assert_array_equal(found["0/2"][:, 0], np.arange(20))
    gap = (rows[:, 1] == 1) & (rows[:, 0] == 100)  # 2 is seen then
    cut = trajectories.tracks(rows[~gap])
    assert {name: len(path) for name, path in cut.items()} == {"1/0": 10, "1/1": 10, "2/0": 20}


def stocks(days, movements):
    random = np.random.default_rng(0)
    values = random.normal(size=(days, 13)).round(3)
    values[:, 11] = movements
    return values


def test_stocks_know_nothing_of_the_day_itself(tmp_path):
    dates = pandas.bdate_range("2013-12-10", "2015-12-31").strftime("%Y-%m-%d").tolist()
    days = len(dates)
    random = np.random.default_rng(1)
    values = stocks(days, random.choice([-1, 0, 1], days))
    values[40, 3] = -123321
    text = {"ourpped/A.csv": "\n".join(",".join(map(str, row)) for row in values)}
    text["trading_dates.csv"] = "\n".join(dates)
    read, found = prepare_stocks.read(tar(tmp_path / "s.tar.xz", text))
    table = prepare_stocks.rows(read, found)
    first = dates.index("2014-01-02")
    assert table["time"].min() == first - prepare_stocks.BEFORE
    row = table[table["time"] == first + 7].iloc[0]
    np.testing.assert_allclose(
        row[[f"before{n}" for n in range(1, 12)]].astype(float), values[first + 6, :11]
    )
    for time, up in zip(table["time"], table["up"], strict=True):
        counts = time >= first and values[time, 11] and not 41 <= time <= 45
        assert np.isnan(up) if not counts else up == (values[time, 11] > 0)


def test_interval_over_days_is_wider_than_over_examples():
    days = np.repeat(np.arange(20), 50)
    right = np.repeat(np.random.default_rng(0).integers(0, 2, 20), 50).astype(float)
    low, high = score_directions.over_days(right, days)
    assert low < 100 * right.mean() < high
    assert high - low > 25  # 1,000 independent examples: about 6


def test_balls_fly_and_bounce():
    paths = ball.throw(50, np.random.default_rng(0))
    assert paths.shape == (50, ball.POSITIONS, 2)
    height = paths[:, :, 1]
    assert height.min() > -5 * ball.NOISE and (height.min(1) < 0.2).all()  # all reach the ground
    again = ball.throw(50, np.random.default_rng(0))
    np.testing.assert_array_equal(again, paths)
    # in flight, height falls by gravity: second differences of the first positions of high throws
    high = height[:, :4].min(1) > 1.0
    drop = np.diff(height[high][:, :4], 2, axis=1).mean() * ball.RATE**2
    assert -12 < drop < -8
    assert height[:, -10:].max() < height.max()  # bounces take energy


def test_demo_from_end_to_end_at_a_fraction_of_its_size(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ball, "PATHS", {"train": 20, "validation": 6, "test": 8})
    short = {"training.max_steps": "4", "training.device": "cpu", "data.windows_per_epoch": "256"}
    load = demo_forecast.load_config
    monkeypatch.setattr(
        demo_forecast, "load_config", lambda path, changed: load(path, {**changed, **short})
    )
    demo_forecast.fly(tmp_path)
    said = capsys.readouterr().out
    assert "8 balls never seen, 0.48 s of each, then the next 0.6 s" in said
    assert "constant velocity" in said and "80% intervals hold" in said
    assert (tmp_path / "ball" / "balls.png").stat().st_size > 0
    assert (tmp_path / "ball" / "model" / "model.safetensors").exists()
