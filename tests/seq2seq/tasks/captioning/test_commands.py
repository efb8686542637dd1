"""The commands caption and evaluate-captions; captions and configurations."""

from __future__ import annotations

import json
import os
import unicodedata

import pytest

pytest.importorskip("PIL")

from PIL import Image

from seq2seq import RunError, UsageError
from seq2seq.cli import main
from seq2seq.config import config_from_dict
from seq2seq.tasks.captioning.batches import clean_caption
from seq2seq.tasks.captioning.scores import tokenize
from tests.seq2seq.tasks.captioning.models import make


def test_command_caption(saved, images, tmp_path, capsys):
    folder = tmp_path / "more"
    (folder / "below").mkdir(parents=True)
    images[0].rename(folder / "below" / "x.png")
    (folder / "notes.txt").write_text("no image")
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff")
    arguments = ["caption", str(saved), str(folder), str(bad), str(images[1])]
    assert main(arguments) == 1
    found = capsys.readouterr()
    lines = [line.split("\t") for line in found.out.splitlines()]
    assert [line[0] for line in lines] == [str(folder / "below" / "x.png"), str(images[1])]
    assert f"seq2seq: {bad}: " in found.err
    assert main([*arguments, "--json", "--n-best", "2", "--output", str(tmp_path / "o")]) == 1
    rows = [json.loads(line) for line in (tmp_path / "o").read_text().splitlines()]
    assert len(rows[0]["captions"]) == 2 and "error" in rows[1]
    assert rows[2]["captions"][0]["text"] == lines[1][1]
    assert main(["caption", str(saved), str(images[1]), "--n-best", "2", "--beam-size", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[0].split("\t")[0] == str(images[1])


def test_images_that_standard_input_names(saved, images, run):
    odd = images[0].rename(images[0].parent / "a é.png")
    names = f"{images[1]}\r\n\n{odd}".encode()
    status, out, _ = run("caption", saved, "-", images[2], stdin=names)
    found = [line.split("\t")[0] for line in out.splitlines()]
    assert (status, found) == (0, [str(images[1]), str(odd), str(images[2])])
    for given, message in (
        (b" \n\n", "standard input names no images; expected a name on each line"),
        (b"\x89PNG\0\0", "standard input: no text; expected names of images, one a line"),
        (b"http://a.b/c.png\n", "http://a.b/c.png: an address"),
    ):
        status, out, err = run("caption", saved, "-", stdin=given)
        assert (status, out) == (2, "") and message in err


@pytest.mark.parametrize("command", ["caption", "evaluate-captions"])
@pytest.mark.parametrize("given", [["--min-length", "9"], ["--max-length", "3", "--min-length=4"]])
def test_no_caption_is_long_enough(saved, images, tmp_path, capsys, command, given):
    output = tmp_path / "precious"
    output.write_text("precious")
    what = images[0] if command == "caption" else _captioned(images)
    arguments = [command, str(saved), str(what), *given, "--output", str(output)]
    assert main(arguments) == 2
    assert "--min-length" in capsys.readouterr().err
    assert output.read_text() == "precious"


def _captioned(images):
    """A file that names these images and their captions."""
    rows = [{"file_name": image.name, "caption": "a red circle"} for image in images]
    path = images[0].parent / "captions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_command_caption_draws_where_words_looked(saved, images, tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "focus.png"
    assert main(["caption", str(saved), str(images[0]), "--attention-plot", str(picture)]) == 0
    assert Image.open(picture).size[0] > 100
    pooled = tmp_path / "pooled"
    make(encoder={"pooled": True}).save_pretrained(pooled)
    assert main(["caption", str(pooled), str(images[0]), "--attention-plot", str(picture)]) == 2


def test_a_picture_that_cannot_be_written_loses_no_caption(
    saved, images, tmp_path, capsys, monkeypatch
):
    pytest.importorskip("matplotlib")
    paths = [str(path) for path in (*images[:3], "a" * 300)]
    picture = tmp_path / "full.png"

    def full(*arguments):
        raise RunError(f"{picture}: cannot be written (No space left on device)")

    monkeypatch.setattr("seq2seq.tasks.captioning.plots.attention_overlay", full)
    assert main(["caption", str(saved), *paths, "--attention-plot", str(picture)]) == 1
    out, err = capsys.readouterr()
    assert [line.split("\t")[0] for line in out.splitlines()] == paths[:3]
    assert "too long" in err and f"{picture}: cannot be written" in err


def test_names_that_are_no_utf8_are_written_as_they_are(saved, images, tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff.png"
    try:
        with open(name, "wb") as stream:
            stream.write(images[0].read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    out = tmp_path / "captions.txt"
    assert main(["caption", str(saved), os.fsdecode(name), "--output", str(out)]) == 0
    assert out.read_bytes().startswith(name + b"\t")


def test_one_split_of_a_file_is_evaluated(saved, images, tmp_path, capsys):
    rows = [
        {"filename": path.name, "split": "val" if n % 2 else "test", "sentences": [{"raw": "red"}]}
        for n, path in enumerate(images)
    ]
    (tmp_path / "splits").mkdir()
    data = tmp_path / "splits" / "dataset.json"
    data.write_text(json.dumps({"images": rows}))
    command = ["evaluate-captions", str(saved), str(data), "--images", str(tmp_path), "--json"]
    assert main([*command, "--split", "validation"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 3
    assert main(command) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["images"] == 7 and "names splits, and all are scored" in said.err
    assert main([*command, "--split", "train"]) == 2
    assert "no image of split 'train'; it has: test 4, val 3" in capsys.readouterr().err
    for other in (tmp_path / "list.json", tmp_path):
        if other.suffix:
            other.write_text(json.dumps([{"file_name": images[0].name, "captions": ["red"]}]))
        command = ["evaluate-captions", str(saved), str(other), "--split", "test"]
        assert main(command) == 2
        assert f"DATA, {other}, names none" in capsys.readouterr().err


def test_misuse_of_the_command_exits_2(saved, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["caption", str(saved), str(tmp_path / "empty")]) == 2
    assert "no images in this folder" in capsys.readouterr().err
    assert main(["evaluate-captions", str(saved), str(tmp_path / "none")]) == 2
    assert main(["caption", str(saved), "x.png", "--beam-sze", "2"]) == 2
    assert "did you mean --beam-size" in capsys.readouterr().err


# --- text and configuration ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("एक हिन्दी कुत्ता दौड़ता है।", "एक हिन्दी कुत्ता दौड़ता है"),
        ("cafe\u0301 cre\u0300me", "café crème"),
        ("İstanbul'da ½ x²", "i\u0307stanbul'da ½ x²"),
        ("สุนัขวิ่ง", "สุนัขวิ่ง"),
    ],
)
def test_vowel_signs_and_accents_belong_to_their_words(text, expected):
    data = config_from_dict({"task": "captioning"}).data
    cleaned = clean_caption(text, data, "words")
    assert cleaned == unicodedata.normalize("NFC", expected)
    assert " ".join(tokenize(text)).split() == tokenize(text)
    assert len(tokenize(cleaned)) == len(cleaned.split())
    data.punctuation = True
    assert clean_caption(text, data, "words").rstrip(" ।") == cleaned


def test_phrases_are_read_as_captions_are(saved, images, capsys):
    path = str(images[0])
    command = ["caption", str(saved), path]
    assert main([*command, "--forbid", "RED", "--require", "A green Circle ."]) == 0
    caption = capsys.readouterr().out.split("\t")[1]
    assert "red" not in caption and "a green circle" in caption


def test_images_are_named_by_their_folders(saved, images, tmp_path, capsys):
    data = tmp_path / "data"
    for folder in "ab":
        (data / folder).mkdir(parents=True)
        (data / folder / "0.png").write_bytes(images[0].read_bytes())
    rows = [{"file_name": f"{folder}/0.png", "captions": ["red"]} for folder in "ab"]
    (data / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out.jsonl"
    assert main(["evaluate-captions", str(saved), str(data), "--output", str(out)]) == 0
    named = [json.loads(line)["image"] for line in out.read_text().splitlines()]
    assert named == ["a/0.png", "b/0.png"]
    assert main(["evaluate-captions", str(saved), str(data), "--features", "x"]) == 2
    assert "this model reads images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "kind", "expected"),
    [
        ({}, "words", "a man's t-shirt says stop"),
        ({"lowercase": False}, "words", "A man's T-shirt says stop"),
        ({"punctuation": True}, "words", 'a man\'s t-shirt says " stop ! "'),
        ({"punctuation": True}, "subwords", 'a man\'s t-shirt says "stop!"'),
    ],
)
def test_captions_are_cleaned(options, kind, expected):
    data = config_from_dict({"task": "captioning", "data": options}).data
    assert clean_caption('A man\'s  T-shirt says "stop!"\n', data, kind) == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": {"encoder": {"widths": [8]}}}, "expected as many of each"),
        ({"model": {"encoder": {"strides": [2, 2, 2, 3]}}}, "expected 1 or 2"),
        ({"model": {"encoder": {"norm": "group", "stem": 24}}}, "multiples of 16"),
        ({"model": {"decoder": {"attention": "none"}, "start": "zero"}}, "nothing of the image"),
        ({"model": {"decoder": {"attention": "none", "sentinel": True}}}, "needs attention"),
        ({"training": {"word_loss": 1.0}}, "'model.words' 0"),
        ({"training": {"word_epochs": 1}}, "set its weight"),
        ({"data": {"augmentation": {"crop": 0}}}, "'data.augmentation.crop' is 0"),
        ({"data": {"augmentation": {"flip": 1.5}}}, "expected 0 to 1"),
        ({"data": {"augmentation": {"erase": 1.5}}}, "'data.augmentation.erase' is 1.5"),
        ({"data": {"augmentation": {"mixup": -1}}}, "'data.augmentation.mixup' is -1"),
        ({"data": {"augmentation": {"mixup": 0.4}}}, "'training.word_epochs', which is 0"),
        ({"data": {"augmentation": {"first_epochs": 2}}}, "set both or none"),
        ({"data": {"augmentation": {"first_size": 9}}}, "set both or none"),
        (
            {
                "data": {"augmentation": {"first_size": 9, "first_epochs": 2}},
                "training": {"max_epochs": 2},
            },
            "some epochs must see images in the size that is validated",
        ),
        (
            {
                "data": {"augmentation": {"mixup": 0.4}},
                "model": {"encoder": {"kind": "constant"}, "words": 9},
                "training": {"word_epochs": 1, "word_loss": 0.1},
            },
            "'data.augmentation.mixup' needs an encoder of images",
        ),
        (
            {
                "data": {"augmentation": {"mixup": 0.4}},
                "model": {"words": 9},
                "training": {"word_epochs": 1, "word_loss": 0.1, "objective": "self_critical"},
            },
            "'data.augmentation.mixup' belongs to cross entropy",
        ),
        ({"model": {"encoder": {"drop_path": 1}}}, "'model.encoder.drop_path' is 1"),
        ({"data": {"train": "x", "features": "y"}}, "features computed beforehand need both"),
        (
            {"data": {"train": "x"}, "training": {"objective": "self_critical"}},
            "set 'training.start_from'",
        ),
        (
            {"training": {"objective": "self_critical", "samples": 1, "baseline": "samples"}},
            "at least 2",
        ),
        ({"units": {"kinds": "words"}}, "did you mean 'units.kind'"),
        ({"data": {"image_size": 10**7}}, "expected at most 4096 pixels a side"),
        ({"data": {"augmentation": {"size": 5000}}}, "expected at most 4096 pixels a side"),
    ],
)
def test_configurations_that_make_no_sense(values, message):
    with pytest.raises(UsageError) as error:
        config_from_dict({"task": "captioning", **values})
    assert message in str(error.value)
