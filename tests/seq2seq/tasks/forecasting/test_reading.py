"""Files and frames of every kind, and errors that name series and row."""

from __future__ import annotations

import gzip
import io

import numpy as np
import pandas as pd
import pytest

from seq2seq.errors import UsageError
from seq2seq.tasks.forecasting.arrays import write_arrays
from seq2seq.tasks.forecasting.encoding import default_season
from seq2seq.tasks.forecasting.reading import Columns, read_input, read_series, series_of_frame
from seq2seq.tasks.forecasting.series_set import pack
from seq2seq.tasks.forecasting.times import step_named
from tests.seq2seq.tasks.forecasting.models import make_series

SHOPS = Columns("day", ("shop",), ("sales",), ("price",), ("kind",))
TABLE = """\
day,shop,sales,price,kind
2024-01-02,a,2,10,x
2024-01-01,a,1,11,x
2024-01-01,b,5,12,y
2024-01-03,a,,13,x
2024-01-02,b,6,14,y
2024-01-04,a,4,15,x
2024-01-05,a,,16,x
"""


def table(text=TABLE):
    return pd.read_csv(io.StringIO(text))


def read(text=TABLE, columns=SHOPS):
    return series_of_frame(table(text), columns, "t.csv")


def test_a_table_is_grouped_sorted_and_cut_at_its_future():
    series = read()
    assert [one.name for one in series] == ["a", "b"]
    first, second = series
    assert first.values[:, 0].tolist()[:2] == [1, 2] and np.isnan(first.values[2, 0])
    assert len(first) == 4 and first.future == 1 and second.future == 0
    assert first.known[:, 0].tolist() == [11, 10, 13, 15, 16]
    days = pd.date_range("2024-01-01", periods=4).to_numpy()
    assert np.array_equal(first.times, days) and first.times.dtype == "datetime64[ns]"
    assert first.static == {"kind": "x"} and str(series.step) == "D"


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "csv.xz", "tsv", "parquet"])
def test_files(tmp_path, ending):
    path, frame = tmp_path / f"shops.{ending}", table()
    if ending == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if ending == "tsv" else ",")
    found = read_series(str(path), SHOPS)
    for one, other in zip(found, read(), strict=True):
        assert np.array_equal(one.values, other.values, equal_nan=True)
        assert np.array_equal(one.known, other.known)
    stream = io.BytesIO(TABLE.encode())
    assert len(read_input(None, stream, SHOPS)) == 2


@pytest.mark.parametrize("name", ["series.npz", "folder"])
def test_arrays_are_read_as_they_were_written(tmp_path, name):
    series = pack(make_series())
    write_arrays(series, tmp_path / name)
    found = read_series(str(tmp_path / name), Columns("time"))
    assert isinstance(found.values, np.memmap) == (name == "folder")
    assert found.step == series.step and found.targets == series.targets
    for one, other in zip(found, series, strict=True):
        assert one.name == other.name and one.static == other.static
        assert np.array_equal(one.times, other.times)
        assert np.array_equal(one.values, other.values, equal_nan=True)
        assert np.array_equal(one.known, other.known)


SPREADSHEET = "day;shop;sales;price;kind\r\n{0};a;1,5;10;x\r\n{1};a;2;10,25;x\r\n"


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("ending", ["csv", "csv.gz", "stream"])
def test_spreadsheets_with_semicolons_and_decimal_commas(tmp_path, ending, mark):
    content = mark + SPREADSHEET.format("31.01.2024", "01.02.2024").encode()
    if ending == "stream":
        series = read_input(None, io.BytesIO(content), SHOPS)
    else:
        path = tmp_path / f"a.{ending}"
        path.write_bytes(gzip.compress(content) if ending == "csv.gz" else content)
        series = read_series(str(path), SHOPS)
    assert series[0].values[:, 0].tolist() == [1.5, 2] and series[0].known.tolist() == [
        [10],
        [10.25],
    ]
    assert str(series[0].times[1]).startswith("2024-02-01") and str(series.step) == "D"


def test_semicolons_with_decimal_points_and_commas_in_text(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("day;shop;sales;price;kind\n2024-01-01;a;1.5;10;x, y\n2024-01-02;a;2;9;x, y\n")
    series = read_series(str(path), SHOPS)
    assert series[0].values[:, 0].tolist() == [1.5, 2] and series[0].static == {"kind": "x, y"}


@pytest.mark.parametrize(
    ("rows", "times", "step"),
    [
        (["01.01.2024", "01.02.2024", "01.03.2024"], ["2024-01-01", "2024-03-01"], "MS"),
        (["1.12.2024 13:00", "1.12.2024 14:00"], ["2024-12-01T13", "2024-12-01T14"], "h"),
        (["01/01/2024", "02/01/2024", "03/01/2024"], ["2024-01-01", "2024-03-01"], "MS"),
        (["12/01/2024", "13/01/2024", "14/01/2024"], ["2024-01-12", "2024-01-14"], "D"),
        ([20240131, 20240201, 20240202], ["2024-01-31", "2024-02-02"], "D"),
        ([20240131, 20240132, 20240133], [20240131, 20240133], "1"),  # no days: numbers
        ([202411, 202412, 202501], ["2024-11-01", "2025-01-01"], "MS"),
        (["202411", "202412", "202501"], ["2024-11-01", "2025-01-01"], "MS"),
        ([202411, 202412, 202413], [202411, 202413], "1"),  # no months: numbers
        (["2024Q3", "2024q4", "2025Q1"], ["2024-07-01", "2025-01-01"], "QS"),
        (["2024-07-01", "2024-08-01"], ["2024-07-01", "2024-08-01"], "MS"),
        (["2021-12-31", "2022-12-31", "2023-12-31"], ["2021-12-31", "2023-12-31"], "YE"),
        (["2024-01-31", "2024-02-01", "2024-02-02"], ["2024-01-31", "2024-02-02"], "D"),
        (["2024-Q1", "2024 Q2"], ["2024-01-01", "2024-04-01"], "QS"),
        ([2020, 2021, 2022], [2020, 2022], "1"),
    ],
)
def test_dates_as_countries_write_them(rows, times, step):
    frame = pd.DataFrame({"day": rows, "y": np.arange(len(rows))})
    series = series_of_frame(frame, Columns("day"))
    assert str(series.step) == step
    found = [str(series[0].times[n]) if step != "1" else series[0].times[n] for n in (0, -1)]
    assert all(
        one.startswith(time) if step != "1" else one == time
        for one, time in zip(found, times, strict=True)
    )


def test_times_of_another_kind_than_the_step():
    numbers = pd.DataFrame({"day": [1704067200, 1704153600], "y": [1, 2]})
    with pytest.raises(UsageError, match=r"day holds whole numbers .*the step is D.*dates"):
        series_of_frame(numbers, Columns("day", step=step_named("D")))
    dates = pd.DataFrame({"day": ["2024-01-01", "2024-01-02"], "y": [1, 2]})
    with pytest.raises(UsageError, match=r"day holds dates .*the step is 1.*whole numbers"):
        series_of_frame(dates, Columns("day", step=step_named("1")))
    days = pd.DataFrame({"day": [20240101, 20240102], "y": [1, 2]})  # as a model of numbers reads
    assert series_of_frame(days, Columns("day", step=step_named("1")))[0].times[0] == 20240101


def test_columns_may_be_the_index_of_a_frame():
    frame = table()
    for keys in (["day"], ["shop", "day"]):
        found = series_of_frame(frame.set_index(keys), SHOPS)
        for one, other in zip(found, read(), strict=True):
            assert one.name == other.name and np.array_equal(one.times, other.times)
            assert np.array_equal(one.values, other.values, equal_nan=True)
    with pytest.raises(UsageError, match="2 columns 'sales'"):
        series_of_frame(pd.concat([frame, frame[["sales"]]], axis=1), SHOPS)
    with pytest.raises(UsageError, match="history is str; expected a pandas DataFrame"):
        series_of_frame("t.csv", SHOPS)


def test_a_first_time_that_the_step_does_not_have():
    days = pd.DataFrame({"day": ["2024-01-01", "2024-02-01"], "y": [1, 2]})
    with pytest.raises(UsageError, match="row 1: time 2024-01-01 is none that the step ME has"):
        series_of_frame(days, Columns("day", step=step_named("ME")))


def test_plain_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", values=np.arange(24).reshape(2, 6, 2))
    series = read_series(str(tmp_path / "a.npz"), Columns(None))
    assert [one.name for one in series] == ["1", "2"] and series.targets == ("target1", "target2")
    assert series[1].values.tolist() == np.arange(12, 24).reshape(6, 2).tolist()
    for arrays, message in (
        ({"values": np.zeros((4, 2)), "lengths": [3]}, "sum up to 3"),
        ({"values": np.zeros((4, 2)), "step": "h"}, "expected dates and a step"),
        ({"values": np.zeros(4), "extra": 1}, "unknown array 'extra'"),
        ({"lengths": [3]}, "no array 'values'"),
        ({"values": np.array(["x"])}, "expected numbers"),
        ({"values": np.zeros((4, 2)), "targets": ["a"]}, "1 targets; expected 2"),
    ):
        np.savez(tmp_path / "b.npz", **arrays)
        with pytest.raises(UsageError, match=message):
            read_series(str(tmp_path / "b.npz"), Columns(None))
    np.savez(tmp_path / "b.npz", values=np.array([{}], dtype=object))
    with pytest.raises(UsageError, match="cannot be read as NPZ"):  # nothing is unpickled
        read_series(str(tmp_path / "b.npz"), Columns(None))


def test_all_other_columns_are_targets_and_rows_can_be_numbered():
    frame = pd.DataFrame({"x": [1, 2, 3], "y": [True, False, True], "z": ["1.5", None, "2"]})
    series = series_of_frame(frame, Columns(None))
    assert series.targets == ("x", "y", "z") and series[0].times.tolist() == [0, 1, 2]
    assert series[0].values[2].tolist() == [3, 1, 2]


def test_gaps():
    text = "time,y\n2024-01-01,1\n2024-01-02,2\n2024-01-04,4\n2024-01-05,5\n2024-01-06,\n"
    with pytest.raises(UsageError, match=r"t.csv: series 'series', row 3: time 2024-01-04.*2 st"):
        read(text, Columns("time"))
    filled = read(text, Columns("time", gaps="fill"))[0]
    assert np.array_equal(filled.values[:, 0], [1, 2, np.nan, 4, 5], equal_nan=True)
    numbered = read(text, Columns("time", gaps="ignore"))[0]
    assert numbered.values[:, 0].tolist() == [1, 2, 4, 5] and numbered.times.tolist() == [
        0,
        1,
        2,
        3,
    ]
    two = "time,s,y,p\n1,a,1,1\n2,a,2,2\n5,a,3,3\n1,b,1,1\n4,b,2,2\n"
    filled = read(two, Columns("time", ("s",), ("y",), ("p",), gaps="fill"))
    assert filled.lengths.tolist() == [5, 4]
    assert filled[0].known[:, 0].tolist() == [1, 2, 2, 2, 3]
    assert filled[1].known[:, 0].tolist() == [1, 1, 1, 2]


def test_months_and_business_days():
    months = "time,y\n1949-01,112\n1949-02,118\n1949-03,132\n1949-04,129\n"
    series = read(months, Columns("time"))
    assert str(series.step) == "MS"
    assert series[0].future_times(2).astype(str).tolist()[1].startswith("1949-06-01")
    days = pd.bdate_range("2024-01-01", periods=15)
    frame = pd.DataFrame({"time": days, "y": np.arange(15.0)})
    series = series_of_frame(frame, Columns("time"))
    assert str(series.step) == "B"
    assert str(series[0].future_times(1)[0]).startswith("2024-01-22")


def test_time_zones():
    text = (
        "time,y\n2024-03-31T00:00:00+01:00,1\n2024-03-31T01:00:00+01:00,2\n"
        "2024-03-31T03:00:00+02:00,3\n"
    )
    series = read(text, Columns("time"))  # summer time begins in between
    assert str(series.step) == "h" and series.zone == "UTC"
    assert str(series[0].times[0]) == "2024-03-30T23:00:00.000000000"
    times = pd.date_range("2024-03-30", periods=50, freq="h", tz="Europe/Berlin")
    frame = pd.DataFrame({"time": times, "y": np.arange(50.0)})
    series = series_of_frame(frame, Columns("time"))
    assert series.zone == "Europe/Berlin" and len(series[0]) == 50
    days = pd.date_range("2024-03-28", periods=6, freq="D", tz="Europe/Berlin")
    series = series_of_frame(pd.DataFrame({"time": days, "y": np.arange(6.0)}), Columns("time"))
    assert series.zone is None and str(series.step) == "D"
    assert str(series[0].times[-1]).startswith("2024-04-02T00:00")
    for form in (
        "{}",
        "{:%Y-%m-%dT%H:%M%z}",
        "{:%d.%m.%Y %H:%M:%S%z}",
        "{:%Y-%m-%d %H:%M:%S}+0{hours}",
    ):
        rows = "".join(
            f"{form.format(day, hours=1 + (day.day < 28))},{number}\n"  # as CSV has it
            for number, day in enumerate(days)
        )
        series = read(f"time,y\n{rows}", Columns("time"))
        assert series.zone is None and str(series.step) == "D"
        assert np.array_equal(series[0].times, days.tz_localize(None).to_numpy())


def replaced(old, new):
    assert old in TABLE
    return TABLE.replace(old, new)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (replaced("2024-01-04,a", "2024-01-02,a"), r"series 'a', row 6: time 2024-01-02.*repeated"),
        (replaced("2024-01-02,a,2", "soon,a,2"), "row 1: day is 'soon'; expected a date"),
        (replaced("2024-01-02,a,2", ",a,2"), "row 1: day is missing"),
        (replaced("b,6", "b,six"), "row 5: sales is 'six'; expected a number"),
        (replaced("b,6", "b,inf"), r"series 'b', row 2 .*: sales is inf"),
        (replaced("6,14,y", "6,14,x"), "series 'b', row 5: static column 'kind' differs"),
        (replaced("6,14,y", "6,14,"), "series 'b', row 5: static column 'kind' is missing"),
        (replaced("4,15,x", "4,,x"), "series 'a', row 4 of it: price is nan; .*known ahead"),
        (replaced("a,4", ",4"), "row 6: the series has no name"),
        (replaced("5,12,y", ",12,y").replace("b,6", "b,"), "series 'b': no value in sales"),
        (
            replaced("2024-01-04,a", "2024-01-04 07:00,a"),
            r"series .a., row 6: time 2024-01-04 07.*no whole number",
        ),
        ("day,shop,sales,price,kind\n", "no rows"),
        (
            "day,shop,sale,price,kind\n2024-01-01,a,1,1,x\n",
            "no column 'sales'; did you mean 'sale'",
        ),
        ("day,shop,sales,price,kind\n2024-01-01,a,1,1,x\n", "one time does not show the step"),
    ],
)
def test_errors_name_series_and_row(text, message):
    with pytest.raises(UsageError, match=message):
        read(text)


def test_files_that_are_none(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        read_series(str(tmp_path / "a.csv"), SHOPS)
    for name in ("a.csv", "a.parquet", "a.npz", "a.txt"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(UsageError, match=name):
            read_series(str(tmp_path / name), SHOPS)


@pytest.mark.parametrize(
    ("step", "start"), [("MS", "2024-01-31"), ("B", "2024-01-06"), ("ME", "2024-01-15")]
)
def test_arrays_begin_at_a_time_of_their_step(step, start, tmp_path):
    found = {"values": np.arange(6.0), "step": step, "names": ["a"]}
    np.savez(tmp_path / "a.npz", **found, starts=np.array([start], "datetime64[D]"))
    with pytest.raises(UsageError, match=f"series 'a' starts at {start}, which is none that"):
        read_series(str(tmp_path / "a.npz"), Columns(None))


def test_zones_of_arrays(tmp_path):
    found = {"values": np.arange(6.0), "starts": np.array(["2024-01-01"], "datetime64[h]")}
    for zone, step in (("Mars/Base", "h"), ("UTC", "1")):
        starts = found["starts"] if step == "h" else np.array([0])
        np.savez(tmp_path / "a.npz", **{**found, "starts": starts}, step=step, zone=zone)
        with pytest.raises(UsageError, match=f"'zone' is '{zone}', and 'step' is {step}"):
            read_series(str(tmp_path / "a.npz"), Columns(None))


@pytest.mark.parametrize(
    ("step", "season"),
    [("15min", 96), ("h", 24), ("2h", 12), ("6h", 4), ("7h", 1), ("D", 7), ("W", 52), ("QS", 4)],
)
def test_season_that_a_step_usually_has(step, season):
    assert default_season(step_named(step)) == season
