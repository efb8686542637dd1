"""Runs of ``seq2seq train`` in tests: started, waited for, compared; and what a command imports."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from seq2seq.config import config_from_dict
from seq2seq.training import checkpoints
from seq2seq.training.loop import train
from tests.seq2seq.forked import Forked

HEAVY = ("torch", "datasets", "pyarrow", "sentencepiece", "sacrebleu", "matplotlib", "numpy")


def records(output: Path) -> list[dict]:
    """The log without what depends on the clock."""
    found = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    for record in found:
        record.pop("seconds", None)
        for name in [name for name in record if name.endswith("_per_second")]:
            record.pop(name)
    return found


def start(values: dict, folder: Path, *options: str) -> Forked:
    """`seq2seq train` in a process of its own."""
    path = folder / "run.yaml"
    path.write_text(json.dumps(values))  # JSON is YAML
    return Forked(["seq2seq", "train", str(path), "--quiet", *options], folder, {})


def wait_for(path: Path, process: Forked | subprocess.Popen) -> None:
    for _ in range(6000):  # 5 minutes: other work may hold the processors
        if path.exists():
            return
        if process.poll() is not None:
            raise AssertionError(process.stderr.read())
        time.sleep(0.05)
    raise AssertionError(f"{path} did not appear")


def assert_same_run(a: Path, b: Path) -> None:
    assert records(a) == records(b)  # bit for bit: JSON keeps doubles exactly
    states = [checkpoints.read(run / "checkpoints" / "last")[1]["progress"] for run in (a, b)]
    assert {**states[0], "seconds": 0} == {**states[1], "seconds": 0}
    for name in ("checkpoints/last/tensors.safetensors", "model/model.safetensors"):
        first, second = load_file(a / name), load_file(b / name)
        assert first.keys() == second.keys()
        for key in first:
            assert torch.equal(first[key], second[key]), (name, key)


def heavy_modules_after(*arguments: str) -> str:
    """The exit status of a command, and which of HEAVY it imported."""
    code = (
        "import sys\n"
        "from seq2seq.cli import main\n"
        "try:\n    status = main(sys.argv[1:])\n"
        "except SystemExit as error:\n    status = error.code\n"
        f"print(status, [name for name in {HEAVY} if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def kill_and_resume(values: dict, folder: Path) -> None:
    """A run, killed when it has a checkpoint and no model yet, then resumed to its end."""
    output = Path(values["output"])
    process = start(values, folder)
    wait_for(output / "checkpoints" / "last", process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert not (output / "model").exists()
    train(config_from_dict(values), quiet=True, resume=True)
