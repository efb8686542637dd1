"""Training a classifier by the shared loop: learning, exact resume, what is written, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from seq2seq import Classifier, UsageError
from seq2seq.config import config_from_dict
from seq2seq.training.loop import train
from tests.seq2seq.running import assert_same_run, kill_and_resume
from tests.seq2seq.tasks.classification.conftest import (
    sentences,
    series_settings,
    text_settings,
    write,
    write_npz,
)


def run(values):
    return train(config_from_dict(values), quiet=True)


def test_it_learns_what_decides(model, texts):
    run_folder = model.parent
    scores = json.loads((run_folder / "test.scores.json").read_text())
    assert scores["examples"] == 80 and scores["accuracy"] > 0.95 and scores["auc"] > 0.98
    assert sorted(path.name for path in model.iterdir()) == [
        "README.md", "config.json", "model.safetensors", "units.json",
    ]  # fmt: skip
    card = (model / "README.md").read_text()
    assert "## Scores" in card and "test.tsv" in card and "bad, good" in card
    logged = [json.loads(line) for line in (run_folder / "log.jsonl").read_text().splitlines()]
    assert all(one["examples_per_second"] > 0 for one in logged if "loss" in one)
    answers = (run_folder / "test.answers.tsv").read_text().splitlines()
    assert answers[0].split("\t") == ["place", "truth", "bad", "good"] and len(answers) == 81
    classifier = Classifier.from_pretrained(model, device="cpu")
    assert classifier.classify("the plot was lovely").label == "good"
    assert classifier.classify("the plot was not lovely").label == "bad"
    assert float(classifier.model.temperature) != 1.0
    classifier.save_pretrained(run_folder / "again")
    for name in ("config.json", "units.json", "model.safetensors", "README.md"):
        assert (run_folder / "again" / name).read_bytes() == (model / name).read_bytes()


def test_kill_9_and_resume_give_the_same_numbers(texts, tmp_path):
    whole, part = (text_settings(texts, tmp_path / name) for name in ("whole", "part"))
    run(whole)
    kill_and_resume(part, tmp_path)
    assert_same_run(tmp_path / "part", tmp_path / "whole")


@pytest.mark.parametrize("decay", [False, True])
def test_series_with_gaps_are_learnt(tmp_path, decay):
    write_npz(tmp_path / "train.npz", 160, 1, irregular=True)
    values = series_settings(
        tmp_path, tmp_path / "run", decay, max_steps=150, validate_every=50, ema_decay=0.0,
        learning_rate=1e-2, accumulation=1,
    )  # fmt: skip
    model = run(values)
    scores = json.loads((tmp_path / "run" / "validation.scores.json").read_text())
    assert scores["examples"] == 32 and scores["accuracy"] > 0.9
    classifier = Classifier.from_pretrained(model, device="cpu")
    assert classifier.model.shape.irregular and classifier.model.shape.static == 2
    with pytest.raises(UsageError, match="3 features and 0 static ones; this model reads 2 and 2"):
        classifier.classify(np.zeros((4, 3)))
    write_npz(tmp_path / "other.npz", 4, 1, irregular=True)
    answer = classifier.classify({"values": [[0.0, None]], "times": [3], "static": [1, None]})
    assert answer.label in ("slow", "fast")


def test_folds_numbers_labels_and_vectors(tmp_path, texts):
    rows = sentences(60, 5)
    write(tmp_path / "folds.tsv", rows)
    (tmp_path / "vectors.txt").write_text("great 1 2 3\nfilm 4 5 6\nunheard 7 8 9\n")
    values = text_settings(texts, tmp_path / "folds", max_steps=4, validate_every=2)
    values["data"] = {"train": str(tmp_path / "folds.tsv"), "folds": 3, "fold": 1}
    values["units"] = {"vectors": str(tmp_path / "vectors.txt"), "frozen": True}
    values["model"]["embedding_size"] = 3
    model = run(values)
    assert json.loads((tmp_path / "folds" / "test.scores.json").read_text())["examples"] == 20
    classifier = Classifier.from_pretrained(model, device="cpu")
    embedding = classifier.model.embedding
    great, unheard = classifier.units.encode("great unheard").tolist()
    assert embedding.weight[great].tolist() == [1, 2, 3]
    assert unheard == len(embedding.weight) and embedding.kept.tolist() == [[7, 8, 9]]
    first = classifier.classify("unheard").probability
    assert first != classifier.classify("never").probability

    write(tmp_path / "numbers.tsv", [(len(text.split()), text) for _, text in rows])
    values = text_settings(
        texts, tmp_path / "n", max_steps=120, accumulation=1, ema_decay=0.0, learning_rate=2e-2
    )
    values["data"] = {"train": str(tmp_path / "numbers.tsv"), "target": "number"}
    values["model"]["pooling"] = ["last"]
    classifier = Classifier.from_pretrained(run(values), device="cpu")
    assert classifier.classify("the film was here").value == pytest.approx(4, abs=1)

    write(
        tmp_path / "sets.tsv",
        [(f"{label},x" if n % 2 else label, text) for n, (label, text) in enumerate(rows)],
    )
    values = text_settings(
        texts, tmp_path / "s", max_steps=4, validate_every=2, class_weights="balanced"
    )
    values["data"] = {"train": str(tmp_path / "sets.tsv"), "target": "labels"}
    classifier = Classifier.from_pretrained(run(values), device="cpu")
    assert classifier.targets.names == ("bad", "good", "x")
    answer = classifier.classify("a film", threshold=0.0)
    assert sorted(answer.label.split(",")) == ["bad", "good", "x"]
    assert classifier.classify("a film", threshold=1.0).label == ""


def test_fine_tuning_begins_with_the_weights(texts, model, tmp_path):
    values = text_settings(texts, tmp_path / "run", max_steps=1, learning_rate=1e-9, ema_decay=0.0)
    values["training"]["start_from"] = str(model)
    tuned = Classifier.from_pretrained(run(values), device="cpu")
    assert tuned.classify("the plot was not lovely").label == "bad"
    write(tmp_path / "others.tsv", [("x", "a"), ("y", "b")] * 10)
    values["output"], values["data"] = str(tmp_path / "o"), {"train": str(tmp_path / "others.tsv")}
    with pytest.raises(UsageError, match=r"its labels are others; .*'training.new_labels: true'"):
        run(values)


def test_words_are_read_as_the_model_to_begin_with_reads_them(texts, model, tmp_path):
    for key, value in (("lowercase", True), ("split", "simple")):
        values = text_settings(texts, tmp_path / key, max_steps=1)
        values["training"]["start_from"] = str(model)
        values["data"][key] = value
        with pytest.raises(UsageError, match=f"its 'data.{key}' is .*, here {value}; expected the"):
            run(values)


def test_what_is_cut_is_told(texts, tmp_path, capsys):
    values = text_settings(texts, tmp_path / "run", max_steps=1)
    values["data"]["max_length"] = 4
    train(config_from_dict(values))
    assert "inputs are longer than 'data.max_length' (4 steps) and cut" in capsys.readouterr().err


@pytest.mark.parametrize("members", [1, 2])
def test_new_labels_begin_with_all_but_the_output_layer(texts, tmp_path, members):
    values = text_settings(texts, tmp_path / "first", max_steps=3)
    values["model"]["members"] = members
    path = run(values)
    first = Classifier.from_pretrained(path, device="cpu")
    write(tmp_path / "others.tsv", [("x", "a film"), ("y", "the plot"), ("z", "lovely")] * 9)
    values["output"], values["data"] = str(tmp_path / "o"), {"train": str(tmp_path / "others.tsv")}
    values["training"] |= {
        **{"start_from": str(path), "new_labels": True, "max_steps": 1, "calibrate": False},
        **{"learning_rate": 1e-9, "ema_decay": 0.0},
    }
    tuned = Classifier.from_pretrained(run(values), device="cpu")
    assert tuned.targets.names == ("x", "y", "z") and float(tuned.model.temperature) == 1.0
    assert float(first.model.temperature) != 1.0
    before, after = first.model.state_dict(), tuned.model.state_dict()
    for name, weight in after.items():
        if "output." in name:
            assert weight.shape[0] == 3
        elif name.rpartition(".")[2] not in ("temperature", "centre", "spread"):
            torch.testing.assert_close(weight, before[name], atol=1e-6, rtol=0)
    values["training"]["start_from"] = None
    with pytest.raises(UsageError, match=r"'training.new_labels' goes with 'training.start_from'"):
        config_from_dict(values)


@pytest.mark.parametrize("vectors", [True, False])
@pytest.mark.parametrize("members", [1, 2])
def test_a_run_that_began_with_a_model_of_kept_words_is_resumed(texts, tmp_path, members, vectors):
    lines = "".join(f"{word} {' '.join(['0.5'] * 12)}\n" for word in ("film", "superb", "tedious"))
    (tmp_path / "vectors.txt").write_text(lines)
    values = text_settings(texts, tmp_path / "first", max_steps=2)
    values["model"]["members"] = members
    values["units"] = {"vectors": str(tmp_path / "vectors.txt")}
    path = run(values)
    write(tmp_path / "new.tsv", [("x", "a film"), ("y", "unheard plot"), ("z", "superb")] * 9)
    values["data"] = {"train": str(tmp_path / "new.tsv")}
    values["units"] = {"vectors": str(tmp_path / "vectors.txt") if vectors else None}
    values["training"] |= {
        **{"start_from": str(path), "new_labels": True, "schedule": "constant"},
        **{"validate_every": 2, "keep_best": 1, "average": False},
    }
    found = []
    for name, stops in (("whole", [4]), ("part", [2, 4])):
        values["output"] = str(tmp_path / name)
        for number, stop in enumerate(stops):
            values["training"]["max_steps"] = stop
            path = train(config_from_dict(values), quiet=True, resume=number > 0)
        found.append(Classifier.from_pretrained(path, device="cpu"))
    first, second = found
    assert first.units.words == second.units.words and "superb" in first.units.words
    assert first.model.shape == second.model.shape and first.model.shape.kept == 2
    for name, weight in first.model.state_dict().items():
        assert torch.equal(weight, second.model.state_dict()[name]), name


def test_wrong_data_is_refused(texts, tmp_path, capsys):
    values = text_settings(texts, tmp_path / "run")
    write(tmp_path / "odd.tsv", [("good", "fine"), ("odd", "a")])
    values["data"]["test"] = str(tmp_path / "odd.tsv")
    with pytest.raises(UsageError, match="line 2: label 'odd' is none of the training set"):
        run(values)
    write(tmp_path / "rare.tsv", [*sentences(30, 1), ("rare", "once")])
    values = text_settings(texts, tmp_path / "rare", max_steps=1)
    values["data"] = {"train": str(tmp_path / "rare.tsv")}
    run(values)  # the label with one example stays in training
    assert "1 of 3 labels have one example of training each (rare)" in capsys.readouterr().err
    values["training"]["best_by"] = "auc"
    values["output"] = str(tmp_path / "auc")
    with pytest.raises(UsageError, match="of 3 labels there is no such figure"):
        run(values)
    values["data"] = {"train": str(texts / "train.tsv")}
    (tmp_path / "v.txt").write_text("film 1 2\n")
    values["units"], values["training"] = {"vectors": str(tmp_path / "v.txt")}, {}
    with pytest.raises(UsageError, match="its vectors have 2 numbers, the embedding has 12"):
        run(values)
