"""Files that are damaged, arrays of other shapes, and dates and numbers out of range: each is one
sentence, and no forecast."""

from __future__ import annotations

import gzip
import json
import warnings

import numpy as np
import pandas as pd
import pytest

from seq2seq.errors import RunError, UsageError
from seq2seq.tasks.forecasting.config import check_levels
from seq2seq.tasks.forecasting.reading import Columns, read_series, series_of_frame
from seq2seq.tasks.forecasting.times import Step, step_named
from tests.seq2seq.tasks.forecasting.models import make_forecaster, make_series

JUNK = b"junk, of no kind\n" * 9
TABLE = b"time,y\n" + b"".join(b"2024-01-%02d,%d\n" % (day, day) for day in range(1, 29))


def damaged(content: bytes) -> bytes:
    half = len(content) // 2
    return content[: half - 20] + b"\xff" * 40 + content[half + 20 :]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *[(f"t.csv.{kind}", JUNK) for kind in ("gz", "xz", "bz2", "zip", "tar")],
        *[(f"t.{kind}", b"") for kind in ("csv", "csv.xz", "csv.zip", "csv.tar", "parquet", "npz")],
        ("t.csv.gz", damaged(gzip.compress(TABLE))),
        ("t.tsv.zip", JUNK),
        ("t.parquet", JUNK),
        ("t.npz", JUNK),
    ],
)
def test_damaged_files(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=rf"{name}: cannot be read as"):
        read_series(str(tmp_path / name), Columns("time"))


def test_damaged_arrays(tmp_path):
    path, values = tmp_path / "a.npz", np.arange(300.0)
    np.savez(path, values=values)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], damaged(whole)):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"a\.npz: cannot be read as NPZ"):
            read_series(str(path), Columns(None))
    with path.open("wb") as file:
        np.save(file, values)
    with pytest.raises(UsageError, match=r"one array \(\.npy\); expected an archive"):
        read_series(str(path), Columns(None))
    folder = tmp_path / "arrays"
    folder.mkdir()
    for content in (JUNK, whole):
        (folder / "values.npy").write_bytes(content)
        with pytest.raises(UsageError, match="array of numpy"):
            read_series(str(folder), Columns(None))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"lengths": ["a"]}, "'lengths' holds <U1; expected whole numbers"),
        ({"lengths": [29.5]}, "'lengths' holds 29.5"),
        ({"lengths": 30}, "'lengths' has shape (); expected 1 dimension"),
        ({"lengths": [31, -1]}, "'lengths' holds -1"),
        ({"known": np.arange(30.0)}, "'known' has shape (30,); expected 2 dimensions"),
        ({"known": [["a"]] * 30, "known_names": ["k"]}, "'known' holds <U1"),
        ({"known": [[1e300]] * 30, "known_names": ["k"]}, "a number above 3.4e+38"),
        ({"names": "a"}, "'names' has shape ()"),
        ({"starts": 5}, "'starts' has shape ()"),
        ({"targets": "y"}, "'targets' has shape ()"),
        ({"step": ["1"]}, "'step' has shape (1,); expected 0 dimensions"),
        ({"static.size": 5.0}, "'static.size' has shape ()"),
        ({"static.size": [1e300]}, "static column 'size' is 1e+300; expected a number of at most"),
        ({"values": 5.0}, "'values' has shape ()"),
        ({"values": np.zeros((0, 3, 1))}, "'values' have 0 rows"),
        ({"values": [1e300]}, "target is 1e+300; expected a number of at most 3.4e+38"),
        (
            {"step": "h", "starts": np.array(["9999-01-01"], "M8[s]")},
            "'starts' of series 1 is 9999",
        ),
        ({"step": "h", "starts": np.array(["NaT"], "M8[ns]")}, "'starts' of series 1 is NaT"),
        ({"step": "h", "starts": np.array(["2262-04-11T20"], "M8[s]")}, "last time cannot be told"),
        ({"step": str(2**60)}, "last time cannot be told; expected whole numbers"),
    ],
)
def test_arrays_that_make_no_sense(tmp_path, arrays, said):
    np.savez(tmp_path / "a.npz", **{"values": np.arange(30.0), **arrays})
    with pytest.raises(UsageError) as error:
        read_series(str(tmp_path / "a.npz"), Columns(None))
    assert said in str(error.value)


def test_lengths_may_be_whole_numbers_in_floating_point(tmp_path):
    np.savez(tmp_path / "a.npz", values=np.arange(30.0), lengths=[10.0, 20.0])
    assert read_series(str(tmp_path / "a.npz"), Columns(None)).lengths.tolist() == [10, 20]


@pytest.mark.parametrize(
    "time",
    ["9999-12-31 23:00:00", "1500-01-01", "2262-04-12", "9999-12-31 23:00:00+01:00", "0001-01-01"],
)
def test_dates_that_do_not_fit(time):
    frame = pd.DataFrame({"time": [time], "y": [1.0]})
    with pytest.raises(UsageError, match=r"row 1.* (from 1677-09-23|expected a date)"):
        series_of_frame(frame, Columns("time", step=step_named("h")))


def test_the_last_dates_that_fit():
    days = ["1677-09-23", "2262-04-11"]
    for day in days:
        frame = pd.DataFrame({"time": [day], "y": [1.0]})
        series = series_of_frame(frame, Columns("time", step=step_named("D")))
        assert series.starts.astype("M8[D]").astype(str).tolist() == [day]


@pytest.mark.parametrize(
    ("step", "inside"),
    [("h", 23), ("D", 10), ("W", 1), ("MS", 1), ("ME", 1), ("B", 5), ("30YS", 0)],
)
def test_steps_that_have_times(step, inside):
    start = np.array(["2262-02-28"], "M8[ns]")
    found = step_named(step)
    assert found.fits(start, np.array([inside])).all()
    for far in (2000, 10**6, 10**12):
        assert not found.fits(start, np.array([far])).any()
    assert Step(1, "rows").fits(np.array([5]), np.array([10**12])).all()


@pytest.fixture
def forecaster():
    series = make_series(known=False)
    return make_forecaster(series=series, kind="segments", base="last", scaling="window")


def late(end: str):
    """Series whose last row is at ``end``."""
    frames = []
    for one in make_series(1, 30, known=False):
        times = pd.date_range(end=end, periods=len(one), freq="h")
        columns = {name: one.values[:, n] for n, name in enumerate(one.targets)}
        frames.append(pd.DataFrame({"time": times, "name": one.name, **columns, **one.static}))
    return pd.concat(frames)


def test_a_horizon_behind_the_last_date(forecaster):
    columns = Columns("time", ("name",), ("a", "b"), (), ("kind", "size"))
    series = series_of_frame(late("2262-04-11 22:00"), columns)
    assert len(forecaster.forecast(series, horizon=1)[0].times) == 1
    with pytest.raises(UsageError, match=r"2 steps \(h\) after row 30 \(time 2262-04-11 22:00\)"):
        forecaster.forecast(series, horizon=2)


@pytest.mark.parametrize("value", [1e300, -1e39, 3e38, 1e30])
def test_numbers_that_float32_does_not_hold(forecaster, value):
    columns = Columns("time", ("name",), ("a", "b"), (), ("kind", "size"))
    frame = late("2024-01-05")
    frame.loc[frame.index[-1], "a"] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found = forecaster.forecast(series_of_frame(frame, columns), horizon=2)
        except (UsageError, RunError) as error:
            assert "series 's0'" in str(error) and (abs(value) > 1e38)
        else:
            assert abs(value) < 1e39 and np.isfinite(found[0].median).all()


def test_levels_written_alike(forecaster):
    with pytest.raises(UsageError, match=r"both written 0\.1: expected levels that differ"):
        check_levels([0.1, 0.10000001, 0.5], "levels")
    check_levels([0.1, 0.10001, 0.5], "levels")
    columns = Columns("time", ("name",), ("a", "b"), (), ("kind", "size"))
    series = series_of_frame(late("2024-01-05"), columns)
    with pytest.raises(UsageError, match="both written"):
        forecaster.forecast(series, levels=[0.5, 0.50000001])


def test_a_forecast_in_json_is_json():
    from seq2seq.tasks.forecasting.frames import json_of
    from seq2seq.tasks.forecasting.series import Forecast

    values = np.array([[np.inf], [1.0]])
    times = np.array(["2024-01-01", "2024-01-02"], "M8[ns]")
    text = json_of(Forecast("s", times, ("y",), values, values, (0.5,), values[None], None, None))
    assert "Infinity" not in text
    assert json.loads(text)["targets"]["y"]["mean"] == [None, 1.0]
