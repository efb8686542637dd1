"""Boosted trees as teachers of series: answers out of the parts that they have not seen."""

from __future__ import annotations

import boosted
import numpy as np
import pytest
import yaml

from seq2seq import load_config
from seq2seq.tasks.classification.answers import read_answers
from seq2seq.tasks.classification.examples import load_splits
from seq2seq.tasks.classification.targets import learn_targets
from tests.seq2seq.tasks.classification.conftest import series_settings, write_npz


@pytest.fixture
def settings(tmp_path):
    write_npz(tmp_path / "train.npz", 150, 1, irregular=True)
    arrays = dict(np.load(tmp_path / "train.npz"))
    fast = np.repeat(arrays["labels"] == "fast", arrays["lengths"])
    arrays["values"][:, 1] += 2 * fast  # two deviations: a series' mean tells
    np.savez(tmp_path / "train.npz", **arrays)
    values = series_settings(tmp_path, tmp_path / "run", False, max_steps=2, validate_every=2)
    values["data"] |= {"folds": 2, "test": None}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    return tmp_path / "run.yaml"


def test_each_fold_has_answers_to_its_training_series(settings, tmp_path):
    boosted.run(str(settings), str(tmp_path / "boosted-{fold}.tsv"), ["--data.parts_seed", "3"])
    places = []
    for fold in (0, 1):
        keys = {"data.parts_seed": "3", "data.fold": str(fold)}
        examples = load_splits(load_config(settings, keys))["train"]
        targets = learn_targets("label", examples)
        answers = read_answers(tmp_path / f"boosted-{fold}.tsv", examples, targets)
        right = answers.argmax(1) == targets.encode(examples)
        assert right.mean() > 0.9
        lines = (tmp_path / f"boosted-{fold}.tsv").read_text().splitlines()[1:]
        places.append({line.split("\t")[0] for line in lines})
        assert len(lines) == len(examples)  # and none of the fold's test set
    assert places[0] != places[1]


def test_no_answer_comes_from_trees_that_have_seen_the_label():
    """Figures that are all different, labels dealt out: who has seen a label would know it."""
    draw = np.random.default_rng(0)
    figures, truth = draw.normal(size=(300, 6)), draw.integers(0, 2, 300)
    answers = boosted.answers_of(figures, truth)
    np.testing.assert_allclose(answers.sum(1), 1)
    assert abs((answers.argmax(1) == truth).mean() - 0.5) < 0.12  # 4 deviations of a coin


def test_misuse_is_told(settings, tmp_path, call, start):
    done = start(boosted, settings, tmp_path / "one.tsv")
    assert done.returncode == 2 and "expected {fold} in the name" in done.stderr
    assert "Traceback" not in done.stderr
    done = call(boosted, settings, tmp_path / "x-{fold}.tsv", "--data.kind", "text")
    assert done.returncode == 2 and "expected series and label" in done.stderr
    assert "Traceback" not in done.stderr
