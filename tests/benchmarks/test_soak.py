"""The soak notices what it is there to notice. The soak itself is no part of the tests."""

from __future__ import annotations

import json
import random
import shutil

import pytest

from benchmarks.soak import comparing, configurations, damaged_models, odd_lines, report, running
from benchmarks.soak.running import Done
from benchmarks.soak.tiny_tasks import TINY, configuration, write
from seq2seq import registry
from seq2seq.config import load_config

SENTENCE = "reading\nseq2seq: model x: no such directory\n"


@pytest.mark.parametrize(
    ("status", "err", "peak_mb", "found"),
    [
        (1, SENTENCE, 500, None),
        (0, "", 500, None),
        (None, "", 500, "did not end in 9 s"),
        (3, SENTENCE, 500, "exit status 3"),
        (-11, "", 500, "exit status -11"),
        (1, "Killed\n", 500, "without a sentence: 'Killed'"),
        (1, f"Traceback (most recent call last):\n  x\n{SENTENCE}", 500, "traceback: seq2seq"),
        (1, SENTENCE, 2100, "2,100 MB"),
    ],
)
def test_what_a_command_may_not_do(status, err, peak_mb, found):
    fault = running.fault(Done(status, 9.0, peak_mb, b"", err), (0, 1))
    assert fault is None if found is None else found in fault


def test_a_forked_command_ends_as_one_in_a_process_of_its_own(tmp_path):
    done = running.fork(["translate", tmp_path / "none"])
    assert (done.status, done.out) == (2, b"")
    assert running.fault(done, (2,)) is None and "no such directory" in done.last_line
    done = running.fork(["--version"])
    assert done.status == 0 and done.out.startswith(b"seq2seq ")
    assert running.fork(["--version"], stdout="/dev/full").status == 1


def run_folder(folder):
    (folder / "checkpoints" / "last").mkdir(parents=True)
    (folder / "model").mkdir()
    (folder / "log.jsonl").write_text('{"step": 2, "loss": 1.5, "seconds": 3.0}\n')
    state = {"progress": {"step": 2, "seconds": 3.0}}
    (folder / "checkpoints" / "last" / "state.json").write_text(json.dumps(state))
    for name in comparing.TENSORS:
        (folder / name).write_bytes(b"weights")
    (folder / "test.hypotheses").write_text("a\n")
    return folder


def test_what_differs_between_two_runs(tmp_path):
    first, second = run_folder(tmp_path / "first"), run_folder(tmp_path / "second")
    (second / "log.jsonl").write_text('{"step": 2, "loss": 1.5, "seconds": 4.0}\n')
    assert comparing.differences(first, second) == []
    (second / "log.jsonl").write_text('{"step": 2, "loss": 1.6, "seconds": 3.0}\n')
    (second / comparing.TENSORS[1]).write_bytes(b"other")
    (second / "test.hypotheses").unlink()
    (second / "checkpoints" / "best-1").mkdir()
    assert len(comparing.differences(first, second)) == 4


@pytest.mark.parametrize("task", TINY)
def test_tiny_tasks_are_configurations_of_their_tasks(task, tmp_path):
    values = configuration(TINY[task].make(tmp_path), tmp_path / "run", tmp_path / "cache")
    config = load_config(write(values, tmp_path / "run.yaml"), {})
    assert config.task == task and config.output == str(tmp_path / "run")
    assert TINY[task].use[0] == registry.TASKS[task].command
    keys = dict(configurations.keys_of(type(config)))
    assert "training.learning_rate" in keys and "output" not in keys
    changed = configurations.with_changes(values, {"training.max_steps": 3, "data": 1})
    assert changed["training"]["max_steps"] == 3 and values["training"]["max_steps"] == 12


def test_odd_lines_are_lines():
    lines = odd_lines.odd_lines(2000, seed=3)
    assert len(lines) == 2000 and not any(b"\n" in line for line in lines)
    assert sorted(lines[:1000]) == sorted(lines[1000:]) and lines[:1000] != lines[1000:]
    assert lines == odd_lines.odd_lines(2000, seed=3)
    kinds = (b"\0", b"\r", b"\xff", "\u2028".encode(), b"</s>", b"")
    assert all(any(kind in line for line in lines) for kind in kinds) and b"" in lines


def contents(folder):
    return {path.name: path.is_file() and path.read_bytes() for path in folder.iterdir()}


def test_every_kind_of_damage_changes_a_folder(tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    values = {"format": "x", "weights_sha256": "y", "config": {"model": {"layers": 1}}}
    (whole / "config.json").write_text(json.dumps(values))
    (whole / "model.safetensors").write_bytes(bytes(range(256)) * 2)
    other = shutil.copytree(whole, tmp_path / "other")
    (other / "config.json").write_text('{"format": "another"}')
    (other / "model.safetensors").write_bytes(b"another")
    told = set()
    for seed in range(60):
        folder = tmp_path / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        what = damaged_models._damage(folder, {"a": whole, "b": other}, "a", random.Random(seed))
        told.add(what.split(" = ")[0].rstrip("0123456789 "))
        same = all(
            (folder / path.name).is_file()
            and (folder / path.name).read_bytes() == path.read_bytes()
            for path in whole.iterdir()
        )
        assert not same, what
    assert len(told) > 10


def test_results_are_kept_by_part(tmp_path):
    result = {"scale": 0.1, "cpu_seconds": 90, "figures": {"toy": {"kills": 5000}}}
    report.add(tmp_path / "r.json", "kills", {**result, "failures": []})
    report.add(tmp_path / "r.json", "other", {**result, "failures": ["x"] * 30})
    results = json.loads((tmp_path / "r.json").read_text())
    assert results["other"]["failed"] == 30 and len(results["other"]["failures"]) == report.SHOWN
    rows = report.table(results).splitlines()
    assert rows[2] == "| kills | 0.1 | toy: kills 5,000 | 0 | 1.5 |" and "| 30 |" in rows[3]
