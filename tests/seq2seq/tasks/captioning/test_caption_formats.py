"""Captions in the formats of public data sets; what does not fit is named by file and place."""

import json

import pytest
from PIL import Image

from seq2seq.errors import UsageError
from seq2seq.tasks.captioning.captions import load_captions
from tests.seq2seq.tasks.captioning.test_captions import refused


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "Images"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg"):
        Image.new("RGB", (2, 2)).save(folder / name)
    return folder


def karpathy(name, split, *sentences, **more):
    return {"filename": name, "split": split, "sentences": list(sentences), "imgid": 3, **more}


def write(path, images):
    path.write_text(json.dumps({"images": images, "dataset": "flickr8k"}), encoding="utf-8")
    return path


def test_karpathy_splits(tmp_path, images):
    raw = {"raw": "A dog , running .", "tokens": ["a", "dog", "running"]}
    path = write(
        tmp_path / "dataset.json",
        [
            karpathy("a.jpg", "train", raw, {"tokens": ["two", "dogs"]}),
            karpathy("b.jpg", "val", raw),
            karpathy("c.jpg", "restval", raw, filepath="Images"),
            karpathy("d.jpg", "test", raw),
        ],
    )
    train = load_captions(path, "validation", images)
    assert train["image"][:] == [str(images / "b.jpg")]
    assert load_captions(path, "test", str(images))["image"][:] == [str(images / "d.jpg")]
    (tmp_path / "Images" / "Images").symlink_to(images)
    train = load_captions(path, "train", images)
    assert train["captions"][:] == [["A dog , running .", "two dogs"], ["A dog , running ."]]
    assert len(load_captions(path, None, images)) == 4


def test_bad_karpathy_files(tmp_path, images):
    good = karpathy("a.jpg", "train", {"raw": "x"})
    path = tmp_path / "dataset.json"
    for bad, message in [
        ({"split": "train", "sentences": []}, "no 'filename'"),
        ({"filename": "b.jpg", "sentences": []}, "'split' is None"),
        ({"filename": "b.jpg", "split": "train"}, "'sentences' is no list"),
        (karpathy("b.jpg", "train", {"raw": 3}), "sentence 1 has neither"),
        (karpathy("b.jpg", "train"), "has no captions"),
        (karpathy("b.jpg", "train", {"raw": " "}), "caption 1 of 'b.jpg' is blank"),
        (karpathy("b.jpg", "train", {"raw": "x"}, filepath=3), "'filepath' is 3"),
        (karpathy("e.jpg", "train", {"raw": "x"}), "a caption for 'e.jpg'"),
        (karpathy("../e.jpg", "train", {"raw": "x"}), "neither absolute nor with '..'"),
        (good, "'a.jpg' has captions on image 1 already"),
        (3, "no 'filename'"),
    ]:
        write(path, [good, bad])
        with pytest.raises(UsageError) as error:
            load_captions(path, "train", images)
        assert f"{path}, image 2" in str(error.value) and message in str(error.value)
    write(path, [good])
    with pytest.raises(UsageError, match="no image of split 'val'; it has: train 1"):
        load_captions(path, "validation", images)
    path.write_text('{"a": 1}')
    refused(path, "expected a JSON list of objects, or an object with a list of 'images'")
    with pytest.raises(UsageError, match="none: no such folder"):
        load_captions(path, "train", tmp_path / "none")


@pytest.mark.parametrize("name", ["captions.txt", "captions.csv"])
def test_a_table_of_image_and_caption(tmp_path, images, name):
    path = tmp_path / name
    path.write_text('image,caption\na.jpg,A dog .\nb.jpg,"One cat, asleep"\na.jpg,Two dogs\n')
    found = load_captions(path, "train", images)  # a file without splits is all of one
    assert found["captions"][:] == [["A dog .", "Two dogs"], ["One cat, asleep"]]
    assert found["image"][0] == str(images / "a.jpg")
    path.write_text("image,caption\na.jpg,A dog, running\n")
    refused(path, f"{path}, line 2: 3 fields; expected 2")


@pytest.mark.parametrize("name", ["Flickr8k.token.txt", "results.token"])
def test_numbered_captions(tmp_path, images, name):
    path = images / name
    path.write_text("a.jpg#0\tA dog .\nb.jpg#0\tA cat .\r\n\na.jpg#1\tTwo dogs \n")
    assert load_captions(path)["captions"][:] == [["A dog .", "Two dogs"], ["A cat ."]]
    for line, message in [
        ("a.jpg#0\tagain", "a.jpg#0 has a caption on line 1 already"),
        ("a.jpg A dog", "expected NAME#NUMBER, a tab and a caption"),
        ("a.jpg\tA dog", "expected NAME#NUMBER"),
        ("b.jpg#0\t ", "caption 1 of 'b.jpg' is blank"),
        ("e.jpg#0\tA dog", "a caption for 'e.jpg'"),
    ]:
        path.write_text(f"a.jpg#0\tA dog\n{line}\n")
        refused(path, f"{path}, line 2", message)
