"""Launches that skip Triton's dispatch, without a GPU: the checks of ``launches.py``."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("launches.py")


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_launches_without_a_gpu():
    """In a process of its own: in this one Triton's interpreter is on."""
    checks = re.findall(r"^def (test_\w+)", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)
    outer = os.environ.items()
    run = subprocess.run(
        [sys.executable, "-m", "tests.kernels.launches"],
        cwd=SCRIPT.parents[2],
        env={k: v for k, v in outer if not k.startswith(("TRITON_INTERPRET", "KERNELS_"))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr[-3000:]
    assert run.stdout.split() == checks
