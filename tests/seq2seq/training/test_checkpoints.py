"""Checkpoints, averages of weights, learning rates."""

from __future__ import annotations

import os

import pytest
import torch

from seq2seq.config.training import TrainingConfig
from seq2seq.errors import RunError
from seq2seq.training import checkpoints
from seq2seq.training.averages import MovingAverage
from seq2seq.training.schedules import learning_rate


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
        ("cosine", 55, 0, 0.5 + 0.05),
        ("cosine", 100, 0, 0.1),
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
