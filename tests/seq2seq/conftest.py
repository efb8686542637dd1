"""Fixtures that the tests of several tasks use."""

from __future__ import annotations

import io
import sys

import pytest

from seq2seq.cli import main


@pytest.fixture
def run(monkeypatch, capsysbinary):
    """Run a command in this process: (exit status, standard output, standard error)."""

    def run_command(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as error:
            status = error.code
        out, err = capsysbinary.readouterr()
        return status, out.decode(), err.decode()

    return run_command
