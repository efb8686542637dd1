"""The switch between backends, and importing the package on a bare machine."""

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

import kernels
from kernels.backend import resolve

ROOT = Path(__file__).parents[2]


def test_the_default_is_torch(monkeypatch):
    monkeypatch.delenv("KERNELS_BACKEND", raising=False)
    assert resolve("anything", torch.zeros(1)) == "torch"


def test_blocks_nest_and_restore(monkeypatch):
    monkeypatch.delenv("KERNELS_BACKEND", raising=False)
    with kernels.use_backend("reference"):
        with kernels.use_backend("auto"):
            assert resolve("anything") == "torch"
        assert resolve("anything") == "reference"
    assert resolve("anything") == "torch"


def test_an_exception_restores(monkeypatch):
    monkeypatch.delenv("KERNELS_BACKEND", raising=False)
    with pytest.raises(KeyError), kernels.use_backend("reference"):
        raise KeyError
    assert resolve("anything") == "torch"


def test_the_environment_chooses_and_a_block_overrides_it(monkeypatch):
    monkeypatch.setenv("KERNELS_BACKEND", "reference")
    assert resolve("anything") == "reference"
    with kernels.use_backend("torch"):
        assert resolve("anything") == "torch"


def test_unknown_names_are_refused_with_the_options(monkeypatch):
    refused = pytest.raises(ValueError, match=r"'cuda'.*auto, torch, triton, reference")
    with refused, kernels.use_backend("cuda"):
        pass
    monkeypatch.setenv("KERNELS_BACKEND", "fast")
    with pytest.raises(ValueError, match=r"KERNELS_BACKEND.*'fast'"):
        resolve("anything")


def test_triton_on_cpu_tensors_is_refused(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    lstm = kernels.LSTM(3, 4)
    with kernels.use_backend("triton"), pytest.raises(RuntimeError, match=r"recurrence: .*triton"):
        lstm(torch.zeros(2, 1, 3))


def test_triton_not_installed_is_said(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with kernels.use_backend("triton"), pytest.raises(RuntimeError, match="not installed"):
        resolve("recurrence", torch.zeros(1))


def test_triton_has_no_float64():
    gru = kernels.GRU(3, 4, dtype=torch.float64)
    with kernels.use_backend("triton"), pytest.raises(RuntimeError, match="no float64"):
        gru(torch.zeros(2, 1, 3, dtype=torch.float64))


def test_operations_without_a_kernel_refuse_triton():
    with kernels.use_backend("triton"), pytest.raises(RuntimeError, match="no 'triton' kernel"):
        resolve("anything", torch.zeros(1))


def test_a_choice_stays_in_its_thread_and_task(monkeypatch):
    monkeypatch.delenv("KERNELS_BACKEND", raising=False)
    seen = {}

    async def one():
        with kernels.use_backend("reference"):
            await asyncio.sleep(0.01)
            seen["one"] = resolve("anything")

    async def two():
        await asyncio.sleep(0.005)  # while the other task is inside its block
        seen["two"] = resolve("anything")

    async def both():
        await asyncio.gather(one(), two())

    asyncio.run(both())
    with kernels.use_backend("reference"):
        thread = threading.Thread(target=lambda: seen.update(thread=resolve("anything")))
        thread.start()
        thread.join()
    assert seen == {"one": "reference", "two": "torch", "thread": "torch"}


def test_the_package_imports_and_runs_without_triton():
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "import torch, kernels\n"
        "y, _ = kernels.LSTM(3, 4)(torch.ones(2, 1, 3)); print(tuple(y.shape))\n"
        "assert 'seq2seq' not in sys.modules\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(2, 1, 4)"


def test_everything_public_exists():
    for name in kernels.__all__:
        assert hasattr(kernels, name), name
