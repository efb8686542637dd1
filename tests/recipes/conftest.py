"""What the tests of several recipes use."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.fixture
def call(monkeypatch, capsys):
    """Run a script's ``main`` with arguments in this process, and give what ``subprocess.run``
    would. A process of its own takes seconds to import torch; each script's test starts one, too.
    """

    def run(script, *arguments) -> subprocess.CompletedProcess:
        given = [script.__file__, *map(str, arguments)]
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", given)
            try:
                script.main()
                status = 0
            except SystemExit as error:
                status = error.code or 0
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(given, status, out, err)

    return run


@pytest.fixture
def start():
    """The same in a process of its own."""

    def run(script, *arguments) -> subprocess.CompletedProcess:
        command = [sys.executable, script.__file__, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True)

    return run
