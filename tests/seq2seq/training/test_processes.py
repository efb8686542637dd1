"""Two processes on a CPU: they train as one process with twice the batch, resume, stop together,
and one of them speaks."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from seq2seq.config import config_from_dict
from seq2seq.training import checkpoints
from seq2seq.training.dealing import deal, rounds, used
from seq2seq.training.loop import train
from tests.seq2seq.forked import Forked
from tests.seq2seq.running import records, wait_for
from tests.seq2seq.tasks.captioning import drawings
from tests.seq2seq.tasks.generation import test_training as generation
from tests.seq2seq.training import test_loop as translation

TORCHRUN = ("torch.distributed.run", "--nproc-per-node", "2", "--master-port")
PLAIN = ()  # as both of the others do in the end, without the seconds that they take to begin
LAUNCH = (
    "accelerate.commands.launch",
    "--multi_gpu",
    "--num_processes",
    "2",
    "--main_process_port",
)
SHORT = {"max_steps": 6, "log_every": 1, "validate_every": 3, "keep_best": 1, "average": True}


def free_port() -> str:
    """One below those that the system gives to connections: seconds pass until it is bound, and
    another test's connection could take it."""
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):  # seeds leave it alone
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return str(port)
    raise OSError("no free port from 20,000 to 32,000")


def start_two(values: dict, folder: Path, *options: str, launcher=PLAIN) -> list:
    """The run of ``values`` by two processes of one thread each."""
    path = folder / "two.yaml"
    path.write_text(json.dumps(values))  # JSON is YAML
    module = "seq2seq" if values.get("task") != "toy" else "tests.seq2seq.toy_task"
    arguments = [module, "train", str(path), "--quiet", *options]
    environment = {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    if launcher:
        command = [sys.executable, "-m", *launcher, free_port(), "-m", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return [subprocess.Popen(command, env=os.environ | environment, **pipes)]
    environment |= {"MASTER_PORT": free_port(), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    return [
        Forked(arguments, folder, environment | {"RANK": rank, "LOCAL_RANK": rank}) for rank in "01"
    ]


def end_of(processes: list[Forked | subprocess.Popen]) -> tuple[int, str, str]:
    """The worst exit status, and what all of them wrote."""
    told = [process.communicate(timeout=120) for process in processes]
    worst = max(processes, key=lambda process: abs(process.returncode))
    return worst.returncode, "".join(out for out, _ in told), "".join(err for _, err in told)


def run_two(values: dict, folder: Path, *options: str, **more) -> tuple[int, str, str]:
    return end_of(start_two(values, folder, *options, **more))


def translation_run(folder: Path, output: str, **training) -> dict:
    corpus = folder / "corpus"
    if not corpus.exists():
        corpus.mkdir()
        translation.write_corpus(corpus, 0, 150, 10, longest=6)
    values = translation.settings(
        corpus, folder / output, **{**SHORT, "ema_decay": 0.9, **training}
    )
    values["model"]["dropout"] = 0.0
    values["data"]["batch_tokens"] = 128
    values["data"]["test"] = values["data"]["validation"]
    return values


def generation_run(folder: Path, output: str, **training) -> dict:
    text = folder / "text.txt"
    text.write_text("".join(f"{a} and {b} make {a + b}\n" for a in range(20) for b in range(20)))
    values = generation.settings(text, folder / output, **{**SHORT, "reset_rate": 0.0, **training})
    values["model"]["hidden_dropout"] = 0.0
    return values


def captioning_run(folder: Path, output: str, **training) -> dict:
    data = folder / "images"
    if not data.exists():
        drawings.write_split(data / "train", 30, seed=1)
        drawings.write_split(data / "validation", 5, seed=2)
    values = drawings.settings(data, folder / output, **{**SHORT, **training})
    values["model"]["dropout"], values["data"]["batch_images"] = 0.0, 6
    return values


def toy_run(folder: Path, output: str, **training) -> dict:
    numbers = folder / "numbers.txt"
    numbers.write_text("\n".join(str(1.1**n) for n in range(53)))
    options = {"device": "cpu", "threads": 1, "precision": "fp32", "learning_rate": 0.05}
    return {
        "task": "toy",
        "output": str(folder / output),
        "data": {"train": str(numbers)},
        "training": {**SHORT, **options, "validate_every": 5, "max_steps": 10, **training},
    }


def stream_run(folder: Path, output: str, **training) -> dict:
    """Blocks of an odd number of batches."""
    values = translation_run(folder, output, **{"validate_every": 100, **training})
    values["data"] |= {"streaming": True, "shuffle_buffer": 30}
    return values


RUNS = {"stream": stream_run, "translation": translation_run, "generation": generation_run,
        "captioning": captioning_run, "toy": toy_run}  # fmt: skip


@pytest.mark.parametrize(("task", "launcher"), [
    ("translation", LAUNCH), ("generation", PLAIN), ("captioning", PLAIN), ("toy", TORCHRUN),
    pytest.param("stream", PLAIN, marks=pytest.mark.slow),
])  # fmt: skip
def test_two_processes_train_as_one_with_twice_the_batch(task, launcher, tmp_path, toy):
    """Losses, gradients (by the weights at the end), moving averages and validation; epochs of an
    odd number of batches among them. A task without code of its own for it, too."""
    make = RUNS[task]
    accumulation = 1 if task == "generation" else 2  # which shares the rows of a batch out
    values = make(tmp_path, "one", accumulation=accumulation)
    train(config_from_dict(values), quiet=True)
    status, out, err = run_two(make(tmp_path, "two", accumulation=1), tmp_path, launcher=launcher)
    assert status == 0, err
    assert out == f"model saved: {tmp_path}/two/model\n"
    assert err.count("at most ") == 1 and "2 processes" in err and "Traceback" not in err
    assert "FutureWarning" not in err, err
    one, two = records(tmp_path / "one"), records(tmp_path / "two")
    assert [r.keys() for r in one] == [r.keys() for r in two]
    validated = False
    for a, b in zip(one, two, strict=True):
        validated |= "loss" not in a
        for name, value in a.items():
            # the statistics of batch norm are the mean of both in place of one after the other
            close = 0.1 if task == "captioning" and "loss" not in a else 2e-4
            assert b[name] == pytest.approx(value, rel=close, abs=1e-5), (name, a, b)
    assert validated or task == "stream"
    first, second = (load_file(tmp_path / n / "model/model.safetensors") for n in ("one", "two"))
    for name, tensor in first.items():
        if "running" not in name:
            torch.testing.assert_close(second[name], tensor, rtol=2e-3, atol=2e-4)
    if task in ("translation", "stream"):
        texts = [(tmp_path / n / "test.hypotheses").read_text() for n in ("one", "two")]
        assert texts[0] == texts[1] and len(texts[0].splitlines()) == 10


def test_two_processes_resume_to_the_same_numbers(tmp_path):
    """Dropout differs between the processes, and each goes on with its own."""
    make = {"whole": {}, "part": {"max_steps": 4}}
    for name, training in make.items():
        values = generation_run(tmp_path, name, ema_decay=0.0, validate_every=2, **training)
        values["model"]["hidden_dropout"] = 0.3
        status, _, err = run_two(values, tmp_path)
        assert status == 0, err
    values["training"]["max_steps"] = 6
    status, _, err = run_two(values, tmp_path, "--resume")
    assert status == 0, err
    assert records(tmp_path / "whole")[-4:] == records(tmp_path / "part")[-4:]
    states = [load_file(tmp_path / n / "checkpoints/last/tensors.safetensors") for n in make]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    drawn = states[0]["random.cpu"]
    assert len(drawn) == 2 and not torch.equal(drawn[0], drawn[1])
    # another number of processes is refused, and with --allow-changes goes on at the same place
    values["training"]["max_steps"] = 8
    with pytest.raises(Exception, match="number of processes is 1, the run was started with 2"):
        train(config_from_dict(values), quiet=True, resume=True)
    train(config_from_dict(values), quiet=True, resume=True, allow_changes=True)
    progress = checkpoints.read(tmp_path / "part" / "checkpoints" / "last")[1]["progress"]
    assert progress["step"] == 8


def test_sigterm_to_one_stops_both_and_saves(tmp_path):
    values = toy_run(tmp_path, "run", max_steps=100_000, max_epochs=100_000, validate_every=10_000)
    processes = start_two(values, tmp_path)
    wait_for(tmp_path / "run" / "log.jsonl", processes[0])
    processes[1].send_signal(signal.SIGTERM)
    status, _, err = end_of(processes)
    assert [process.returncode for process in processes] == [130, 130]
    assert err.count("saved, --resume goes on from here") == 1
    assert "process 1:" not in err
    step = checkpoints.read(tmp_path / "run" / "checkpoints" / "last")[1]["progress"]["step"]
    values["training"]["max_steps"] = step + 2
    status, _, err = run_two(values, tmp_path, "--resume")
    assert status == 0 and f"resumed at step {step}" in err, err


def test_a_mistake_is_told_once(tmp_path):
    values = toy_run(tmp_path, "run")
    values["data"]["train"] = "missing.txt"
    status, _, err = run_two(values, tmp_path)
    assert status != 0 and err.count("missing.txt: no such file") == 1
    assert "process 1:" not in err
    values["data"]["tran"] = "x"
    status, _, err = run_two(values, tmp_path)
    assert status == 2 and err.count("did you mean") == 1


@pytest.mark.slow
def test_a_process_whose_other_one_is_killed_ends_with_a_sentence(tmp_path):
    values = toy_run(tmp_path, "run", max_steps=100_000, max_epochs=100_000, validate_every=10_000)
    processes = start_two(values, tmp_path)
    wait_for(tmp_path / "run" / "log.jsonl", processes[0])
    processes[1].kill()
    _, _, err = end_of(processes)
    assert processes[0].returncode == 1
    assert (
        "other processes of this run cannot be reached any more" in err and "Traceback" not in err
    )


class Numbers:
    """A task whose batches are numbers."""

    def __init__(self, count: int, known: bool) -> None:
        self.count, self.known = count, known

    def len_epoch(self, epoch: int) -> int | None:
        return self.count if self.known else None

    def epoch(self, epoch: int, skip: int):
        return iter(range(skip, self.count))


class Every(Numbers):
    def epoch(self, epoch: int, skip: int, every: int = 1):
        return iter(range(skip, self.count, every))


@pytest.mark.parametrize("kind", [Numbers, Every])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_batches_are_dealt_in_turn(kind, known, world):
    """Each once, equally many in each process; what fills the last round counts nothing."""
    for count in (1, 6, 7, 12):
        task = kind(count, known)
        for skip in range(0, count, world):
            hands = [list(deal(task, 0, skip, rank, world)) for rank in range(world)]
            in_turn = [one for step in zip(*hands, strict=True) for one in step]
            assert [one.batch for one in in_turn if one.counts] == list(range(skip, count))
            assert used(task, skip, 0, len(hands[0]), world) >= count
            if known:
                assert skip or rounds(task, 0, world) == len(hands[0])
                assert used(task, skip, 0, len(hands[0]), world) == count


@pytest.mark.parametrize(("variables", "told"), [
    # what `accelerate launch --num_processes 2` sets where there is no GPU
    ({"ACCELERATE_USE_CPU": "False", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"},
     "asked for several processes and started one"),
    ({"ACCELERATE_USE_FSDP": "true"}, "FSDP splits the weights"),
])  # fmt: skip
def test_what_would_not_happen_is_refused(variables, told, tmp_path, toy, run, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    status, _, err = run("train", "toy.yaml", "--quiet", "--output", "a")
    assert status == 2 and told in err
