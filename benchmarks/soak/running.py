"""Commands of ``seq2seq`` in processes of their own: started anew, or forked from this one, which
has imported everything already. And what a command may never do."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.soak.tiny_tasks import TINY, configuration, write

# nothing here may ask the network, whatever a configuration names
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OMP_NUM_THREADS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false",
}  # fmt: skip
ROOT = Path(__file__).parents[2]
MOST_MB = 2048  # of memory that a small model's command may take


@dataclass(frozen=True)
class Done:
    """How a command ended. ``status``: None where it had to be killed for taking too long, below 0
    where a signal ended it."""

    status: int | None
    seconds: float
    peak_mb: float
    out: bytes
    err: str

    @property
    def last_line(self) -> str:
        return (self.err.strip().splitlines() or [""])[-1]


def fault(done: Done, allowed: Sequence[int], most_mb: float = MOST_MB) -> str | None:
    """What a command did that none may do; None where it did nothing of the kind."""
    if done.status is None:
        return f"did not end in {done.seconds:.0f} s"
    if "Traceback (most recent call last)" in done.err:
        return f"traceback: {done.last_line}"
    if done.status not in allowed:
        return f"exit status {done.status}: {done.last_line}"
    if done.status and not done.last_line.startswith(("seq2seq:", "seq2seq ")):
        return f"exit status {done.status} without a sentence: {done.last_line!r}"
    if done.peak_mb > most_mb:
        return f"{done.peak_mb:,.0f} MB of memory"
    return None


def start(arguments: Sequence[str | Path], err: Path | int) -> subprocess.Popen[bytes]:
    """A command in a new process; its standard error goes to a file."""
    command = [sys.executable, "-m", "seq2seq", *map(str, arguments)]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": paths}
    stream = open(err, "wb")  # noqa: SIM115  the process keeps it
    with stream:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stream, env=environment)


@functools.cache
def warm_up() -> None:
    """Import all that training and using a model of every task import, so that forked commands
    begin at once. They are run in forks; in this process nothing runs. Once for all parts."""
    os.environ.update(ENVIRONMENT)
    import torch

    from seq2seq import registry
    from seq2seq.cli import all_commands

    torch.set_num_threads(1)
    assert all_commands()
    for entry in registry.TASKS.values():
        for name in (entry.config, entry.training, entry.user):
            registry.load(name)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        for task, tiny in TINY.items():
            home = Path(folder, task)
            data, names = home / "data", home / "modules"
            data.mkdir(parents=True)
            values = configuration(tiny.make(data), home / "run", home / "cache")
            path = write(values, home / "run.yaml")
            _import_what_imports(["train", str(path), "--quiet"], names)
            use = [one.format(model=home / "run" / "model", data=data) for one in tiny.use]
            _import_what_imports(use, names)


def _import_what_imports(command: list[str], names: Path) -> None:
    """Run a command in a fork, and import what it imported; ``names`` is a file for their names."""
    child = os.fork()
    if child == 0:
        _child(command, [os.devnull] * 3, None, lambda: names.write_text("\n".join(sys.modules)))
    os.waitpid(child, 0)
    for name in names.read_text().splitlines():
        if name not in sys.modules:
            with contextlib.suppress(Exception):  # the inner parts of lazy packages
                importlib.import_module(name)


def fork(
    arguments: Sequence[str | Path],
    *,
    stdin: bytes = b"",
    seconds: float = 120,
    memory_mb: int | None = None,
    stdout: str | None = None,
    cwd: Path | None = None,
) -> Done:
    """A command in a fork of this process. ``memory_mb``: how much more address space it may take
    than this process has; ``stdout``: the file to write, /dev/full say; ``cwd``: where it runs."""
    with tempfile.TemporaryDirectory(prefix="soak-", dir="/dev/shm") as folder:
        names = [os.path.join(folder, name) for name in ("in", "out", "err")]
        Path(names[0]).write_bytes(stdin)
        names[1] = stdout or names[1]
        started = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            os.chdir(cwd or os.curdir)
            _child([str(one) for one in arguments], names, memory_mb)
        status, usage = _wait(child, started + seconds)
        out = b"" if stdout else Path(names[1]).read_bytes()
        err = Path(names[2]).read_text("utf-8", "replace")
    return Done(status, time.monotonic() - started, usage / 1024, out, err)


class Forked:
    """A command in a fork of this process that goes on while the caller does something else."""

    def __init__(self, arguments: Sequence[str | Path], err: Path) -> None:
        self.status: int | None = None
        self.child = os.fork()
        if self.child == 0:
            err.unlink(missing_ok=True)
            _child([str(one) for one in arguments], [os.devnull, os.devnull, str(err)], None)

    def poll(self) -> int | None:
        """The exit status, None while it runs."""
        if self.status is None:
            found, status = os.waitpid(self.child, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if found else None
        return self.status

    def kill(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.child, number)

    def wait(self, seconds: float) -> int | None:
        """The exit status; None where it does not end in time: it is killed then."""
        until = time.monotonic() + seconds
        while self.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        status = self.poll()
        self.kill(signal.SIGKILL)
        return status


def _wait(child: int, until: float) -> tuple[int | None, int]:
    """(exit status, kilobytes at the peak)"""
    pause = 0.002
    while time.monotonic() < until:
        found, status, usage = os.wait4(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status), usage.ru_maxrss
        time.sleep(pause)
        pause = min(0.05, pause * 1.5)
    os.kill(child, signal.SIGKILL)
    _, _, usage = os.wait4(child, 0)
    return None, usage.ru_maxrss


def _child(
    arguments: list[str],
    names: list[str],
    memory_mb: int | None,
    then: Callable[[], object] | None = None,
) -> None:
    """Run the command, then ``then``, and leave the process."""
    status = 70
    try:
        flags = (os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_CREAT)
        for number, (name, flag) in enumerate(zip(names, flags, strict=True)):
            os.dup2(os.open(name, flag, 0o600), number)
        sys.stdin = io.TextIOWrapper(os.fdopen(0, "rb"))
        sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb"))
        sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb"), line_buffering=True)
        if memory_mb:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + memory_mb * 2**20
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        from seq2seq.cli import main

        status = main(arguments)
        if status == 0:
            sys.stdout.flush()  # as Python does when it ends
        if then is not None:
            then()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
