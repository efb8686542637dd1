"""Several training corpora, read as often as their weights say."""

from __future__ import annotations

from collections import Counter

import datasets
import numpy as np
import pytest
from accelerate import Accelerator

from seq2seq import UsageError
from seq2seq.config import config_from_dict
from seq2seq.tasks.translation.mixture import Mixture
from seq2seq.tasks.translation.training import TranslationTask
from seq2seq.training.inputs import inputs_of
from seq2seq.training.loop import train
from tests.seq2seq.running import assert_same_run, kill_and_resume


def write(folder, name, pairs):
    for language, side in (("en", 0), ("de", 1)):
        (folder / f"{name}.{language}").write_text("".join(f"{pair[side]}\n" for pair in pairs))
    return str(folder / f"{name}.{{lang}}")


@pytest.fixture
def corpora(tmp_path):
    """Three files: 10, 8 and 6 pairs, of which the filter drops 2 of the second (repeated)."""
    first = [(f"a {n}", f"A {n}") for n in range(10)]
    second = [(f"b {n}", f"B {n}") for n in range(6)] + first[:2]
    third = [(f"c {n}", f"C {n}") for n in range(6)]
    pairs = {"first": first, "second": second, "third": third}
    return [write(tmp_path, name, of_one) for name, of_one in pairs.items()]


def settings(tmp_path, corpora, **data):
    return {
        "output": str(tmp_path / "run"),
        "data": {
            "train": corpora[0],
            "more_train": corpora[1:],
            "validation": corpora[0],
            "batch_tokens": 40,
            "filter": {"deduplicate": True},
            "cache_dir": str(tmp_path / "cache"),
            **data,
        },
        "tokenizer": {"kind": "char", "vocab_size": 20, "byte_fallback": False},
        "model": {
            "encoder": {"layers": 1, "hidden_size": 8},
            "decoder": {"hidden_size": 8},
            "embedding_size": 8,
        },
        "training": {
            "max_epochs": 3, "validate_every": 5, "log_every": 1, "threads": 1, "device": "cpu",
            "precision": "fp32",
        },
    }  # fmt: skip


def read_in(task, epoch):
    """How often an epoch reads each source text."""
    texts = task.corpus.pairs["source"]
    return Counter(texts[i] for batch in task.epoch(epoch, 0) for i in batch.indices.tolist())


def task_of(values, tmp_path):
    return TranslationTask(
        config_from_dict(values), tmp_path / "task", Accelerator(cpu=True), False
    )


@pytest.mark.parametrize("weights", [[1, 1], [2, 0.5], [0.3, 1.75], [0.01, 3]])
def test_each_pair_is_read_as_often_as_any_other_of_its_corpus(weights):
    mixture = Mixture([40, 10], weights, seed=1)
    every = [mixture.rows(epoch) for epoch in range(20)]
    counts = np.bincount(np.concatenate(every), minlength=50)
    for part, weight in ((counts[:40], weights[0]), (counts[40:], weights[1])):
        assert part.max() - part.min() <= 1
        assert part.sum() == round(20 * weight * len(part))
    for epoch, rows in enumerate(every):
        assert abs(len(rows) - 40 * weights[0] - 10 * weights[1]) <= 1
        assert (np.diff(rows) >= 0).all()
        assert np.array_equal(rows, Mixture([40, 10], weights, seed=1).rows(epoch))
    other = Mixture([40, 10], weights, seed=2)
    assert weights == [1, 1] or any(
        not np.array_equal(other.rows(n), rows) for n, rows in enumerate(every)
    )


def test_corpora_without_rows():
    assert Mixture([0, 2], [1.0, 2.0], 1).rows(3).tolist() == [0, 0, 1, 1]
    assert Mixture([0], [1.0], 1).rows(0).tolist() == []


def test_an_epoch_reads_what_the_weights_say(corpora, tmp_path):
    task = task_of(settings(tmp_path, corpora, weights=[1, 2, 0.5]), tmp_path)
    assert task.describe().startswith("22 training pairs (dropped: 2 duplicate), 25 an epoch;")
    thirds: Counter[str] = Counter()
    for epoch in range(2):
        found = read_in(task, epoch)
        assert all(found[f"a {n}"] == 1 for n in range(10))
        assert all(found[f"b {n}"] == 2 for n in range(6))
        thirds += Counter({text: n for text, n in found.items() if text.startswith("c")})
    assert thirds == {f"c {n}": 1 for n in range(6)}


def test_without_weights_each_pair_is_read_once(corpora, tmp_path):
    task = task_of(settings(tmp_path, corpora), tmp_path)
    assert task.describe().startswith("22 training pairs (dropped: 2 duplicate);")
    assert set(read_in(task, 0).values()) == {1} and len(read_in(task, 1)) == 22


def test_one_corpus_may_have_a_weight(corpora, tmp_path):
    task = task_of(settings(tmp_path, corpora, more_train=[], weights=[0.5]), tmp_path)
    halves = [read_in(task, epoch) for epoch in range(2)]
    assert [len(half) for half in halves] == [5, 5] and len(halves[0] + halves[1]) == 10


def test_splits_of_a_data_set(tmp_path):
    rows = {
        split: datasets.Dataset.from_dict(
            {"en": [f"{split} {n}" for n in range(4)], "de": [f"{n}" for n in range(4)]}
        )
        for split in ("train", "other")
    }
    datasets.DatasetDict(rows).save_to_disk(str(tmp_path / "set"))
    values = settings(tmp_path, ["train", "other"], hub=str(tmp_path / "set"), weights=[1, 3])
    found = read_in(task_of(values, tmp_path), 0)
    assert found["train 1"] == 1 and found["other 2"] == 3
    # which files they are, the data set says
    assert list(inputs_of(config_from_dict(values), {})["files"]) == ["data.hub"]


def test_a_killed_run_goes_on_with_the_same_pairs(corpora, tmp_path):
    values = settings(tmp_path, corpora, weights=[1, 1.5, 0.5])
    train(config_from_dict(values), quiet=True)
    killed = {**values, "output": str(tmp_path / "killed")}
    killed["training"] = {**values["training"], "checkpoint_every": 2}
    kill_and_resume(killed, tmp_path)
    assert_same_run(tmp_path / "run", tmp_path / "killed")


def test_another_file_is_another_run(corpora, tmp_path):
    values = settings(tmp_path, corpora)
    train(config_from_dict(values), quiet=True)
    card = (tmp_path / "run" / "model" / "README.md").read_text(encoding="utf-8")
    assert all(corpus in card for corpus in corpora)
    (tmp_path / "third.en").write_text("d\n" * 6)
    with pytest.raises(UsageError, match=r"'data.more_train\[1\]': .*third.en has changed"):
        train(config_from_dict(values), resume=True, quiet=True)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"weights": [1, 2]}, "'data.weights' has 2 numbers; expected 3, one for"),
        ({"weights": [1, 0, 1]}, r"'data.weights\[1\]' is 0.*expected a number above 0"),
        ({"weights": [1, 1, float("nan")]}, "'data.weights' is nan; expected a finite number"),
        ({"weights": [1, 1, 1e9]}, r"'data.weights\[2\]' is 1000000000.0; expected at most 1,000"),
        ({"train": None}, "'data.more_train' is set and 'data.train' is not"),
        ({"streaming": True}, "'data.streaming' reads one corpus; leave out 'data.more_train'"),
        ({"streaming": True, "more_train": [], "weights": [2]}, "'data.weights' goes without"),
        ({"more_train": ["none.tsv"]}, "none.tsv: no such file"),
    ],
)
def test_what_does_not_go_together(corpora, tmp_path, data, message):
    values = settings(tmp_path, corpora, **{"filter": {}, **data})
    values["training"]["max_steps"] = 2
    with pytest.raises(UsageError, match=message):
        task_of(values, tmp_path)
