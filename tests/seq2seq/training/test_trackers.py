"""Trackers get what log.jsonl gets, and cannot lose a run."""

from __future__ import annotations

import accelerate.tracking
import pytest
from accelerate.tracking import GeneralTracker
from accelerate.utils import LoggerType

from seq2seq import registry
from seq2seq.config import config_from_dict
from seq2seq.errors import RunError, UsageError
from seq2seq.training.loop import train
from tests.seq2seq.running import records


class Recorder(GeneralTracker):
    """A tracker that keeps what it gets, and fails when told to."""

    name, requires_logging_directory = "wandb", False
    opened: list = []  # noqa: RUF012  of the test that runs
    fails_at: str | None = None

    def __init__(self, project):
        super().__init__()
        self.project, self.settings, self.logged, self.finished = project, None, [], False
        self.opened.append(self)

    @property
    def tracker(self):
        return self

    def start(self):
        self._fail("start")

    def store_init_configuration(self, values):
        self._fail("settings")
        self.settings = values

    def log(self, values, step=None, **options):
        self._fail(f"step {step}")
        self.logged.append({"step": step, **values})

    def finish(self):
        self._fail("finish")
        self.finished = True

    def _fail(self, where):
        if self.fails_at == where:
            raise ConnectionResetError("the service is down\nmore of it")


@pytest.fixture
def recorder(monkeypatch):
    """What stands for the tracker wandb."""
    monkeypatch.setitem(accelerate.tracking.LOGGER_TYPE_TO_CLASS, "wandb", Recorder)
    known = [LoggerType.WANDB]
    for module in ("accelerate.tracking", "seq2seq.training.trackers"):
        monkeypatch.setattr(f"{module}.get_available_trackers", lambda: known)
    monkeypatch.setattr(Recorder, "opened", [])
    return Recorder


def settings(output, **training):
    options = {"max_epochs": 5, "log_every": 5, "threads": 1, "device": "cpu", "precision": "fp32"}
    training = {"trackers": ["wandb"], **options, **training}
    return config_from_dict(
        {"task": "toy", "output": output, "data": {"train": "numbers.txt"}, "training": training}
    )


def test_a_tracker_gets_the_configuration_and_every_record(toy, recorder):
    train(settings("runs/a"), quiet=True)
    (found,) = recorder.opened
    assert found.project == "seq2seq" and found.finished
    assert found.settings["data.train"] == "numbers.txt"
    assert found.settings["training.betas"] == "[0.9, 0.999]"
    expected = records(toy / "runs" / "a")
    assert [one["step"] for one in found.logged] == [one["step"] for one in expected]
    for got, written in zip(found.logged, expected, strict=True):
        assert written.items() <= got.items()


@pytest.mark.parametrize("moment", ["settings", "step 10", "finish"])
def test_one_that_fails_does_not_lose_the_run(toy, recorder, monkeypatch, capsys, moment):
    train(settings("runs/whole", trackers=[]), quiet=True)
    monkeypatch.setattr(recorder, "fails_at", moment)
    train(settings("runs/a"), quiet=True)
    assert records(toy / "runs" / "a") == records(toy / "runs" / "whole")
    told = capsys.readouterr().err
    assert told.count("warning: the tracker wandb failed (ConnectionResetError: the service") == 1
    if moment == "step 10":
        assert [one["step"] for one in recorder.opened[0].logged] == [5, 8]


def test_one_that_cannot_start_is_an_error_before_the_first_step(toy, recorder, monkeypatch):
    monkeypatch.setattr(recorder, "fails_at", "start")
    with pytest.raises(RunError, match=r"training.trackers \(wandb\): cannot be started \(Conn"):
        train(settings("runs/a"), quiet=True)


def test_what_is_not_installed_is_said_before_data_are_read(toy, monkeypatch):
    monkeypatch.setattr("seq2seq.training.trackers.get_available_trackers", list)
    monkeypatch.setattr(registry.load(registry.TASKS["toy"].training), "__init__", None)
    with pytest.raises(UsageError, match=r"trackers: \[mlflow\] needs the package mlflow"):
        train(settings("runs/a", trackers=["mlflow"]), quiet=True)
    with pytest.raises(UsageError, match=r"training.tensorboard needs .*recurrent-seq2seq\[tens"):
        train(settings("runs/a", trackers=[], tensorboard=True), quiet=True)
    with pytest.raises(UsageError, match=r"'training.trackers' is 'paper'; expected one of: tens"):
        settings("runs/a", trackers=["paper"])


@pytest.mark.parametrize("training", [{"tensorboard": True}, {"trackers": ["tensorboard"]}])
def test_tensorboard_writes_into_the_folder_of_the_run(toy, training):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(settings("runs/a", **{"trackers": [], **training}), quiet=True)
    (events,) = (toy / "runs" / "a" / "tensorboard").iterdir()
    assert events.name.startswith("events.out.tfevents.")
    board = EventAccumulator(str(events.parent))
    board.Reload()
    expected = [(r["step"], r["loss"]) for r in records(toy / "runs" / "a") if "loss" in r]
    found = [(one.step, one.value) for one in board.Scalars("loss")]
    assert found == [(step, pytest.approx(loss, rel=1e-6)) for step, loss in expected]
