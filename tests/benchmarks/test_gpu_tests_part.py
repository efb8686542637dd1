"""The part of the GPU kit that runs the GPU tests, over tests made up for it: some fail, hang, or
leave the card unusable for their process."""

import importlib.util
import json
import os
import subprocess
import sys
import time

import pytest

from benchmarks.gpu_kit.parts import gpu_tests
from benchmarks.gpu_kit.places import ROOT

HAS_XDIST = importlib.util.find_spec("xdist") is not None
TESTS = """
import ctypes, torch, pytest
pytestmark = pytest.mark.gpu
broken = False

def test_good(): pass
def test_bad(): assert 1 == 2, "planted"
def test_skipped(): pytest.skip("no")
def test_hangs():
    while True:
        ctypes.CDLL(None).sleep(600)  # hears no signal for long
@pytest.mark.parametrize("number", range(4))
def test_breaks(number, monkeypatch):
    global broken
    assert not broken, "the process was not replaced"
    broken = True
    def raises(): raise RuntimeError("an illegal memory access")
    torch.cuda.is_available, torch.cuda.synchronize = lambda: True, raises
    assert False, "planted"
"""


@pytest.fixture
def run(tmp_path):
    """Runs the named tests with ``seconds`` for the part; -> (rows, all output, seconds)."""
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu: here\n")

    def part(*names, seconds=200.0):
        start = time.monotonic()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
        environment |= {"GPU_KIT_END": str(start + seconds), "OMP_NUM_THREADS": "1"}
        paths = [str(ROOT), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        command = [sys.executable, "-m", "benchmarks.gpu_kit.start"]
        command += ["benchmarks.gpu_kit.parts.gpu_tests", "tests.xml"]
        command += [f"test_it.py::{name}" for name in names]
        found = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        lines = found.stdout.splitlines()
        rows = [json.loads(line) for line in lines if line.startswith('{"table"')]
        return rows, found.stdout + found.stderr, time.monotonic() - start

    return part


def test_each_failure_is_reported_at_once_with_its_reason(run):
    rows, text, _ = run("test_bad", "test_good", "test_skipped")
    *failed, total = rows
    assert [(row["name"], row["why"]) for row in failed] == [
        ("test_it.py::test_bad", "AssertionError: planted")
    ], text
    assert text.index('"failed tests"') < text.index("= FAILURES =")
    assert {name: total[name] for name in ("passed", "failed", "error", "skipped")} == {
        "passed": 1, "failed": 1, "error": 0, "skipped": 1,
    }  # fmt: skip
    assert total["problem"] == "1 test(s) failed"


@pytest.mark.slow
@pytest.mark.skipif(not HAS_XDIST, reason="needs pytest-xdist")
def test_where_a_test_hangs_the_others_are_counted_before_the_part_ends(run, tmp_path, monkeypatch):
    monkeypatch.setenv("GPU_KIT_PATIENCE", "100")  # no test of its own accord
    seconds = gpu_tests.BEFORE_THE_END + 40
    rows, text, spent = run("test_hangs", "test_bad", "test_good", seconds=seconds)
    total = rows[-1]
    assert (total["passed"], total["failed"]) == (1, 1), text
    assert "1 of 3 test(s) without a result, the time is over" in total["problem"]
    assert spent < seconds
    assert "planted" in (tmp_path / "tests.xml").read_text()


@pytest.mark.slow
@pytest.mark.skipif(not HAS_XDIST, reason="needs pytest-xdist")
@pytest.mark.skipif(
    importlib.util.find_spec("pytest_timeout") is None, reason="needs pytest-timeout"
)
def test_a_process_that_hangs_is_replaced(run, monkeypatch):
    monkeypatch.setenv("GPU_KIT_PATIENCE", "0.5")  # 10 s a test
    rows, text, _ = run("test_hangs", "test_bad", "test_good", seconds=200)
    why = {row["name"]: row["why"] for row in rows[:-1]}
    assert "crashed while running" in why["test_it.py::test_hangs"], text
    assert (rows[-1]["passed"], rows[-1]["problem"]) == (1, "2 test(s) failed")


@pytest.mark.slow
@pytest.mark.skipif(not HAS_XDIST, reason="needs pytest-xdist")
def test_a_process_that_cannot_use_the_card_any_more_is_replaced(run):
    names = [f"test_breaks[{number}]" for number in range(4)]
    rows, text, _ = run(*names, "test_good", seconds=250)
    first = [row for row in rows if "card" in row]
    assert sorted(row["name"] for row in first) == [f"test_it.py::{name}" for name in names], text
    assert {row["why"] for row in first} == {"AssertionError: planted"}
    assert {row["card"] for row in first} == {"unusable after it: an illegal memory access"}
    assert rows[-1]["passed"] == 1 and rows[-1]["problem"] == "4 test(s) failed"
