"""``python -m`` in a process of its own that need not import torch again: it is forked from one
that has done nothing else, has one thread and has drawn no random numbers. A new Python takes
seconds of processor time to begin, and the tests of killed, stopped and shared runs start dozens.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

IMPORTED = ["seq2seq.training.loop", "seq2seq.tasks.translation.training"]


class Forked:
    """As much of subprocess.Popen as the tests need; what it writes goes to files in ``folder``."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(IMPORTED)
        count = len(list(folder.glob("stdout-*")))
        paths = [folder / f"{name}-{count}" for name in ("stdout", "stderr")]
        for path in paths:
            path.touch()
        arguments = (list(command), list(map(str, paths)), dict(environment), os.getcwd())
        self._process = context.Process(target=_run, args=arguments)
        self._process.start()
        self.stdout: IO[str] = paths[0].open(encoding="utf-8")
        self.stderr: IO[str] = paths[1].open(encoding="utf-8")

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutError(f"process {self._process.pid} did not end in {timeout} s")
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        with self.stdout, self.stderr:
            return self.stdout.read(), self.stderr.read()


def _run(command: list[str], paths: list[str], environment: dict[str, str], folder: str) -> None:
    for number, path in enumerate(paths, start=1):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = command
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)
