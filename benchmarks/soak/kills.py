"""Runs that are killed at random moments and resumed end with the numbers of one that was not."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.soak import running
from benchmarks.soak.comparing import differences
from benchmarks.soak.tiny_tasks import TINY, configuration, write
from seq2seq.training import checkpoints

KILLS = 50  # for each task, at scale 1
SIGNALS = (signal.SIGKILL, signal.SIGTERM)
_PATIENCE = 120  # seconds that a run may take


def run(work: Path, scale: float, seed: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """The figures of each task, and what went wrong."""
    running.warm_up()
    figures, failures = {}, []
    for task, tiny in TINY.items():
        chance = random.Random(f"{seed} {task}")
        folder = work / task
        (folder / "data").mkdir(parents=True)
        values = tiny.make(folder / "data")
        figures[task], found = _task(folder, values, max(2, round(KILLS * scale)), chance)
        failures += [f"{task}: {one}" for one in found]
        tell(f"{task}: {figures[task]}")
    return {"figures": figures, "failures": failures}


def _task(
    folder: Path, values: dict[str, Any], kills: int, chance: random.Random
) -> tuple[dict[str, Any], list[str]]:
    figures: dict[str, Any] = {"kills": 0, "SIGKILL": 0, "SIGTERM": 0, "runs": 0, "same": 0}
    failures: list[str] = []
    # an undisturbed run in a process of its own, with another order of hashes; and one in a fork,
    # as all that are killed
    whole, err = folder / "whole", folder / "err.txt"
    path = write(configuration(values, whole, folder / "cache-whole"), folder / "run.yaml")
    if running.start(["train", path, "--quiet"], err).wait():
        raise RuntimeError(f"the undisturbed run failed: {err.read_text()}")
    second = folder / "second"
    path = write(configuration(values, second, folder / "cache-second"), folder / "run.yaml")
    moments = _undisturbed(path, err, second)
    failures += [f"undisturbed: {one}" for one in differences(whole, second)]
    while figures["kills"] < kills:
        output = folder / f"run-{figures['runs']}"
        figures["runs"] += 1
        cache = folder / f"cache-{figures['runs']}"
        path = write(configuration(values, output, cache), folder / "run.yaml")
        left = kills - figures["kills"]
        history = _until_the_end(path, output, left, moments, chance, err)
        for name in history["signals"]:
            figures["kills"] += 1
            figures[name] += 1
        found = history["failures"] or differences(whole, output)
        if found:
            failures.append(f"run {figures['runs']} ({history['moments']}): {found[0]}")
        else:
            figures["same"] += 1
        shutil.rmtree(output)
        shutil.rmtree(cache, ignore_errors=True)
    return figures, failures


class Moments(NamedTuple):
    """What an undisturbed run went through: seconds until there was an output folder, and until the
    end, and how often the names in the folder changed."""

    begun: float
    ended: float
    changes: int


def _undisturbed(path: Path, err: Path, output: Path) -> Moments:
    """A run that nobody kills."""
    started, begun, changes = time.monotonic(), 0.0, 0
    process, before = running.Forked(["train", path, "--quiet"], err), _listing(output)
    while process.poll() is None:
        now = _listing(output)
        if now and not begun:
            begun = time.monotonic() - started
        changes += now != before
        before = now
        time.sleep(_pause(now))
    if process.status:
        raise RuntimeError(f"the undisturbed run failed: {err.read_text()}")
    return Moments(begun, time.monotonic() - started, max(1, changes))


def _pause(listing: list[str]) -> float:
    """Seconds between two looks at a run's folder."""
    return 0.0005 if listing else 0.01


def _until_the_end(
    path: Path,
    output: Path,
    kills: int,
    moments: Moments,
    chance: random.Random,
    err: Path,
) -> dict[str, Any]:
    """Start, kill and resume a run until it ends by itself; after ``kills`` nobody kills it."""
    history: dict[str, Any] = {"signals": [], "moments": [], "failures": []}
    while True:
        resume = checkpoints.exists(output / "checkpoints" / "last")
        arguments = ["train", path, "--quiet", *(["--resume"] if resume else [])]
        process = running.Forked(arguments, err)
        kill = chance.choice(SIGNALS) if len(history["signals"]) < kills else None
        if kill is not None:
            moment = _wait_for_a_moment(process, output, moments, chance)
            if process.poll() is None:
                process.kill(kill)
                history["signals"].append(kill.name)
                history["moments"].append(f"{kill.name} {moment}")
        status = process.wait(_PATIENCE)
        if status is None:
            history["failures"].append("a run did not end")
            return history
        text = err.read_text("utf-8", "replace") if err.exists() else ""
        if status == 0:
            return history
        expected = (-int(kill), 130) if kill is not None else ()
        if status not in expected or "Traceback" in text:
            last = (text.strip().splitlines() or [""])[-1]
            history["failures"].append(f"exit status {status}: {last}")
            return history


def _wait_for_a_moment(
    process: running.Forked,
    output: Path,
    moments: Moments,
    chance: random.Random,
) -> str:
    """Sleep until a time drawn at random, or a change in the run's folder drawn at random."""
    started = time.monotonic()
    if chance.random() < 0.4:  # any time, mostly while it trains
        least = 0.0 if chance.random() < 0.25 else moments.begun
        seconds = chance.uniform(least, moments.ended)
        while time.monotonic() - started < seconds and process.poll() is None:
            time.sleep(0.005)
        return f"after {seconds:.2f} s"
    # as files come and go: in the middle of a write, between two renames
    count, before = chance.randint(1, moments.changes), _listing(output)
    changes = 0
    while changes < count and process.poll() is None:
        now = _listing(output)
        changes += now != before
        before = now
        time.sleep(_pause(now))
    time.sleep(chance.choice((0, 0, 0.001, 0.01)))
    return f"at change {count} of the folder"


def _listing(output: Path) -> list[str]:
    """Names in the folder of a run, and in its checkpoints and model."""
    found = []
    for folder in (output, output / "checkpoints", output / "model"):
        try:
            found += sorted(os.listdir(folder))
        except OSError:
            continue
    return found
