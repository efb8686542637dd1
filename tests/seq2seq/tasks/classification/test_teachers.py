"""Distillation: what teachers answer becomes a share of the target."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from seq2seq import Classifier, UsageError
from seq2seq.config import config_from_dict
from seq2seq.tasks.classification.batches import Batches
from seq2seq.tasks.classification.labelled import Labelled
from seq2seq.tasks.classification.targets import Targets
from seq2seq.tasks.classification.teachers import taught
from seq2seq.training.loop import train
from tests.seq2seq.tasks.classification.conftest import (
    sentences,
    series_settings,
    text_settings,
    write,
    write_npz,
)

CPU = torch.device("cpu")


def run(values):
    return train(config_from_dict(values), quiet=True)


def test_the_target_is_the_mean_of_label_and_answers(texts, model):
    values = text_settings(texts, "unused", teachers=[str(model)] * 2, teacher_weight=0.25)
    inputs = ["the plot was lovely", "a", "the film was not great at all and dull"]
    found = taught(
        config_from_dict(values),
        Labelled("", inputs),
        np.array([1, 0, 0]),
        Targets("label", ("bad", "good")),
        CPU,
    )
    answers = Classifier.from_pretrained(model, device="cpu").classify(inputs)
    good = np.array([dict(one.ranking)["good"] for one in answers])
    expected = 0.75 * np.array([1, 0, 0]) + 0.25 * good
    np.testing.assert_allclose(found, np.stack([1 - expected, expected], 1), rtol=0, atol=1e-6)
    assert found.dtype == np.float32


def test_a_student_of_other_words_learns_from_answers_alone(texts, model, tmp_path):
    """Labels are dealt out at random: what is right the student has from its teacher."""
    rows = [(("good", "bad")[n % 2], text) for n, (_, text) in enumerate(sentences(400, 7))]
    write(tmp_path / "train.tsv", rows)
    values = text_settings(
        texts, tmp_path / "run", max_steps=300, validate_every=100, learning_rate=1e-2,
        ema_decay=0.0, accumulation=1, teachers=[str(model)], teacher_weight=1.0,
    )  # fmt: skip
    values["data"] |= {"train": str(tmp_path / "train.tsv"), "test": str(texts / "test.tsv")}
    values["units"] = {"kind": "characters"}
    values["model"]["encoder"]["hidden_size"] = 24
    run(values)
    scores = json.loads((tmp_path / "run" / "test.scores.json").read_text())
    assert scores["accuracy"] > 0.9
    values["training"]["teachers"] = []
    values["output"] = str(tmp_path / "alone")
    run(values)
    alone = json.loads((tmp_path / "alone" / "test.scores.json").read_text())
    assert alone["accuracy"] < 0.75


def test_series_and_numbers_have_teachers(tmp_path, texts):
    write_npz(tmp_path / "train.npz", 40, 1, irregular=True)
    values = series_settings(tmp_path, tmp_path / "teacher", False, max_steps=2, validate_every=2)
    values["training"]["teachers"] = [str(run(values))]
    values["output"] = str(tmp_path / "student")
    run(values)
    values["data"]["bin"] = 2.0
    values["output"] = str(tmp_path / "binned")
    with pytest.raises(UsageError, match=r"its 'data\.bin' is 0\.0; expected 2\.0, as here"):
        run(values)

    write(tmp_path / "n.tsv", [(len(text.split()), text) for _, text in sentences(40, 5)])
    values = text_settings(texts, tmp_path / "first", max_steps=2, validate_every=2)
    values["data"] = {"train": str(tmp_path / "n.tsv"), "target": "number"}
    teacher = run(values)
    config = config_from_dict(
        values | {"training": {"teachers": [str(teacher)], "teacher_weight": 0.5}}
    )
    train = Labelled("", ["a film"])
    found = taught(config, train, np.array([3.0]), Targets("number", ()), CPU)
    value = Classifier.from_pretrained(teacher, device="cpu").classify("a film").value
    assert found.shape == (1,) and found[0] == pytest.approx(1.5 + 0.5 * value, rel=1e-6)


def test_teachers_have_not_seen_what_is_held_out(texts, model, tmp_path):
    """Folds follow from a seed of their own, and a teacher of other folds is refused."""
    write(tmp_path / "train.tsv", sentences(60, 5))
    values = text_settings(texts, tmp_path / "teacher", max_steps=2, validate_every=2)
    values["data"] = {"train": str(tmp_path / "train.tsv"), "folds": 3, "parts_seed": 4}
    values["seed"] = 2
    teacher = run(values)
    values |= {"seed": 3, "output": str(tmp_path / "student")}
    values["training"]["teachers"] = [str(teacher)]
    run(values)
    kept = json.loads((tmp_path / "student" / "inputs.json").read_text())["files"]
    assert list(kept["training.teachers[0]"]) == [str(teacher)]
    weights = teacher / "model.safetensors"
    before = weights.read_bytes()
    weights.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    with pytest.raises(UsageError, match="has changed since the run was started"):
        train(config_from_dict(values), quiet=True, resume=True)
    weights.write_bytes(before)
    one, other = (tmp_path / name / "test.answers.tsv" for name in ("teacher", "student"))
    places = [
        [line.split("\t")[0] for line in path.read_text().splitlines()] for path in (one, other)
    ]
    assert places[0] == places[1] and len(places[0]) == 21
    values["output"] = str(tmp_path / "wrong")
    for changed, why in (
        ({"fold": 1}, "data.fold 0, here 1"),
        ({"parts_seed": None}, "data.parts_seed 4, here 3"),
        ({"validation_share": 0.2}, "data.validation_share 0.1, here 0.2"),
    ):
        with pytest.raises(UsageError, match="learnt from what this run holds out") as refused:
            run(values | {"data": values["data"] | changed})
        assert why in str(refused.value)
    values["data"] |= {"fold": 1, "train": str(tmp_path / "x" / ".." / "train.tsv")}
    (tmp_path / "x").mkdir()
    with pytest.raises(UsageError, match="learnt from what this run holds out"):
        run(values)  # the same file by another name


def test_probabilities_are_batched_with_their_inputs(texts, model):
    from seq2seq.tasks.classification.examples import source_of

    classifier = Classifier.from_pretrained(model, device="cpu")
    inputs = [text for _, text in sentences(30, 3)]
    source = source_of(
        inputs, classifier.config.data, classifier.units, classifier.config.model.characters
    )
    truth = np.stack([np.arange(30) / 30, 1 - np.arange(30) / 30], 1).astype(np.float32)
    seen = [
        (one.targets[row, 0].item() * 30, int(one.inputs.lengths[row]))
        for one in Batches(source, truth, 7, 1).epoch(0, 0)
        for row in range(one.target_count)
    ]
    assert sorted(seen) == [
        (pytest.approx(n, abs=1e-4), len(text.split())) for n, text in enumerate(inputs)
    ]


def test_wrong_teachers_are_refused(texts, model, tmp_path):
    values = text_settings(texts, tmp_path / "run", teachers=[str(model)])
    write(tmp_path / "others.tsv", [("x", "a"), ("y", "b")] * 10)
    values["data"] = {"train": str(tmp_path / "others.tsv")}
    with pytest.raises(UsageError, match="it answers with label bad, good; expected label x, y"):
        run(values)
    write_npz(tmp_path / "train.npz", 20, 1, irregular=False)
    series = series_settings(tmp_path, tmp_path / "s", False, teachers=[str(model)])
    with pytest.raises(UsageError, match=r"its 'data\.kind' is text; expected series"):
        run(series)
    for key, value, why in (
        ("teacher_weight", 0.0, "expected more than 0, at most 1"),
        ("teacher_weight", 1.5, "expected more than 0, at most 1"),
        ("class_weights", "balanced", "leave one of them out"),
    ):
        with pytest.raises(UsageError, match=why):
            config_from_dict(text_settings(texts, "x", **{"teachers": ["m"], key: value}))
    text = text_settings(texts, tmp_path / "none", teachers=[str(tmp_path / "absent")])
    with pytest.raises(UsageError, match=r"training\.teachers: model .*absent: no such directory"):
        run(text)


def test_a_teacher_of_other_features_is_refused(tmp_path):
    """Series are read by place: two columns in another order would be taken for each other."""
    draw = np.random.default_rng(0)
    for name, columns in (("one", "a,b"), ("two", "b,a")):
        rows = [
            f"{n},{step},{'up' if n % 2 else 'down'},{draw.normal():.3f},{n % 2}"
            for n in range(20)
            for step in range(3)
        ]
        head = f"id,time,label,{columns}"
        (tmp_path / f"{name}.csv").write_text("\n".join([head, *rows]) + "\n")
    values = series_settings(tmp_path, tmp_path / "one", False, max_steps=2, validate_every=2)
    values["data"]["train"] = str(tmp_path / "one.csv")
    values["training"]["teachers"] = [str(run(values))]
    values["data"]["train"], values["output"] = str(tmp_path / "two.csv"), str(tmp_path / "two")
    with pytest.raises(UsageError, match="its features are a, b; expected b, a, in this order"):
        run(values)
