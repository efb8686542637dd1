"""Fixtures that the tests of several tasks use."""

from __future__ import annotations

import io
import sys

import pytest

from seq2seq import registry
from seq2seq.cli import main
from tests.seq2seq.toy_task.entry import ENTRY, YAML


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


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """The entry, and a folder with numbers that each are half of the next."""
    monkeypatch.setitem(registry.TASKS, "toy", ENTRY)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "numbers.txt").write_text("\n".join(str(1.1**n) for n in range(60)))
    (tmp_path / "toy.yaml").write_text(YAML)
    return tmp_path
