"""Captions are read with their images, and what does not fit is named by file and line."""

import json

import pytest
from PIL import Image

from seq2seq.errors import UsageError
from seq2seq.tasks.captioning.captions import load_captions


def folder(path, rows, images=("a.png", "b.png"), name="metadata.jsonl"):
    path.mkdir(parents=True, exist_ok=True)
    for image in images:
        (path / image).parent.mkdir(exist_ok=True)
        Image.new("RGB", (2, 2)).save(path / image)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def row(name, *captions):
    return {"file_name": name, "captions": list(captions)}


def refused(path, *parts):
    with pytest.raises(UsageError) as error:
        load_captions(path)
    for part in parts:
        assert part in str(error.value)


def test_folder(tmp_path):
    rows = [row("b.png", "A dog .", "One dog\nruns  ."), row("a.png", "Ein Hündchen")]
    found = load_captions(folder(tmp_path, rows))
    assert found.column_names == ["image", "captions"]
    assert found["image"][:] == [str(tmp_path / "b.png"), str(tmp_path / "a.png")]
    assert found["captions"][:] == [["A dog .", "One dog runs ."], ["Ein Hündchen"]]


def test_same_folder_same_fingerprint(tmp_path):
    place = folder(tmp_path, [row("a.png", "x"), row("b.png", "y")])
    first = load_captions(place)._fingerprint
    assert load_captions(str(place))._fingerprint == first
    folder(tmp_path, [row("a.png", "x"), row("b.png", "z")])
    assert load_captions(place)._fingerprint != first


def test_a_relative_path_gives_absolute_images(tmp_path, monkeypatch):
    folder(tmp_path / "train", [row("a.png", "x")], images=["a.png"])
    monkeypatch.chdir(tmp_path)
    assert load_captions("train")["image"][0] == str(tmp_path / "train" / "a.png")


@pytest.mark.parametrize("key", ["caption", "text"])
def test_lines_of_one_caption_add_up(tmp_path, key):
    rows = [("a.png", "one"), ("b.png", "two"), ("./a.png", "three")]
    rows = [{"file_name": name, key: text} for name, text in rows]
    found = load_captions(folder(tmp_path, rows))
    assert found["captions"][:] == [["one", "three"], ["two"]]


def test_a_folder_with_its_images_reads_no_others(tmp_path):
    """``images`` is for files, whose images lie elsewhere; names may be the same there."""
    own = folder(tmp_path / "own", [row("a.png", "x")], images=["a.png"])
    folder(tmp_path / "others", [row("a.png", "y"), row("b.png", "z")])
    found = load_captions(own, images=tmp_path / "others")
    assert found["image"][:] == [str(own / "a.png")]
    (own / "a.png").unlink()
    found = load_captions(own, images=tmp_path / "others")
    assert found["image"][:] == [str(tmp_path / "others" / "a.png")]


def test_two_columns_of_one_name(tmp_path):
    rows = ["file_name,caption,Caption", "a.png,x,y"]
    refused(folder(tmp_path, rows, name="metadata.csv"), "two columns are named 'caption'")


def test_csv(tmp_path):
    rows = ["file_name,caption", 'a.png,"A dog, running ."', "b.png,A cat .", "a.png,A dog ."]
    found = load_captions(folder(tmp_path, rows, name="metadata.csv"))
    assert found["captions"][:] == [["A dog, running .", "A dog ."], ["A cat ."]]


@pytest.mark.parametrize("name", ["split.jsonl", "split.json", "split.csv"])
def test_a_file_of_any_name(tmp_path, name):
    rows = [{"file_name": f"photos/{image}.png", "caption": "x"} for image in "ab"]
    if name.endswith(".json"):
        rows = [json.dumps(rows)]
    if name.endswith(".csv"):
        rows = ["file_name,caption", "photos/a.png,x", "photos/b.png,x"]
    place = folder(
        tmp_path, rows, images=["photos/a.png", "photos/b.png", "photos/c.png"], name=name
    )
    found = load_captions(place / name)
    assert found["image"][:] == [str(tmp_path / "photos" / f"{image}.png") for image in "ab"]


def test_images_in_subfolders(tmp_path):
    found = load_captions(folder(tmp_path, [row("x/a.png", "one")], images=["x/a.png"]))
    assert found["image"][0] == str(tmp_path / "x" / "a.png")


def test_images_without_captions_are_left_out_with_a_warning(tmp_path, caplog):
    place = folder(tmp_path, [row("a.png", "x")], images=["a.png", "b.png", "x/c.jpg"])
    assert len(load_captions(place)) == 1
    assert "2 images" in caplog.text and "b.png, x/c.jpg" in caplog.text


def test_zero_captions(tmp_path):
    place = folder(tmp_path, [row("a.png", "x"), row("b.png")])
    refused(place, "metadata.jsonl, line 2", "'b.png' has no captions")


@pytest.mark.parametrize("bad", [{"file_name": "a.png"}, {"file_name": "a.png", "captions": None}])
def test_no_captions_key(tmp_path, bad):
    refused(folder(tmp_path, [bad]), "line 1", "no 'captions'", "a.png")


def test_blank_and_wrong_captions(tmp_path):
    refused(folder(tmp_path, [row("a.png", "x", "  ")]), "line 1", "caption 2 of 'a.png' is blank")
    refused(folder(tmp_path, [row("a.png", 3)]), "caption 1 of 'a.png' is int")
    refused(folder(tmp_path, [{"file_name": "a.png", "captions": "x"}]), "is no list")
    refused(folder(tmp_path, [{**row("a.png", "x"), "text": "y"}]), "both 'captions' and 'text'")


def test_missing_image(tmp_path):
    rows = [row("a.png", "x"), row("c.png", "y"), row("d.png", "y")]
    refused(folder(tmp_path, rows), "line 2", "'c.png'", "1 more")


@pytest.mark.parametrize("second", ["a.png", "./a.png", "x/../a.png"])
def test_two_lists_for_one_image(tmp_path, second):
    place = folder(tmp_path, [row("a.png", "x"), row("b.png", "x"), row(second, "y")])
    refused(place, "line 3", ".." if ".." in second else "line 1 already")


@pytest.mark.parametrize("name", ["/etc/passwd", "../b.png", "x/../../b.png"])
def test_outside_the_folder(tmp_path, name):
    refused(folder(tmp_path, [row(name, "x")]), "line 1", name, "below the metadata file's folder")


@pytest.mark.parametrize("bad", [{"captions": ["x"]}, {"file_name": "", "captions": ["x"]}])
def test_no_file_name(tmp_path, bad):
    refused(folder(tmp_path, [bad]), "line 1", "no 'file_name'", "captions")


@pytest.mark.parametrize("bad", ['{"file_name": ', '["a.png"]', "3"])
def test_malformed_line(tmp_path, bad):
    refused(folder(tmp_path, [row("a.png", "x"), bad]), "metadata.jsonl, line 2", "JSON")


def test_not_utf8(tmp_path):
    place = folder(tmp_path, [row("a.png", "x")])
    (place / "metadata.jsonl").write_bytes('{"file_name": "ä"}'.encode("latin-1"))
    refused(place, "line 1", "UTF-8")


def test_half_a_character(tmp_path):
    rows = [r'{"file_name": "a.png", "caption": "a \ud800 dog"}']
    refused(folder(tmp_path, rows), r"caption 1 of 'a.png' holds '\ud800'")
    rows = [r'{"file_name": "\ud800.png", "caption": "a dog"}']
    refused(folder(tmp_path, rows), r"'file_name' holds '\ud800'")


def test_a_caption_of_null_characters_is_blank(tmp_path):
    refused(folder(tmp_path, [row("a.png", "\0 ")]), "is blank")


def test_a_name_that_is_too_long(tmp_path):
    refused(folder(tmp_path, [row("a" * 300 + ".png", "x")]), "is not there")


def test_bad_csv(tmp_path):
    place = folder(tmp_path, ["file_name,caption", "a.png,A dog, running ."], name="metadata.csv")
    refused(place, "line 2: 3 fields; expected 2")


def test_metadata_above_the_split(tmp_path):
    folder(tmp_path, [row("train/a.png", "x")], images=["train/a.png"])
    refused(tmp_path / "train", str(tmp_path / "metadata.jsonl"), "train/metadata.jsonl")


def test_metadata_below(tmp_path):
    folder(tmp_path / "train", [row("a.png", "x")])
    refused(tmp_path, "train/metadata.jsonl", "give the folder of one split")


def test_metadata_of_another_name(tmp_path):
    place = folder(tmp_path, [row("a.png", "x")], name="captions.jsonl")
    (place / "train.tar").touch()  # no such file
    refused(place, "no metadata.jsonl", "there is", "captions.jsonl: give that file")


def test_two_metadata_files(tmp_path):
    folder(tmp_path, ["file_name,caption", "a.png,x"], name="metadata.csv")
    refused(folder(tmp_path, [row("a.png", "x")]), "metadata.jsonl and metadata.csv")


def test_nothing_there(tmp_path):
    refused(tmp_path / "none", "no such file or folder")
    refused(tmp_path, "no metadata.jsonl in it")
    (tmp_path / "a.txt").write_text("x")
    refused(tmp_path / "a.txt", "line 1: found 'x'; expected NAME#NUMBER")
    (tmp_path / "a.yaml").write_text("x")
    refused(tmp_path / "a.yaml", "unknown format '.yaml'")
    (tmp_path / "metadata.jsonl").touch()
    refused(tmp_path, "no images in it")
