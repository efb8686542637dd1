"""Files of answers: written by runs, read as teachers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from seq2seq.config import config_from_dict
from seq2seq.errors import UsageError
from seq2seq.tasks.classification.answers import read_answers, write_answers
from seq2seq.tasks.classification.labelled import Labelled
from seq2seq.tasks.classification.targets import Targets
from seq2seq.training.loop import train
from tests.seq2seq.tasks.classification.conftest import sentences, text_settings, write

TWO = Targets("label", ("bad", "good"))


def labelled(count: int, target=lambda row: "good") -> Labelled:
    rows = range(count)
    texts = [f"text {row}" for row in rows]
    return Labelled("train.tsv", texts, [target(row) for row in rows], [row + 5 for row in rows])


@pytest.mark.parametrize(
    ("targets", "target"),
    [
        (TWO, lambda row: "good"),
        (Targets("labels", ("a", "b", "c")), lambda row: ["a", "c"]),
        (Targets("number", ()), lambda row: 0.25),
    ],
)
def test_what_was_written_is_read_in_any_order(tmp_path, targets, target):
    draw = np.random.default_rng(0)
    answers = draw.random((6, targets.outputs))
    if targets.kind == "label":
        answers /= answers.sum(1, keepdims=True)
    if targets.kind == "number":
        answers = answers[:, 0] - 7.0
    examples = labelled(6, target)
    write_answers(tmp_path / "a.tsv", answers, examples, targets)
    order = [4, 0, 3]  # the file's other answers are passed over
    found = read_answers(tmp_path / "a.tsv", examples.select(order), targets)
    assert found.dtype == (np.float64 if targets.kind == "number" else np.float32)
    assert found.shape == answers[order].shape
    np.testing.assert_allclose(found, answers[order], rtol=1e-5)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([], "the file is empty"),
        (["place\ttruth\tgood\tbad"], "line 1: place, truth, good, bad; expected the columns"),
        (["HEAD", "5\tgood\t0.5"], "line 2: 3 columns; expected 4"),
        (["HEAD", "5\tgood\t0.5\tx"], "line 2: 0.5, x; expected numbers"),
        (["HEAD", "5\tgood\tnan\t1"], "line 2: nan, 1; expected numbers"),
        (["HEAD", "5\tgood\t-0.5\t1.5"], "expected probabilities, from 0 to 1"),
        (["HEAD", "5\tgood\t0.5\t0.6"], "line 2: probabilities of 1.1 together; expected 1"),
        (["HEAD", *["5\tgood\t0.5\t0.5"] * 2], "line 3: 5 was answered in line 2 already"),
        (["HEAD", "5\tbad\t0.5\t0.5"], "target of 5 is 'bad', and 'good' in train.tsv"),
        (["HEAD", "9\tgood\t0.5\t0.5"], "line 2: it answers 9, which this run holds out"),
        (["HEAD", "6\tgood\t0.5\t0.5"], "no answer for 1 of 2 examples, such as train.tsv, line 5"),
    ],
)
def test_other_files_are_refused(tmp_path, lines, why):
    head = "place\ttruth\tbad\tgood"
    text = "".join(line.replace("HEAD", head) + "\n" for line in lines)
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(UsageError) as told:
        read_answers(tmp_path / "a.tsv", labelled(2), TWO, held_out=[9])
    assert why in str(told.value) and "a.tsv" in str(told.value)


def test_examples_of_one_place_have_no_answers(tmp_path):
    examples = labelled(2)
    write_answers(tmp_path / "a.tsv", np.full((2, 2), 0.5), examples, TWO)
    examples.places = [5, 5]
    with pytest.raises(UsageError, match=r"several examples of train\.tsv stand in one line"):
        read_answers(tmp_path / "a.tsv", examples, TWO)


def test_a_student_learns_from_a_file_of_answers(tmp_path):
    """Labels are dealt out at random; the answers are right."""
    rows = sentences(200, 7)
    dealt = [(("good", "bad")[n % 2], text) for n, (_, text) in enumerate(rows)]
    write(tmp_path / "train.tsv", dealt)
    write(tmp_path / "test.tsv", sentences(100, 8))
    good = np.array([label == "good" for label, _ in rows], float)
    examples = Labelled("", [text for _, text in rows], [one for one, _ in dealt], [*range(1, 201)])
    write_answers(tmp_path / "answers.tsv", np.stack([1 - good, good], 1), examples, TWO)
    values = text_settings(
        tmp_path, tmp_path / "run", max_steps=200, validate_every=100, learning_rate=1e-2,
        ema_decay=0.0, accumulation=1, teachers=[str(tmp_path / "answers.tsv")], teacher_weight=1.0,
    )  # fmt: skip
    values["data"] = {
        "train": str(tmp_path / "train.tsv"), "test": str(tmp_path / "test.tsv"),
        "validation": str(tmp_path / "test.tsv"),
    }  # fmt: skip
    train(config_from_dict(values), quiet=True)
    assert json.loads((tmp_path / "run/test.scores.json").read_text())["accuracy"] > 0.9
    kept = json.loads((tmp_path / "run/inputs.json").read_text())["files"]
    assert list(kept["training.teachers[0]"]) == [str(tmp_path / "answers.tsv")]
    values["data"] |= {"validation": None, "validation_share": 0.1}
    values["output"] = str(tmp_path / "held")
    with pytest.raises(UsageError, match=r"training\.teachers: .*which this run holds out"):
        train(config_from_dict(values), quiet=True)
    values["training"]["teachers"] = [str(tmp_path / "none.tsv")]
    with pytest.raises(UsageError, match=r"training\.teachers: .*none\.tsv: no such file of answ"):
        train(config_from_dict(values), quiet=True)
    values["training"]["teachers"] = [str(tmp_path / "answers.tsv")]
    values["data"] |= {"validation": str(tmp_path / "test.tsv")}
    values["data"].pop("validation_share")
    values["output"] = str(tmp_path / "run")
    (tmp_path / "answers.tsv").write_text("other\n")  # a run does not go on with other answers
    with pytest.raises(UsageError, match="has changed since the run was started"):
        train(config_from_dict(values), quiet=True, resume=True)
