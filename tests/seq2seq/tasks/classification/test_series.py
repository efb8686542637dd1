"""Series from every form, what was measured and when, and images as steps."""

from __future__ import annotations

import gzip
import json
import struct

import numpy as np
import pytest
from PIL import Image

from seq2seq import UsageError
from seq2seq.tasks.classification.config import ClassDataConfig, ImageInputConfig
from seq2seq.tasks.classification.images import read_images
from seq2seq.tasks.classification.labelled import Columns
from seq2seq.tasks.classification.series import averaged, make_series
from seq2seq.tasks.classification.series_files import read_series
from seq2seq.tasks.classification.sources import ImageSource, SeriesSource

NAN = float("nan")
CONFIG = ClassDataConfig(kind="series", static=["age"])
CSV = """\
id,time,age,x,y,label
a,0,30,1,,sick
a,1.5,,,2,
b,0,,5,6,well
"""
VALUES = [[[1, NAN], [NAN, 2]], [[5, 6]]]


def write(folder) -> list[str]:
    """The same two series in three forms."""
    (folder / "s.csv").write_text(CSV)
    rows = [
        {"values": [[1, None], [None, 2]], "times": [0, 1.5], "static": [30], "label": "sick"},
        {"values": [[5, 6]], "times": [0], "static": [None], "label": "well"},
    ]
    (folder / "s.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    np.savez(
        folder / "s.npz",
        values=np.concatenate([np.array(v) for v in VALUES]),
        lengths=[2, 1],
        times=[0, 1.5, 0],
        static=[[30], [NAN]],
        labels=np.array(["sick", "well"]),
    )
    return [str(folder / name) for name in ("s.csv", "s.jsonl", "s.npz")]


def test_every_form_gives_the_same_series(tmp_path):
    for path in write(tmp_path):
        found = read_series(path, CONFIG)
        assert found.targets == ["sick", "well"]
        for series, values in zip(found.inputs, VALUES, strict=True):
            np.testing.assert_array_equal(series.values, np.array(values, np.float32))
        assert found.inputs[0].times.tolist() == [0, 1.5]
        assert found.inputs[0].static.tolist() == [30] and np.isnan(found.inputs[1].static).all()
        assert len(read_series(path, CONFIG, labelled=False)) == 2
    (tmp_path / "s.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    assert read_series(str(tmp_path / "s.csv.gz"), CONFIG).targets == ["sick", "well"]


def test_equal_lengths_need_no_lengths(tmp_path):
    path = tmp_path / "s.npz"
    np.savez(path, values=np.arange(12.0).reshape(2, 3, 2), labels=[0, 1], times=[0.0, 1, 4])
    found = read_series(str(path), ClassDataConfig(kind="series"))
    assert found.targets == ["0", "1"]
    assert found.inputs[1].values.tolist() == [[6, 7], [8, 9], [10, 11]]
    assert found.inputs[1].times.tolist() == [0, 1, 4]
    np.savez(path, values=np.zeros((2, 3, 2)), labels=[[1, 0], [1, 1]], label_names=["p", "q"])
    several = read_series(str(path), ClassDataConfig(kind="series", target="labels"))
    assert several.targets == [["p"], ["p", "q"]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("a,1.5", "a,-1"), "series 'a': time goes backwards, from 0 to -1"),
        (("b,0,,5,6", "b,0,,5,six"), "line 4: column 'y' holds 'six'"),
        (("b,0,,5,6", "b,0,,5,inf"), "series 'b': an infinite value in step 1"),
        (("b,0,,5,6,well", "b,0,,5,6"), "line 4: 5 columns; the header has 6"),
        (("b,0,,5,6,well", "b,0,,5,6,"), "series b: no label"),
        (("a,1.5,,,2,", "a,1.5,,,2,well"), "line 2: series 'a' has two labels, 'sick' and 'well'"),
        (("id,", "name,"), "line 1: no column 'id'"),
        (("age", "years"), "line 1: no column 'age' .'data.static'."),
        (("a,1.5", "a,"), "times of shape"),
        (
            ("a,1.5,,", "a,1.5,31,"),
            "line 3: series 'a' has two values of the static column 'age', 30",
        ),
        (("a,1.5", " ,1.5"), "line 3: no 'id' .'data.id'."),
    ],
)
def test_wrong_csv_says_where(tmp_path, change, message):
    path = tmp_path / "s.csv"
    path.write_text(CSV.replace(*change, 1))
    with pytest.raises(UsageError, match=message):
        read_series(str(path), CONFIG)


def test_features_are_read_by_name(tmp_path):
    csv, _, npz = write(tmp_path)
    columns = read_series(csv, CONFIG).columns
    assert columns == Columns(("x", "y"), ("age",))
    moved = tmp_path / "moved.csv"
    moved.write_text("y,label,time,x,age,id\n,sick,0,1,30,a\n2,,1.5,,,a\n6,well,0,5,,b\n")
    found = read_series(str(moved), CONFIG, columns=columns)
    for series, values in zip(found.inputs, VALUES, strict=True):
        np.testing.assert_array_equal(series.values, np.array(values, np.float32))
    moved.write_text("id,x,z,age\na,1,2,3\n")
    with pytest.raises(
        UsageError, match=r"line 1: no feature 'y'; 'z' was not in training; .*x, y"
    ):
        read_series(str(moved), CONFIG, False, columns)
    moved.write_text("id,x,x,age\na,1,2,3\n")
    with pytest.raises(UsageError, match="line 1: two features are named 'x'"):
        read_series(str(moved), CONFIG, False)
    assert read_series(npz, CONFIG, columns=columns).columns is None  # it names nothing: by order
    arrays = dict(np.load(npz))
    arrays["values"] = arrays["values"][:, ::-1]
    np.savez(npz, **arrays, features=["y", "x"], static_features=["age"])
    named = read_series(npz, CONFIG, columns=columns)
    np.testing.assert_array_equal(named.inputs[0].values, np.array(VALUES[0], np.float32))
    assert named.columns == columns and named.select([1]).columns == columns
    plain = ClassDataConfig(kind="series")  # a model that was trained on NPZ reads a CSV
    assert read_series(csv, plain, columns=columns).inputs[0].static.tolist() == [30]
    arrays["features"] = ["y"]
    np.savez(npz, **arrays)
    with pytest.raises(UsageError, match="'features' has 1 names; 'values' has 2 columns"):
        read_series(npz, CONFIG, columns=columns)


def test_wrong_npz_and_json_say_where(tmp_path):
    path, config = tmp_path / "s.npz", ClassDataConfig(kind="series")
    np.savez(path, rows=np.zeros(3))
    with pytest.raises(UsageError, match="no array 'values'; there are: rows"):
        read_series(str(path), config)
    np.savez(path, values=np.zeros((5, 2)), lengths=[2, 2], labels=[0, 1])
    with pytest.raises(UsageError, match="'lengths' sum up to 4; 'values' has 5 rows"):
        read_series(str(path), config)
    np.savez(path, values=np.zeros((2, 2, 2)), labels=[0, 1, 1])
    with pytest.raises(UsageError, match="'labels' has 3 rows for 2 series"):
        read_series(str(path), config)
    np.savez(path, values=np.zeros((2, 2, 2)))
    with pytest.raises(UsageError, match="series 1: no label"):
        read_series(str(path), config)
    lines = tmp_path / "s.jsonl"
    lines.write_text('{"values": [[1], [2]], "label": 1}\n{"values": [[1, 2]], "label": 0}\n')
    with pytest.raises(UsageError, match=r"line 2: 2 features and 0 static ones.*1 and 0"):
        read_series(str(lines), config)
    lines.write_text('{"values": [[1], [2, 3]], "label": 1}\n')
    with pytest.raises(UsageError, match="line 1: values are no table of numbers"):
        read_series(str(lines), config)
    with pytest.raises(UsageError, match="expected a name that ends in"):
        (tmp_path / "s.txt").write_text("x")
        read_series(str(tmp_path / "s.txt"), config)


def test_labels_of_arrays_that_are_no_number_are_none(tmp_path):
    path, config = tmp_path / "s.npz", ClassDataConfig(kind="series")
    np.savez(path, values=np.zeros((2, 2, 2)), labels=[0.0, np.nan])
    with pytest.raises(UsageError, match="series 2: no label"):
        read_series(str(path), config)


@pytest.mark.parametrize("key", ["time", "Times", "statics"])
def test_keys_that_are_nearly_right_are_refused(tmp_path, key):
    wanted = "static" if key.startswith("s") else "times"
    message = f"unknown key '{key}'; did you mean '{wanted}'"
    config, line = ClassDataConfig(kind="series"), {"values": [[1], [2]], key: [0, 5], "label": "a"}
    (tmp_path / "s.jsonl").write_text(json.dumps(line))
    with pytest.raises(UsageError, match=f"line 1: {message}"):
        read_series(str(tmp_path / "s.jsonl"), config)
    arrays = {"values": np.zeros((1, 2, 1)), key: np.zeros((1, 2)), "labels": ["a"]}
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(UsageError, match=message):
        read_series(str(tmp_path / "s.npz"), config)
    del line[key]
    line |= {"patient": 3, "taken": [1]}  # what else is known of it
    (tmp_path / "s.jsonl").write_text(json.dumps(line))
    assert read_series(str(tmp_path / "s.jsonl"), config).targets == ["a"]


def test_several_labels_of_a_table_may_be_none(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text('\nid,x,label\na,1,\na,2,\nb,1, \nb,2,"p,q"\n')
    config = ClassDataConfig(kind="series", target="labels")
    assert read_series(str(path), config).targets == [[], ["p", "q"]]


def test_what_was_measured_and_how_long_before():
    series = make_series([[1, NAN], [NAN, NAN], [3, 4], [NAN, NAN]], [0, 1, 3, 7])
    source = SeriesSource([series, make_series([[9, 9]])], ClassDataConfig(kind="series"))
    inputs = source.collate(np.array([0, 1]))
    filled = inputs.values[0].numpy()
    np.testing.assert_array_equal(filled, [[1, NAN], [1, NAN], [3, 4], [3, 4]])
    assert inputs.measured[0].tolist() == [[1, 0], [0, 0], [1, 1], [0, 0]]
    # Che et al. 2018, eq. 2: since the measurement before, which may be that of this very step
    assert inputs.gaps[0].tolist() == [[0, 0], [1, 1], [3, 3], [4, 4]]
    assert inputs.lengths.tolist() == [4, 1] and inputs.gaps[1].any() == 0


def test_bins_average_what_was_measured():
    series = make_series([[1, NAN], [3, NAN], [5, 6]], [10, 10.5, 13.2])
    found = averaged(series, 1.0)
    np.testing.assert_array_equal(found.values, [[2, NAN], [5, 6]])
    assert found.times.tolist() == [10, 13]


@pytest.mark.parametrize(
    ("kind", "start"),
    [(np.float64, 0.0), (np.float64, 1.7e9), (np.float32, 0.0)],  # which has no digits for 1.7e9
)
@pytest.mark.parametrize("width", [0.1, 0.25, 60.0])
def test_what_stands_at_the_edge_of_a_bin_is_in_the_next(kind, start, width):
    """0.7 / 0.1 is a little less than 7; seconds since 1970 have fewer digits left."""
    times = start + width * np.arange(1000)
    series = make_series(np.arange(1000.0), times.astype(kind))
    np.testing.assert_array_equal(averaged(series, width).values[:, 0], np.arange(1000.0))
    between = make_series(np.arange(1000.0), start + width * (np.arange(1000) * 0.5 + 0.25))
    assert len(averaged(between, width).values) == 500


def idx(path, images, labels):
    count, size = len(images), images.shape[1]
    path.write_bytes(struct.pack(">4I", 0x803, count, size, size) + images.tobytes())
    other = path.with_name(path.name.replace("images-idx3", "labels-idx1"))
    other.write_bytes(struct.pack(">2I", 0x801, len(labels)) + bytes(labels))


def test_images_from_idx_and_folders(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 4)).astype(np.uint8)
    path = tmp_path / "train-images-idx3-ubyte"
    idx(path, pixels, [7, 0, 7])
    config = ClassDataConfig(kind="image", image=ImageInputConfig(size=4))
    found = read_images(str(path), config)
    assert found.targets == ["7", "0", "7"]
    np.testing.assert_array_equal(found.inputs, pixels)
    for label, image in zip("707", pixels, strict=True):
        (tmp_path / "photos" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "photos" / label / f"{image[0, 0]}.png")
    again = read_images(str(tmp_path / "photos"), config)
    assert sorted(again.targets) == ["0", "7", "7"]
    assert {image.tobytes() for image in again.inputs} == {image.tobytes() for image in pixels}
    lines = [{"file_name": f"7/{pixels[0, 0, 0]}.png", "label": "seven"}]
    (tmp_path / "photos" / "7" / "._0.png").write_bytes(b"what macOS leaves beside a file")
    (tmp_path / "photos" / "7" / "below").mkdir()
    Image.fromarray(pixels[0]).save(tmp_path / "photos" / "7" / "below" / "x.png")
    assert sorted(read_images(str(tmp_path / "photos"), config).targets) == ["0", "7", "7", "7"]
    Image.fromarray(pixels[0]).save(tmp_path / "photos" / "x.png")
    with pytest.raises(
        UsageError, match=r"photos.x\.png: an image without a label; expected it in"
    ):
        read_images(str(tmp_path / "photos"), config)
    metadata = tmp_path / "photos" / "metadata.jsonl"
    metadata.write_text("\n".join(map(json.dumps, lines)))
    assert read_images(str(tmp_path / "photos"), config).targets == ["seven"]
    metadata.write_text(json.dumps({"file_name": "7/none.png"}))
    with pytest.raises(UsageError, match="line 1: an image without 'label'"):
        read_images(str(tmp_path / "photos"), config)
    idx(path, pixels, [7, 0])
    with pytest.raises(UsageError, match="2 labels for 3 images"):
        read_images(str(path), config)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UsageError, match="cut short"):
        read_images(str(path), config)


def test_images_as_steps():
    pixels = np.arange(32, dtype=np.uint8).reshape(2, 4, 4)
    rows = ImageSource(pixels, ImageInputConfig(size=4)).collate(np.array([1]))
    np.testing.assert_allclose(rows.values[0] * 255, pixels[1], rtol=1e-6)
    single = ImageSource(pixels, ImageInputConfig(size=4, steps="pixels"))
    assert (single.collate(np.array([0])).values * 255).round().flatten().tolist() == [*range(16)]
    mixed = ImageSource(pixels, ImageInputConfig(size=4, steps="permuted", permutation=3))
    again = ImageSource(pixels[:1], ImageInputConfig(size=4, steps="permuted", permutation=3))
    values = (mixed.collate(np.array([0])).values * 255).round().flatten().tolist()
    assert values == (again.collate(np.array([0])).values * 255).round().flatten().tolist()
    assert values != [*range(16)] and sorted(values) == [*range(16)]
    moved = ImageSource(pixels + 1, ImageInputConfig(size=4, shift=1))
    found = moved.collate(np.array([0, 1]), np.random.default_rng(5)).values
    assert found.shape == (2, 4, 4) and float(found[0, 1, 1]) > 0


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"lengths": ["a", "b"]}, "'lengths' holds <U1; expected whole numbers"),
        ({"lengths": [1.5, 1.5]}, "'lengths' holds 1.5; expected whole numbers"),
        ({"lengths": [4, -1]}, "'lengths' holds -1"),
        ({"lengths": 3}, r"'lengths' has shape \(\); expected 1 dimension"),
        ({"static": 5.0}, r"'static' has shape \(\)"),
        ({"static": [[np.inf], [0]]}, "an infinite value in 'static'"),
        ({"features": "x"}, r"'features' has shape \(\)"),
        ({"labels": 1}, r"'labels' has shape \(\)"),
        ({"ids": 1}, r"'ids' has shape \(\)"),
        ({"times": 1.0}, r"'times' has shape \(\)"),
        ({"values": 1.0}, r"'values' has shape \(\)"),
        ({"values": [[1.0, 2], [1e300, 2], [3, 4]]}, r"a value of 1e\+300 in step 2; expected"),
        ({"times": [0, 1e300, 0]}, "expected a finite number for each"),
    ],
)
def test_arrays_that_make_no_sense(tmp_path, arrays, said):
    usual = {"values": np.ones((3, 2)), "lengths": [2, 1], "labels": ["a", "b"]}
    np.savez(tmp_path / "s.npz", **{**usual, **arrays})
    with pytest.raises(UsageError, match=rf"s\.npz.*{said}"):
        read_series(str(tmp_path / "s.npz"), CONFIG)


def test_files_that_are_no_archives_of_arrays(tmp_path):
    path = tmp_path / "s.npz"
    np.savez(path, values=np.ones((9, 9, 9)))
    whole = path.read_bytes()
    for content in (b"", b"junk", whole[:999], whole[:999] + b"\xff" * 99 + whole[1098:]):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"s\.npz: cannot be read as NPZ"):
            read_series(str(path), CONFIG)
    with path.open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(UsageError, match="holds one array"):
        read_series(str(path), CONFIG)


def test_numbers_of_json_that_floating_point_does_not_hold(tmp_path):
    path = tmp_path / "s.jsonl"
    for number, said in (
        ("1" + "0" * 400, "too large"),
        ("1e300", "a value of 1e"),
        ("1e999", "inf"),
    ):
        path.write_text('{"values": [[%s, 2]], "label": "a"}\n' % number)  # noqa: UP031
        with pytest.raises(UsageError, match=rf"s\.jsonl, line 1: .*{said}"):
            read_series(str(path), CONFIG)
