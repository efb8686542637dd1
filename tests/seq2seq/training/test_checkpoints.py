"""Checkpoints, averages of weights, learning rates."""

from __future__ import annotations

import math
import os

import pytest
import torch

from seq2seq.config.training import TrainingConfig
from seq2seq.errors import RunError
from seq2seq.training import checkpoints
from seq2seq.training.averages import MovingAverage, TriggeredAverage
from seq2seq.training.schedules import learning_rate, total_steps


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    folder = tmp_path / "last"
    checkpoints.write(folder, {"w": torch.ones(3)}, {"step": 1})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(RunError, match=r"No space left.*is intact"):
        checkpoints.write(folder, {"w": torch.zeros(3)}, {"step": 2})
    tensors, state = checkpoints.read(folder)
    assert state == {"step": 1} and torch.equal(tensors["w"], torch.ones(3))
    assert [p.name for p in tmp_path.iterdir()] == ["last"]


def test_killed_between_the_two_renames(tmp_path):
    folder = tmp_path / "last"
    checkpoints.write(folder, {"w": torch.ones(3)}, {"step": 1})
    folder.rename(tmp_path / ".last.old")
    assert checkpoints.exists(folder)
    assert checkpoints.read(folder)[1] == {"step": 1}


def test_a_damaged_checkpoint_is_named(tmp_path):
    folder = tmp_path / "last"
    checkpoints.write(folder, {"w": torch.ones(3000)}, {"step": 1})
    os.truncate(folder / checkpoints.TENSORS, 200)
    with pytest.raises(RunError, match="last: cannot be read"):
        checkpoints.read(folder)


@pytest.mark.parametrize("place", [-1, -6000, 40])
def test_a_flipped_bit_is_noticed(tmp_path, place):
    folder = tmp_path / "last"
    checkpoints.write(folder, {"w": torch.ones(3000)}, {"step": 1})
    path = folder / checkpoints.TENSORS
    path.write_bytes(flipped(path.read_bytes(), place))
    with pytest.raises(RunError, match=r"last: cannot be read"):
        checkpoints.read(folder)


def flipped(content: bytes, place: int) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 1
    return bytes(changed)


def test_a_checkpoint_of_before_has_no_digest_and_loads(tmp_path):
    folder = tmp_path / "last"
    checkpoints.write(folder, {"w": torch.ones(3)}, {"step": 1})
    (folder / checkpoints.STATE).write_text('{"step": 1}')
    assert checkpoints.read(folder)[1] == {"step": 1}


def test_average_of_checkpoints(tmp_path):
    for name, value in (("a", 1.0), ("b", 4.0)):
        checkpoints.write(tmp_path / name, {"w": torch.full((2,), value)}, {})
    mean = checkpoints.average([tmp_path / "a", tmp_path / "b"])
    assert torch.equal(mean["w"], torch.full((2,), 2.5))


def test_moving_average():
    model = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    average = MovingAverage(model, 0.5)
    for value in (1.0, 2.0):
        with torch.no_grad():
            model.weight.fill_(value)
        average.update(model)
    first = 1 - 2 / 11  # decay (1 + 1) / (10 + 1), then (1 + 2) / (10 + 2)
    expected = 0.25 * first + 0.75 * 2.0
    with average.applied(model):
        assert model.weight.item() == pytest.approx(expected)
    assert model.weight.item() == 2.0


@pytest.mark.parametrize(
    ("schedule", "step", "plateaus", "expected"),
    [
        ("constant", 5, 0, 0.5),
        ("constant", 500, 0, 1.0),
        ("inverse_sqrt", 10, 0, 1.0),
        ("inverse_sqrt", 40, 0, 0.5),
        ("cosine", 10, 0, 1.0),
        ("cosine", 55, 0, 0.1 + 0.45 * (1 + math.cos(math.pi * 45 / 91))),
        ("cosine", 101, 0, 0.1),
        ("plateau", 50, 3, 0.125),
    ],
)
def test_schedules(schedule, step, plateaus, expected):
    config = TrainingConfig(
        learning_rate=1.0, warmup_steps=10, schedule=schedule, final_learning_rate=0.1
    )
    assert learning_rate(config, step, 100, plateaus) == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["constant", "inverse_sqrt", "cosine"])
def test_a_schedule_that_begins_anew(schedule):
    config = TrainingConfig(
        learning_rate=1.0, warmup_steps=10, schedule=schedule, final_learning_rate=0.1
    )
    found = [learning_rate(config, step, 200, 0, [60, 160, 500]) for step in range(1, 201)]
    parts = [[learning_rate(config, step, n, 0) for step in range(1, n + 1)] for n in (60, 100, 40)]
    assert found == [rate for part in parts for rate in part]


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_each_step_of_a_short_cosine_learns_something(steps):
    config = TrainingConfig(learning_rate=1.0, warmup_steps=0, schedule="cosine")
    found = [learning_rate(config, step, steps, 0) for step in range(1, steps + 1)]
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    torchs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    expected = []
    for _ in range(steps):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        torchs.step()
    assert found == pytest.approx(expected) and min(found) > 0


def test_steps_of_epochs_that_are_not_equally_long():
    config = TrainingConfig(max_epochs=4, accumulation=2, restarts=[1, 3])
    batches = [5, 3, 8, 1].__getitem__
    assert total_steps(config, batches, vary=True) == (3 + 2 + 4 + 1, [3, 9])
    assert total_steps(config, batches) == (3 * 4, [3, 9])  # as the first
    config.max_steps = 4
    assert total_steps(config, batches, vary=True) == (4, [3, 9])
    config = TrainingConfig(max_epochs=10**9, schedule="cosine")  # not all of them are asked
    asked = []
    total, _ = total_steps(config, lambda epoch: asked.append(epoch) or 4, vary=True)
    assert total == 4 * 10**9 and len(set(asked)) == 1000


@pytest.mark.parametrize(
    ("patience", "scores", "begins"),
    [
        (5, [-5, -4, -6, -5.5, -5, -4.5, -4.2], None),
        (5, [-5, -4, -3.5, -3.6, -3.7, -3.8, -3.9, -3.9, -3.9], 9),
        (1, [-4, -5, -4.5], 3),
    ],
)
def test_averaging_begins_after_validations_without_a_better_score(patience, scores, begins):
    model = torch.nn.Linear(1, 1)
    average = TriggeredAverage(model, patience)
    found = [number for number, score in enumerate(scores, 1) if average.observe(score, model)]
    assert found == ([] if begins is None else [begins])
