"""Training runs of tagging: killed and resumed, started from a model, and what goes wrong."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import torch

from seq2seq import Tagger, UsageError
from seq2seq.config import config_from_dict
from seq2seq.training.loop import train
from tests.seq2seq.running import assert_same_run, kill_and_resume, records
from tests.seq2seq.tasks.tagging.conftest import settings


def run(values, **options):
    return train(config_from_dict(values), quiet=True, **options)


def vectors(folder, size=12):
    """A file of vectors for some words of training text and one other."""
    words = ["we", "met", "rome", "elsewhere"]
    values = np.random.default_rng(0).normal(size=(len(words), size)).astype(np.float32)
    path = folder / "vectors.txt"
    rows = zip(words, values.tolist(), strict=True)
    path.write_text("".join(f"{w} {' '.join(f'{x:.4f}' for x in v)}\n" for w, v in rows))
    return path


def test_kill_9_and_resume_give_the_same_numbers(folder):
    changes = {
        "model__vectors": str(vectors(folder)),
        "model__word_dropout": 0.1,
        "training__keep_best": 2,
    }
    whole = settings(folder, output=str(folder / "whole"), **changes)
    run(whole)
    part = settings(folder, output=str(folder / "part"), **changes)
    kill_and_resume(part, folder)
    assert_same_run(folder / "whole", folder / "part")


def test_figures_scores_and_columns_of_a_run(model):
    folder = model.parent
    last = records(folder)[-1]
    assert {"validation_loss", "span_f1", "label_accuracy", "sentence_accuracy"} <= last.keys()
    assert last["span_f1"] > 90 and last["label_accuracy"] > 90
    scores = json.loads((folder / "validation.scores.json").read_text())
    assert (
        scores["ner"]["spans"]["gold"]
        == scores["ner"]["types"]["LOC"]["gold"] + (scores["ner"]["types"]["PER"]["gold"])
    )
    assert scores["pos"]["spans"] is None and scores["kind"]["sentences"] == 30
    lines = (folder / "validation.columns").read_text().splitlines()
    assert len(lines[0].split("\t")) == 5  # word, and two labels of each of two columns
    assert any("loss_sentence" in record for record in records(folder))


@pytest.mark.parametrize(
    "changes",
    [
        {"model__crf": "none", "model__characters": {"kind": "lstm", "hidden_size": 4}},
        {"model__crf": "all", "model__scheme": "bio", "model__shape_size": 0},
        {"model__characters": {"kind": "none"}, "model__dropout_kind": "plain"},
    ],
)
def test_other_models_learn_too(folder, changes):
    values = settings(folder, **changes)
    values["data"].pop("sentence_label")
    found = Tagger.from_pretrained(run(values)).tag("we saw Di in Lima .")
    assert found.labels["ner"] == ["O", "O", "B-PER", "O", "B-LOC", "O"]
    assert found.sentence_label is None


def test_vectors_of_words_without_training_text(folder):
    values = settings(folder, model__vectors=str(vectors(folder)), model__frozen=True)
    values["training"]["max_steps"] = 4
    tagger = Tagger.from_pretrained(run(values))
    words = tagger.vocabulary
    assert words.words[words.trained :] == ["elsewhere"]
    embedding = tagger.model.embedding
    assert embedding.kept.shape == (1, 12) and not embedding.weight.requires_grad
    expected = [float(x) for x in vectors(folder).read_text().split("\n")[0].split()[1:]]
    assert embedding.weight[words.word_id("We")].tolist() == pytest.approx(expected)
    values = settings(folder, model__vectors=str(vectors(folder, 5)), output=str(folder / "b"))
    with pytest.raises(UsageError, match=r"vectors.txt: its vectors have 5 numbers.*has 12"):
        run(values)


def test_starting_from_a_model(folder, model):
    values = settings(folder, training__start_from=str(model), training__max_steps=1)
    values["training"]["learning_rate"] = 1e-6
    path = run(values)
    before, after = (Tagger.from_pretrained(p) for p in (model, path))
    assert before.vocabulary == after.vocabulary
    text = "we saw Di in Lima ."
    assert before.tag(text).labels == after.tag(text).labels
    (folder / "train.txt").write_text("# kind = question\na\tB-NEW\tN\n")
    values["output"] = str(folder / "b")
    with pytest.raises(UsageError, match=r"its 'ner' lacks the label 'B-NEW'; .*new_labels: true"):
        run(values)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"data__sentence_label": None},
            "a label of the whole sentence, .*sentence_label' is null",
        ),
        ({"model__scheme": "bio"}, "its 'model.scheme' is bioes, here bio"),
    ],
)
def test_what_a_model_to_start_from_must_share(folder, model, changes, told):
    values = settings(folder, **changes)
    values["training"]["start_from"] = str(model)
    with pytest.raises(UsageError, match=told):
        run(values)


@pytest.mark.parametrize("labels", [["ner=1", "pos=2"], ["job=1"]])
def test_new_labels_begin_with_all_but_the_layers_of_labels(folder, model, labels):
    """Other labels, other columns, and no label of the sentence."""
    lines = "we\tO\tW\nsaw\tO\tV\nDi\tB-BOSS\tN\n.\tO\tM\n"
    (folder / "train.txt").write_text("\n".join([lines] * 9))
    values = settings(folder, data__labels=labels, data__sentence_label=None)
    values["data"]["validation"] = None
    values["training"] |= {
        **{"start_from": str(model), "new_labels": True, "max_steps": 1},
        **{"learning_rate": 1e-9, "ema_decay": 0.0},
    }
    before = Tagger.from_pretrained(model)
    after = Tagger.from_pretrained(run(values))
    names = [column.name for column in after.vocabulary.columns]
    assert names == [label.split("=")[0] for label in labels]
    assert after.vocabulary.columns[0].labels[1:] == [f"{tag}-BOSS" for tag in "BIES"]
    assert after.vocabulary.sentence_labels is None
    assert after.vocabulary.words == before.vocabulary.words
    weights = before.model.state_dict()
    for name, weight in after.model.state_dict().items():
        if not name.startswith("heads."):
            torch.testing.assert_close(weight, weights[name], atol=1e-6, rtol=0)
    assert set(after.tag("we saw Di .").labels) == set(names)
    values["training"]["start_from"] = None
    with pytest.raises(UsageError, match=r"'training.new_labels' goes with 'training.start_from'"):
        config_from_dict(values)


def test_labels_that_cannot_be_learnt_are_told(folder, caplog):
    with open(folder / "train.txt", "a") as stream:
        stream.write("\n# kind = odd\na\tO\tODD\n")
    with open(folder / "validation.txt", "a") as stream:
        stream.write("\n# kind = other\nb\tB-NEW\tN\nc\tO\tN\n")
    values = settings(folder, training__max_steps=2)
    with caplog.at_level(logging.WARNING):
        run(values)
    assert "1 labels of 'pos' have a single example (ODD)" in caplog.text
    assert "1 labels of 'kind' have a single example (odd)" in caplog.text
    assert "the label 'B-NEW' of 'ner' is not in the training data" in caplog.text
    scores = json.loads((folder / "run" / "validation.scores.json").read_text())
    assert scores["ner"]["types"]["NEW"]["gold"] == 1


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("data", "labels", [], "'data.labels' is"),
        ("data", "labels", ["a", "a"], "each name once"),
        ("data", "sentence_label", "ner", "another name"),
        ("model", "pooling", ["sum"], "'model.pooling' is"),
        ("model", "singletons", 2.0, "expected 0 to 1"),
        ("model", "dropout", 1.0, "'model.dropout' is 1.0"),
        ("model", "characters", {"kind": "cnn", "width": 4}, "expected an odd number"),
        ("training", "sentence_weight", -1.0, "'training.sentence_weight' is -1.0"),
    ],
)
def test_wrong_configurations(folder, section, key, value, message):
    values = settings(folder, **{f"{section}__{key}": value})
    with pytest.raises(UsageError, match=message):
        config_from_dict(values)


def test_spans_are_tuned_for_f1(folder):
    """A bonus for each span, added to the labels that begin one, and no worse on validation."""
    values = settings(folder, training__max_steps=8, training__ema_decay=0.0)
    plain = Tagger.from_pretrained(run(values))
    values["output"] = str(folder / "tuned")
    values["training"]["tune_spans"] = True
    tuned = Tagger.from_pretrained(run(values))
    scores = [
        json.loads((folder / name / "validation.scores.json").read_text())["ner"]["spans"]["f1"]
        for name in ("run", "tuned")
    ]
    moved = (tuned.model.heads[0].linear.bias - plain.model.heads[0].linear.bias).detach()
    labels = plain.vocabulary.columns[0].labels
    begins = [label[0] in "BS" for label in labels]
    bonus = moved[begins.index(True)]
    assert scores[1] > scores[0] and bonus != 0
    for one, begin in zip(moved.tolist(), begins, strict=True):
        assert one == pytest.approx(float(bonus) if begin else 0.0, abs=1e-6)
    assert torch.equal(tuned.model.heads[1].linear.bias, plain.model.heads[1].linear.bias)
    card = (folder / "tuned" / "model" / "README.md").read_text()
    assert "ner: bonus of a span" in card
    values["data"]["validation"] = None
    with pytest.raises(UsageError, match=r"'training.tune_spans' needs 'data.validation'"):
        config_from_dict(values)


def test_without_data(folder):
    values = settings(folder)
    values["data"]["train"] = None
    with pytest.raises(UsageError, match=r"'data.train' is not set"):
        run(values)


@pytest.mark.parametrize("last", ["left O", "Ann X"])
def test_validation_without_spans_or_with_a_stray_label(tmp_path, last):
    """Both ended in a division by zero at the first validation."""
    (tmp_path / "train.txt").write_text("Ann B-PER\nleft O\n\n" * 8)
    (tmp_path / "other.txt").write_text(f"now O\n{last}\n")
    values = {
        "task": "tagging",
        "output": str(tmp_path / "run"),
        "data": {"train": str(tmp_path / "train.txt"), "validation": str(tmp_path / "other.txt")},
        "model": {"embedding_size": 4, "encoder": {"hidden_size": 4}},
        "training": {"max_epochs": 1},
    }
    run(values)
    assert records(tmp_path / "run")[-1]["span_f1"] == 0


def test_a_stray_label_among_spans_is_told(tmp_path, caplog):
    (tmp_path / "train.txt").write_text("Ann B-PER\nBo I-PER\nleft O\n\n" * 4 + "now Typo\n")
    values = {
        "task": "tagging",
        "output": str(tmp_path / "run"),
        "data": {"train": str(tmp_path / "train.txt")},
        "model": {"embedding_size": 4, "encoder": {"hidden_size": 4}},
        "training": {"max_epochs": 1},
    }
    with caplog.at_level(logging.WARNING, logger="seq2seq"):
        run(values)
    assert "labels of spans and others (Typo)" in caplog.text


def test_words_without_vectors_are_not_frozen(folder, tmp_path):
    values = settings(folder, model__frozen=True) | {"output": str(tmp_path / "run")}
    config = config_from_dict(values)  # as models that were saved so are read
    with pytest.raises(UsageError, match=r"'model\.frozen' needs 'model\.vectors'"):
        train(config, quiet=True)
