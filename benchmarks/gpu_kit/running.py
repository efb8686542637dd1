"""Runs the parts of a run one after the other, each under its own time limit.

A part is a process group of its own, in the session of the run: whoever ends the session ends it,
too. Past its limit it is interrupted, so that it can still write what it has, and killed 5 seconds
later with all it started. A part that fails or hangs never keeps the next one from starting, and a
run that is told to end (SIGTERM, Ctrl+C) kills its part and keeps what there is. Each line of
output is written and flushed as it comes. Parts find when they will be stopped in GPU_KIT_END, in
seconds of time.monotonic, and the factor on their limits in GPU_KIT_PATIENCE.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from benchmarks.gpu_kit.plan import Part
from benchmarks.gpu_kit.records import Record, read

LARGEST_FILE = 14 << 20  # bytes of a file of results; 16 MiB may come back
LARGEST_TABLES = 1 << 20  # and of the tables at the end of it
GRACE = 5.0  # seconds between the interruption and the end
RESERVE = 2.0  # seconds kept for the tables at the end
SHORTEST = 3.0  # a part is not started with less
UNKILLED = 10.0  # seconds to wait for a process that was killed: the driver may hold it
PLACES = ("/usr/local/cuda/bin",)  # where tools lie that are not on the PATH
TOLD = "the run was told to end"


class Log:
    """A file that every line is flushed to, and that stops growing at ``LARGEST_FILE``."""

    def __init__(self, path: Path, more: bool = False) -> None:
        """more: there is some already, which tables at the end are added to."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: TextIO = path.open("a" if more else "w", encoding="utf-8", errors="replace")
        self._left = LARGEST_TABLES if more else LARGEST_FILE

    def write(self, line: str) -> None:
        size = len(line.encode("utf-8", "replace"))
        if size > self._left:
            if self._left >= 0:
                self._file.write("\n[the rest is left out: this file may not grow further]\n")
                self._file.flush()
            self._left = -1
            return
        self._left -= size
        self._file.write(line)
        self._file.flush()


def found_tool(name: str) -> str | None:
    """Where a tool is, None if it is not installed."""
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(PLACES))


def options_known(tool: str, options: tuple[str, ...]) -> tuple[str, ...]:
    """``options`` if the tool's help names the first of them, else none: versions differ."""
    if not options:
        return ()
    try:
        found = subprocess.run([tool, "--help"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ()
    return options if options[0] in found.stdout + found.stderr else ()


def run_parts(
    parts: list[Part],
    folder: Path,
    seconds: float,
    environment: dict[str, str],
    patience: float = 1.0,
    echo: TextIO = sys.stdout,
) -> tuple[list[Record], list[Record]]:
    """-> (what the parts reported, how each part ended).

    seconds: of all parts together. patience: what the limits of the parts are multiplied with; it
    never stretches ``seconds``. A part may take beyond its limit what those before it did not need.
    """
    end = time.monotonic() + seconds
    log, lines = Log(folder / "log.txt"), Log(folder / "results.jsonl")
    reported: list[Record] = []
    endings: list[Record] = []

    def take(line: str) -> None:
        echo.write(line)
        echo.flush()
        log.write(line)
        record = read(line)
        if record is not None:
            reported.append(record)
            lines.write(line)

    told = False
    later = patience * sum(part.seconds for part in parts)
    for part in parts:
        later -= patience * part.seconds
        left = end - RESERVE - GRACE - time.monotonic()
        # what earlier parts have left of their time, it may take as well
        limit = min(max(part.seconds * patience, left - later), left)
        start = time.monotonic()
        try:
            outcome = "not started: " + TOLD
            if not told:
                take(f"\n== {part.name}: at most {max(limit, 0):.0f} s\n")
                outcome = _start(part, environment, limit, patience, take)
        except KeyboardInterrupt:
            told, outcome = True, "STOPPED: " + TOLD
        ending = {"part": part.name, "outcome": outcome}
        ending["seconds"] = round(time.monotonic() - start, 1)
        endings.append(ending)
        take(f"== {part.name}: {outcome}, {ending['seconds']} s\n")
    return reported, endings


def _start(
    part: Part,
    environment: dict[str, str],
    limit: float,
    patience: float,
    take: Callable[[str], None],
) -> str:
    """Runs a part if there is time for it and its tool; -> how it ended."""
    if limit < SHORTEST:
        return "not started: no time left"
    under = list(part.under)
    if under:
        tool = found_tool(under[0])
        if tool is None:
            return f"left out: {under[0]} is not installed"
        under = [tool, *options_known(tool, part.where_known), *under[1:]]
    command = [*under, sys.executable, "-m", "benchmarks.gpu_kit.start"]
    own = {"GPU_KIT_END": f"{time.monotonic() + limit:.1f}", "GPU_KIT_PATIENCE": f"{patience:g}"}
    variables = environment | own | dict(part.environment)
    return _run([*command, part.module, *part.arguments], variables, limit, take)


def _heed_interrupts() -> None:
    """A run in the background of a shell ignores SIGINT, and so would the parts that it starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _run(
    command: list[str], environment: dict[str, str], limit: float, take: Callable[[str], None]
) -> str:
    try:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            bufsize=1,
            process_group=0,
            preexec_fn=_heed_interrupts,
        )
    except OSError as problem:
        return f"failed: {problem}"

    def read_all() -> None:
        for line in process.stdout:
            take(line if line.endswith("\n") else line + "\n")

    reader = threading.Thread(target=read_all, daemon=True)
    reader.start()
    late = killed = False
    try:
        process.wait(limit)
    except subprocess.TimeoutExpired:
        late = True
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    finally:  # also of a run that is told to end
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # whatever it has left running
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(UNKILLED)
        killed = True
    reader.join(2.0)
    if late:
        return f"STOPPED after {limit:.0f} s" + ("" if killed else ", and outlives being killed")
    return "done" if process.returncode == 0 else f"failed: exit status {process.returncode}"
