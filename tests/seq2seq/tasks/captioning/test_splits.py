"""A part of the training images is held out, and chooses the checkpoint."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("PIL")

from seq2seq import Captioner, UsageError
from seq2seq.config import config_from_dict
from seq2seq.tasks.captioning.captions import load_captions, names_of
from seq2seq.tasks.captioning.splits import hold_out, load_splits
from seq2seq.training.loop import train
from tests.seq2seq.running import records
from tests.seq2seq.tasks.captioning.drawings import settings, write_split


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawings")
    write_split(folder / "train", 24, seed=1)
    write_split(folder / "validation", 6, seed=2)
    return folder


def test_whole_images_are_held_out_by_seed_and_name(drawings):
    rows = load_captions(drawings / "train")
    train_rows, held = hold_out(rows, 5, seed=3)
    assert len(held) == 5 and len(train_rows) == 19
    assert not set(held["image"]) & set(train_rows["image"])
    turned = rows.select(range(23, -1, -1))
    assert set(hold_out(turned, 5, seed=3)[1]["image"]) == set(held["image"])
    assert set(hold_out(rows, 5, seed=4)[1]["image"]) != set(held["image"])
    with pytest.raises(UsageError, match=r"'data.held_out' is 24 and there are 24 training images"):
        hold_out(rows, 24, seed=3)


def test_the_checkpoint_is_chosen_by_what_is_held_out(drawings, tmp_path, capsys):
    output = tmp_path / "run"
    values = settings(drawings, output)
    values["data"]["held_out"] = 4
    model = train(config_from_dict(values))
    assert "train 20 images" in capsys.readouterr().err
    names = (output / "held_out.txt").read_text().split()
    assert len(names) == 4
    validated = [record for record in records(output) if "cider_d" in record]
    assert len(validated) == 3
    # the validation images are scored once, at the end
    lines = (output / "validation.captions.jsonl").read_text().splitlines()
    assert len(lines) == 6 and not (output / "held_out.captions.jsonl").exists()
    assert "held-out CIDEr-D" in (model / "README.md").read_text()
    values["output"], values["data"]["validation"] = str(tmp_path / "alone"), None
    train(config_from_dict(values), quiet=True)
    lines = (tmp_path / "alone" / "held_out.captions.jsonl").read_text().splitlines()
    assert [json.loads(line)["image"] for line in lines] == names
    assert records(tmp_path / "alone") == records(output)


def test_what_is_held_out_is_what_validates(drawings, tmp_path):
    """The figures of a run are those of its model on the images that held_out.txt lists."""
    output = tmp_path / "run"
    values = settings(drawings, output, max_steps=4, ema_decay=0.0)
    values["data"] |= {"held_out": 4, "validation": None}
    model = train(config_from_dict(values), quiet=True)
    names = (output / "held_out.txt").read_text().split()
    captioner = Captioner.from_pretrained(model)
    images = [str(drawings / "train" / name) for name in names]
    found = [result.text for result in captioner.caption(images)]
    lines = (output / "held_out.captions.jsonl").read_text().splitlines()
    assert [json.loads(line)["caption"] for line in lines] == found


def test_one_file_for_all_splits(drawings, tmp_path):
    lines = (drawings / "train" / "metadata.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    splits = ["train"] * 16 + ["val"] * 4 + ["test"] * 4
    images = [
        {"filename": row["file_name"], "split": split, "sentences": [{"raw": row["captions"][0]}]}
        for row, split in zip(rows, splits, strict=True)
    ]
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"images": images}))
    values = settings(drawings, tmp_path / "run", max_steps=4)
    values["data"] |= dict.fromkeys(("train", "validation", "test"), str(path))
    values["data"] |= {"images": str(drawings / "train"), "held_out": 3}
    sets = load_splits(config_from_dict(values))
    assert {name: len(rows) for name, rows in sets.items()} == {
        "train": 13, "held_out": 3, "validation": 4, "test": 4,
    }  # fmt: skip
    model = train(config_from_dict(values), quiet=True)
    assert len((model.parent / "test.captions.jsonl").read_text().splitlines()) == 4


def test_a_file_without_splits_that_is_named_twice_is_warned_of(drawings, tmp_path, caplog):
    values = settings(drawings, tmp_path / "run")
    values["data"]["validation"] = values["data"]["train"]
    load_splits(config_from_dict(values))
    assert "share 24 images" in caplog.text and "'data.held_out'" in caplog.text


def test_images_of_folders_keep_them_in_their_names(tmp_path):
    paths = [str(tmp_path / name) for name in ("a/1.png", "b/1.png", "b/c/2.png")]
    assert names_of(paths) == ["a/1.png", "b/1.png", "b/c/2.png"]
    assert names_of(paths[1:2]) == ["1.png"] and names_of([]) == []


def test_captions_without_a_word_are_not_learnt(drawings, tmp_path, caplog):
    lines = (drawings / "train" / "metadata.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    rows[3]["captions"].append("?!")
    place = tmp_path / "captions.jsonl"
    place.write_text("\n".join(map(json.dumps, rows)))
    values = settings(drawings, tmp_path / "run", max_steps=2)
    values["data"] |= {"train": str(place), "images": str(drawings / "train"), "validation": None}
    train(config_from_dict(values), quiet=True)
    assert "1 captions of 'data.train' have no word and are left out, such as one of" in caplog.text
    assert rows[3]["file_name"] in caplog.text
    rows[3]["captions"] = ["?!", "..."]
    place.write_text("\n".join(map(json.dumps, rows)))
    values["output"] = str(tmp_path / "other")
    message = rf"{rows[3]['file_name']}: no word in its captions, such as '\?!'"
    with pytest.raises(UsageError, match=message):
        train(config_from_dict(values), quiet=True)


def test_the_key_is_checked(drawings, tmp_path):
    values = settings(drawings, tmp_path / "run")
    values["data"]["held_out"] = -1
    with pytest.raises(UsageError, match=r"'data.held_out' is -1"):
        config_from_dict(values)
