"""The tagging recipes' configurations, their data, and the demo at a fraction of its size."""

from __future__ import annotations

import gzip
import runpy
import sys
from pathlib import Path

import demo_tag as demo
import messages
import pytest

from seq2seq.config import load_config
from seq2seq.tasks.tagging.config import TaggingConfig
from seq2seq.tasks.tagging.schemes import is_valid
from seq2seq.tasks.tagging.sentences import load_sentences

FOLDER = Path(demo.__file__).parent
SHARED = Path("../shared/data")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_every_recipe_is_a_valid_configuration(path):
    config = load_config(path)
    assert isinstance(config, TaggingConfig)
    assert config.data.train
    # without a validation set the moving average at the end is the model
    assert config.data.validation or (config.data.test and config.training.ema_decay)
    assert config.output.startswith("runs/")


def test_messages_repeat_themselves_and_share_no_name():
    made = {seed: list(messages.messages(200, seed)) for seed in (1, 2, 3)}
    assert made[1] == list(messages.messages(200, 1))
    known = {"new", "upper", "brothers", "group", "partners"}
    names = {
        seed: {word.lower() for _, rows in some for word, label in rows
               if label != "O" and not label.endswith("DATE")} - known
        for seed, some in made.items()
    }  # fmt: skip
    assert not (names[1] & names[2] or names[1] & names[3] or names[2] & names[3])
    for _, rows in made[1]:
        assert is_valid([label for _, label in rows])
    assert {kind for kind, _ in made[1]} == set(messages.KINDS)


def test_demo_end_to_end(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(demo, "SIZES", {"train": 60, "validation": 10, "test": 10})
    real = demo.load_config

    def small(path, overrides):
        sizes = {"training.max_epochs": "2", "model.encoder.hidden_size": "8"}
        return real(path, {**overrides, **sizes, "training.device": "cpu"})

    monkeypatch.setattr(demo, "load_config", small)
    demo.run(tmp_path / "demo")
    demo.run(tmp_path / "demo")  # an earlier demo is replaced
    said = capsys.readouterr().out
    assert "entities  F1" in said and "kind of message" in said and "a list of the names" in said
    assert (tmp_path / "demo" / "model" / "model.safetensors").exists()
    assert (tmp_path / "demo" / "entities.png").exists()


def script(name, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")


def write_atis(folder, slots="O B-toloc.city_name"):
    for split in ("train", "valid", "test"):
        (folder / f"atis.{split}.seq.in").write_text("to boston\nwhy\n")
        with gzip.open(folder / f"atis.{split}.seq.out.gz", "wt") as stream:
            stream.write(f"{slots}\nO\n")
        (folder / f"atis.{split}.label").write_text("atis_flight\natis_airfare\n")


def test_atis_in_columns(tmp_path, monkeypatch, capsys):
    write_atis(tmp_path)
    script("prepare_atis", monkeypatch, tmp_path, tmp_path / "out")
    config = load_config(FOLDER / "atis.yaml")
    found = load_sentences(tmp_path / "out" / "validation.txt", config.data)
    assert [one.words for one in found] == [["to", "boston"], ["why"]]
    assert found[0].labels == [["O", "B-toloc.city_name"]]
    assert [one.sentence_label for one in found] == ["atis_flight", "atis_airfare"]
    write_atis(tmp_path, "O")
    with pytest.raises(SystemExit, match="2"):
        script("prepare_atis", monkeypatch, tmp_path, tmp_path / "out")
    assert "train, line 1: 2 words and 1 slots" in capsys.readouterr().err


def test_sentences_set_aside(tmp_path, monkeypatch, capsys):
    path = tmp_path / "all.txt"
    path.write_text("a O\n\nb O\n\n\nc O\nd O\n")
    script("split", monkeypatch, path, 1, tmp_path)
    assert (tmp_path / "train.txt").read_text() == "a O\n\nb O\n"
    assert (tmp_path / "validation.txt").read_text() == "c O\nd O\n"
    with pytest.raises(SystemExit, match="2"):
        script("split", monkeypatch, path, 3, tmp_path)
    assert "3 of 3 sentences; expected 1 to 2" in capsys.readouterr().err


@pytest.mark.skipif(not (SHARED / "ner").exists(), reason="the data are not here")
@pytest.mark.parametrize(
    ("recipe", "split", "path", "sentences", "labels"),
    [
        ("conll2003", "test", "ner/conll2003/test.conll.xz", 3453, "LOC MISC ORG PER"),
        ("conll2000", "test", "ner/conll2000/test.txt.xz", 2012, None),
        ("wnut17", "train", "ner/wnut17/train.conll.gz", 3394, None),
        ("ud_ewt", "validation", "pos/ud_ewt/dev.tsv.xz", 2001, None),
    ],
)
def test_recipes_read_their_data(recipe, split, path, sentences, labels):
    config = load_config(FOLDER / f"{recipe}.yaml")
    found = load_sentences(SHARED / path, config.data)
    assert len(found) == sentences
    if labels:
        types = {x[2:] for one in found for x in one.labels[0] if x != "O"}
        assert types == set(labels.split())
    assert getattr(config.data, split).endswith(path)
