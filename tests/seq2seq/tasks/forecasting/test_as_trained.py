"""What a model reads is what its training read, however a file writes it."""

from __future__ import annotations

import datetime
import zoneinfo

import numpy as np
import pandas
import pytest
import torch

from seq2seq.config import config_from_dict
from seq2seq.errors import UsageError
from seq2seq.tasks.forecasting.arrays import read_arrays, write_arrays
from seq2seq.tasks.forecasting.encoding import Encoding, learn_encoding
from seq2seq.tasks.forecasting.forecaster import Forecaster
from seq2seq.tasks.forecasting.making import make_model
from seq2seq.tasks.forecasting.reading import columns_of, read_series, series_of_frame
from seq2seq.tasks.forecasting.zones import zone_of
from tests.seq2seq.tasks.forecasting.models import SIZES


def forecaster(frame, head="gaussian", embedding=False, **data):
    """A model with random weights that was made for this table."""
    values = {
        "task": "forecasting",
        "data": {"time": "time", "targets": ["y"], **data},
        "model": {**SIZES, "head": head, "series_embedding": embedding},
    }
    config = config_from_dict(values)
    series = series_of_frame(frame, columns_of(config.data))
    encoding = learn_encoding(config, series, series.lengths)
    encoding = Encoding.from_dict(encoding.to_dict())
    torch.manual_seed(0)
    model = make_model(config, encoding).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return Forecaster(model, encoding, config)


def hourly(hours=24 * 12, zone="Europe/Berlin"):
    """Over the end of summer time."""
    times = pandas.date_range("2024-10-20", periods=hours, freq="h", tz="UTC").tz_convert(zone)
    return pandas.DataFrame({"time": times, "y": np.arange(hours) % 24 + 1.0})


def text(frame):
    return frame.assign(time=[time.isoformat() for time in frame["time"]])


def means(model, frame):
    return model.forecast_frame(frame)["mean"].to_numpy()


@pytest.mark.parametrize("written", ["zone", "text"])
def test_the_calendar_is_that_of_the_clocks_of_training(written, tmp_path):
    frame = hourly()
    model = forecaster(frame if written == "zone" else text(frame))
    assert model.encoding.zone == ("Europe/Berlin" if written == "zone" else "UTC")
    tail = frame.tail(60)
    expected = means(model, frame.tail(60) if written == "zone" else text(frame).tail(60))
    for other in (
        text(tail),  # all of one offset
        frame.assign(time=frame["time"].dt.tz_convert("UTC")).tail(60),
        frame.assign(time=frame["time"].dt.tz_convert("Asia/Tokyo")).tail(60),
    ):
        np.testing.assert_array_equal(means(model, other), expected)
    write_arrays(series_of_frame(tail, model.columns), tmp_path / "a.npz")
    arrays = read_arrays(tmp_path / "a.npz")
    assert arrays.zone == "Europe/Berlin"
    (found,) = model.forecast(arrays)
    np.testing.assert_array_equal(found.mean[:, 0], expected)


def test_an_old_model_takes_the_clocks_of_the_series():
    model = forecaster(hourly())
    values = model.encoding.to_dict()
    del values["zone"], values["day_first"]
    old = Forecaster(model.model, Encoding.from_dict(values), model.config)
    np.testing.assert_array_equal(means(old, hourly()), means(model, hourly()))
    for wrong in ({"zone": "Mars/Base"}, {"zone": 5}, {"day_first": "yes"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Encoding.from_dict({**model.encoding.to_dict(), **wrong})


@pytest.mark.parametrize(
    ("zone", "name"),
    [
        (datetime.timezone(datetime.timedelta(hours=9), "EST"), "UTC+09:00"),
        (datetime.timezone(-datetime.timedelta(hours=3, minutes=30)), "UTC-03:30"),
        (datetime.UTC, "UTC"),
        (zoneinfo.ZoneInfo("Europe/Berlin"), "Europe/Berlin"),
    ],
)
def test_names_of_zones_are_found_again(zone, name):
    assert zone_of(zone, "here") == name
    frame = hourly()
    frame["time"] = frame["time"].dt.tz_convert(zone)
    found = forecaster(frame).forecast_frame(frame)["time"]
    step = pandas.Timedelta(hours=1)
    assert list(found) == [frame["time"].iloc[-1] + n * step for n in range(1, 6)]
    assert found.iloc[0].utcoffset() == (frame["time"].iloc[-1] + step).utcoffset()


class Nameless(datetime.tzinfo):
    def utcoffset(self, when):
        return None if when is None else datetime.timedelta(hours=1)


def test_a_zone_without_a_name_is_refused():
    with pytest.raises(UsageError, match=r"here: the time zone .* has no name"):
        zone_of(Nameless(), "here")


@pytest.mark.parametrize(("step", "start"), [("MS", "2020-01-01"), ("D", "2024-03-01")])
def test_one_row_of_days_has_the_dates_of_its_zone(step, start):
    times = pandas.date_range(start, periods=30, freq=step, tz="Europe/Berlin")
    frame = pandas.DataFrame({"time": times, "y": np.arange(30.0)})
    model = forecaster(frame)
    for rows in (1, 2, 30):
        found = model.forecast_frame(frame.head(rows))["time"]
        expected = pandas.date_range(times[rows - 1], periods=6, freq=step)[1:].tz_localize(None)
        assert list(found) == list(expected)


def test_numbered_rows_are_forecast_as_they_were_trained():
    times = pandas.bdate_range("2024-01-01", periods=60).delete([3, 17, 18])  # holidays
    frame = pandas.DataFrame({"time": times.astype(str), "y": np.arange(len(times)) * 1.0})
    model = forecaster(frame, gaps="ignore")
    assert list(model.forecast_frame(frame)["time"]) == list(range(57, 62))


@pytest.mark.parametrize("gaps", ["error", "fill"])
def test_days_come_first_where_they_did_in_training(gaps):
    times = pandas.date_range("2024-01-01", periods=90)
    frame = pandas.DataFrame({"time": times.strftime("%d/%m/%Y"), "y": np.arange(90.0)})
    model = forecaster(frame, gaps=gaps)
    assert model.encoding.day_first
    for rows in (slice(60, 70), slice(60, 61)):  # 01/03/2024 to 10/03/2024
        found = model.forecast_frame(frame[rows])["time"].iloc[0]
        assert found == times[rows.stop]
    american = frame.assign(time=times.strftime("%m/%d/%Y"))
    assert forecaster(american).encoding.day_first is False


def shops():
    frames = []
    for shop, kind in (("001", "1"), ("002", "2"), ("NA", "A")):
        times = pandas.date_range("2024-01-01", periods=30)
        frames.append(pandas.DataFrame({"time": times, "shop": shop, "kind": kind, "y": 1.0}))
    return pandas.concat(frames, ignore_index=True)


@pytest.mark.parametrize("form", ["csv", "tsv", "parquet", "frame"])
def test_names_and_categories_that_look_like_numbers(form, tmp_path):
    frame = shops()
    model = forecaster(frame, embedding=True, series=["shop"], static=["kind"])
    assert model.encoding.categories == {"kind": ("1", "2", "A"), "series": ("001", "002", "NA")}
    whole = model.encoding.codes(series_of_frame(frame, model.columns))
    assert whole.tolist() == [[1, 1], [2, 2], [3, 3]]
    for number, name in enumerate(("001", "002", "NA")):
        part = frame[frame["shop"] == name]
        path = tmp_path / f"a.{form}"
        if form in ("csv", "tsv"):
            part.to_csv(path, index=False, sep="," if form == "csv" else "\t")
            series = read_series(str(path), model.columns)
            assert series.names.tolist() == [name]
        elif form == "parquet" and name != "NA":
            part.astype({"kind": int, "shop": float}).to_parquet(path)
            series = read_series(str(path), model.columns)
            assert series.names.tolist() == [name.lstrip("0")]
        elif form == "frame" and name != "NA":
            series = series_of_frame(part.astype({"kind": float, "shop": int}), model.columns)
        else:
            continue
        assert model.encoding.codes(series).tolist() == [whole[number].tolist()]
    unseen = frame.head(30).assign(kind="3", shop="1.5")
    assert model.encoding.codes(series_of_frame(unseen, model.columns)).tolist() == [[0, 0]]


def test_static_numbers_of_a_file_stay_numbers(tmp_path):
    path = tmp_path / "a.csv"
    lines = ["time;shop;size;open;y", *(f"2024-01-{day:02};a;1,5;True;2,5" for day in range(1, 9))]
    path.write_text("\n".join(lines))
    data = {"time": "time", "series": ["shop"], "static": ["size", "open"], "targets": ["y"]}
    config = config_from_dict({"task": "forecasting", "data": data})
    series = read_series(str(path), columns_of(config.data))
    assert series.static["size"].tolist() == [1.5] and series.static["open"].tolist() == [1.0]
    assert series.values[0, 0] == 2.5
    path.write_text(path.read_text().replace("1,5", "NA"))
    with pytest.raises(UsageError, match="row 1"):
        path.write_text(path.read_text().replace(";NA;True", ";;True"))
        read_series(str(path), columns_of(config.data))


def test_a_table_with_tabs_may_have_decimal_commas(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("time\ty\n2024-01-01\t10,5\n2024-01-02\t11,5\n")
    columns = columns_of(config_from_dict({"task": "forecasting", "data": {"time": "time"}}).data)
    assert read_series(str(path), columns).values[:, 0].tolist() == [10.5, 11.5]


def test_names_of_several_columns_stay_apart():
    times = pandas.date_range("2024-01-01", periods=4)
    frame = pandas.DataFrame({"time": times, "p": ["a/b"] * 2 + ["a"] * 2, "y": 1.0})
    frame["q"] = ["c"] * 2 + ["b/c"] * 2
    config = config_from_dict(
        {"task": "forecasting", "data": {"time": "time", "series": ["p", "q"], "targets": ["y"]}}
    )
    with pytest.raises(UsageError, match="row 3: two series would have the name 'a/b/c'"):
        series_of_frame(frame, columns_of(config.data))
    frame["q"] = ["c"] * 2 + ["d"] * 2
    assert series_of_frame(frame, columns_of(config.data)).names.tolist() == ["a/b/c", "a/d"]


def test_a_static_column_cannot_be_called_as_the_names_are():
    frame = shops().rename(columns={"kind": "series"})
    with pytest.raises(UsageError, match="a static column is named 'series'"):
        forecaster(frame, embedding=True, series=["shop"], static=["series"])
    assert forecaster(frame, series=["shop"], static=["series"]).encoding.categories


def test_columns_that_are_numbers_have_names():
    times = pandas.date_range("2024-01-01", periods=30)
    frame = pandas.DataFrame({"time": times, 0: np.arange(30.0)})
    model = forecaster(frame.rename(columns={0: "0"}), targets=["0"])
    assert len(model.forecast_frame(frame)) == 5 and 0 in frame.columns


@pytest.mark.parametrize(
    "column",
    [
        pandas.to_timedelta(np.arange(30), unit="h"),
        pandas.period_range("2024-01", periods=30, freq="M"),
        np.arange(30) + 1j,
    ],
    ids=["spans", "periods", "complex"],
)
def test_what_is_no_number_is_no_target(column):
    times = pandas.date_range("2024-01-01", periods=30)
    with pytest.raises(UsageError, match=r"row 1: y is .*; expected a number"):
        forecaster(pandas.DataFrame({"time": times, "y": column}))


def test_dates_of_arrow():
    pyarrow = pytest.importorskip("pyarrow")
    times = pandas.date_range("2024-01-01", periods=30)
    frame = pandas.DataFrame({"time": times, "y": np.arange(30.0)})
    model = forecaster(frame)
    dates = pandas.Series(times.date, dtype=pandas.ArrowDtype(pyarrow.date32()))
    other = model.forecast_frame(frame.assign(time=dates))
    pandas.testing.assert_frame_equal(other, model.forecast_frame(frame))


def written(tmp_path, cells, **data):
    """The series of a CSV file with these cells of the column id, a day each."""
    lines = ["time,id,y", *(f"2024-01-{day:02},{cell},1" for day, cell in enumerate(cells, 1))]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    values = {"time": "time", "targets": ["y"], "gaps": "ignore", **data}
    config = config_from_dict({"task": "forecasting", "data": values})
    return read_series(str(tmp_path / "a.csv"), columns_of(config.data))


def test_names_of_files(tmp_path):
    found = written(tmp_path, ["1", "1.0", "001", "NA", " b ", "0", "0.0"], series=["id"])
    assert found.names.tolist() == ["1", "001", "NA", "b", "0"]
    for missing in ("nan", "NULL", "", "<NA>"):
        with pytest.raises(UsageError, match="row 2: the series has no name"):
            written(tmp_path, ["a", missing], series=["id"])
        with pytest.raises(UsageError, match="row 1: static column 'id' is missing"):
            written(tmp_path, [missing], static=["id"])
    both = written(tmp_path, ["1", "2"], series=["id"], static=["id"])
    assert both.names.tolist() == ["1", "2"] and both.static["id"].tolist() == [1.0, 2.0]


def test_arrays_that_were_a_table_are_read_again(tmp_path):
    times = ["2023-01-30", "2023-04-30", "2023-07-30", "2023-10-30"]
    frame = pandas.DataFrame({"time": times, "y": 1.0})
    config = config_from_dict({"task": "forecasting", "data": {"time": "time"}})
    series = series_of_frame(frame, columns_of(config.data))
    write_arrays(series, tmp_path / "a.npz")
    assert read_arrays(tmp_path / "a.npz").starts == series.starts
