"""A device that is neither CPU nor CUDA: the torch backend runs on it, and on it alone."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.kernels.operations import OPERATIONS


@pytest.fixture(scope="module")
def found():
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernels.third_device"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", OPERATIONS)
def test_runs_on_another_device(found, name):
    assert found[name] is None, found[name]
