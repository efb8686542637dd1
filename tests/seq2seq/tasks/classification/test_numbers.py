"""Targets that are numbers: standardised for the network, whatever their size."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from seq2seq import Classifier, UsageError
from seq2seq.config import config_from_dict
from seq2seq.tasks.classification.answers import number_text
from seq2seq.tasks.classification.config import ClassDataConfig
from seq2seq.tasks.classification.labelled import Labelled, read_texts
from seq2seq.tasks.classification.targets import Targets
from seq2seq.tasks.classification.training import ClassificationTask
from seq2seq.training.loop import train
from tests.seq2seq.running import assert_same_run, kill_and_resume, records
from tests.seq2seq.tasks.classification.conftest import write


def numbers(path, scale, offset, seed=1):
    """Texts of four of ten words; the target is the mean of their numbers, scaled and moved."""
    draw = random.Random(seed)
    rows = []
    for _ in range(200):
        words = draw.choices(range(10), k=4)
        rows.append((offset + scale * sum(words) / 4, " ".join(f"w{n}" for n in words)))
    write(path, rows)
    return str(path)


def settings(path, output, **training):
    return {
        "task": "classification",
        "output": str(output),
        "data": {"train": path, "target": "number", "batch_size": 16},
        "model": {
            "embedding_size": 12,
            "encoder": {"cell": "gru", "hidden_size": 12},
            "pooling": ["mean"],
            "input_dropout": 0.0,
            "dropout": 0.0,
        },
        "training": {
            "max_epochs": 6, "learning_rate": 1e-2, "threads": 1, "device": "cpu",
            "precision": "fp32", "ema_decay": 0.0, "warmup_steps": 4, **training,
        },
    }  # fmt: skip


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The folder of a model that has learnt numbers from 0 to 9."""
    folder = tmp_path_factory.mktemp("numbers")
    path = numbers(folder / "a.tsv", 1, 0)
    return train(config_from_dict(settings(path, folder / "run")), quiet=True)


def test_a_stopped_run_that_began_with_a_model_goes_on_with_the_same_numbers(first, tmp_path):
    """The checkpoint's centre and spread stand, not those that the data would give."""
    path = numbers(tmp_path / "c.tsv", 2, 3)
    begun = {"start_from": str(first), "checkpoint_every": 4}
    train(config_from_dict(settings(path, tmp_path / "whole", **begun)), quiet=True)
    kill_and_resume(settings(path, tmp_path / "killed", **begun), tmp_path)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
    assert records(tmp_path / "whole")[-1]["r2"] > 0.9


def test_what_a_checkpoint_holds_counts(first, tmp_path):
    """Runs that were begun before kept the centre and spread of the model that they began with."""
    path = numbers(tmp_path / "c.tsv", 2, 3)
    config = config_from_dict(settings(path, tmp_path / "run", start_from=str(first)))
    task = ClassificationTask(config, tmp_path / "task", Accelerator(cpu=True), False)
    task.model.centre.fill_(5.0)
    task.model.spread.fill_(2.0)
    batch = next(iter(task.epoch(0, 0)))
    plain = next(iter(task.batches.epoch(0, 0)))
    assert torch.equal(batch.targets, ((plain.targets - 5) / 2).float())


@pytest.mark.parametrize(("scale", "offset"), [(10, 1000), (10, 1.7e9)])
def test_numbers_elsewhere_are_learnt_from_a_model_and_anew(first, tmp_path, scale, offset):
    path = numbers(tmp_path / "far.tsv", scale, offset)
    for name, start in (("anew", None), ("from", str(first))):
        values = settings(path, tmp_path / name, start_from=start)
        model = train(config_from_dict(values), quiet=True)
        assert records(tmp_path / name)[-1]["r2"] > 0.9
    answer = Classifier.from_pretrained(model, device="cpu").classify("w5 w5 w5 w5").value
    assert abs(answer - (offset + 5 * scale)) < 0.5 * scale
    fields = (tmp_path / "from" / "validation.answers.tsv").read_text().splitlines()[1].split("\t")
    assert abs(float(fields[2]) - float(fields[1])) < scale  # six digits would not tell


def test_digits_are_those_that_mean_something():
    assert number_text(1234989.43, 30.0) == "1234989.43"
    assert number_text(0.123456789, 1.0) == "0.123457" and number_text(0.0, 1.0) == "0"
    assert number_text(-1.7e9 - 0.25, 1.0) == "-1700000000.25"
    assert number_text(1e300, 1e-300) == "1.0000000000000001e+300"


def test_numbers_that_float32_does_not_hold_are_refused(tmp_path):
    path = tmp_path / "a.tsv"
    for number in ("1e39", "-1e999", "nan", "x"):
        path.write_text(f"1\ta\n{number}\tb\n")
        with pytest.raises(UsageError, match=rf"line 2: the target is '{number}'; expected a numb"):
            read_texts(str(path), ClassDataConfig(target="number"))
    found = Labelled("a", ["a"], [1.7e9 + 1], [1])
    encoded = Targets("number", ()).encode(found)
    assert encoded.dtype == np.float64 and encoded.tolist() == [1.7e9 + 1]
