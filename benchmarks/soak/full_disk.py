"""A disk that fills at every write: the run says so, exits with 1, and leaves what was there whole.

Each trial has a disk of its own, a tmpfs with room for so many pages, or for so many files, mounted
in a namespace of this process alone (``unshare --map-root-user --mount``).
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.soak import running
from benchmarks.soak.comparing import differences
from benchmarks.soak.tiny_tasks import TINY, Tiny, configuration, write

PAGE = 4096
ROOMY = "size=512m"
ENOUGH = 3  # trials in which the disk did not fill: larger ones would not either
_UNSHARE = ("unshare", "--map-root-user", "--mount")
_NAMED = re.compile(r"space|No space|full|device|quota|written|write", re.I)


def run(work: Path, scale: float, seed: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """The same in a process that may mount disks; where the system forbids that, nothing is run and
    that is a failure."""
    command = [*_UNSHARE, sys.executable, "-m", __name__, str(work), str(scale), str(seed)]
    environment = {**os.environ, **running.ENVIRONMENT}
    done = subprocess.run(
        command, cwd=running.ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        return {"figures": {}, "failures": [f"not run: {_UNSHARE[0]} exit {done.returncode}"]}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    for task, figures in result["figures"].items():
        tell(f"{task}: {figures}")
    return result


class Disk:
    """A small disk at ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        self._mounted = False

    def renew(self, options: str) -> None:
        """An empty disk of the size that ``options`` say, as mount has them."""
        if self._mounted:
            _check(_LIBC.umount2(os.fsencode(self.path), 2))  # 2: lazily, whoever looks at it
        _mount(self.path, 0, options)
        self._mounted = True

    def enlarge(self) -> None:
        """Room for everything, what is there stays."""
        _mount(self.path, _REMOUNT, f"{ROOMY},nr_inodes=100000")

    def used(self) -> tuple[int, int]:
        """(pages, files)"""
        stat = os.statvfs(self.path)
        return stat.f_blocks - stat.f_bfree, stat.f_files - stat.f_ffree


def _limits(
    used: tuple[int, int], scale: float, chance: random.Random
) -> Iterator[tuple[str, list[str]]]:
    """(kind, mount options of growing disks): all sizes up to three times what a finished run
    uses, each drawn with probability ``scale``."""
    pages, files = used
    rooms = [room for room in range(2, 3 * pages) if chance.random() < scale]
    yield "pages", [f"size={room * PAGE}" for room in rooms]
    rooms = [room for room in range(3, 3 * files) if chance.random() < scale]
    yield "files", [f"{ROOMY},nr_inodes={room}" for room in rooms]


def _task(
    task: str, tiny: Tiny, folder: Path, scale: float, chance: random.Random
) -> dict[str, Any]:
    (folder / "data").mkdir(parents=True)
    values = tiny.make(folder / "data")
    values["training"] = {**values["training"], "max_steps": 8}
    disk = Disk(folder / "disk")
    disk.renew(ROOMY)
    output, cache = disk.path / "run", disk.path / "cache"
    path = write(configuration(values, output, cache), folder / "run.yaml")
    whole = running.fork(["train", path, "--quiet"])
    if whole.status:
        raise RuntimeError(f"{task}: the run on a roomy disk failed: {whole.err}")
    expected = folder / "expected"
    shutil.copytree(output, expected)
    figures: dict[str, Any] = {"refused": 0, "went_on": 0}
    failures = []
    for kind, limits in _limits(disk.used(), scale, chance):
        figures[kind] = enough = 0
        for limit in limits:
            figures[kind] += 1
            disk.renew(limit)
            done = running.fork(["train", path, "--quiet"])
            found = running.fault(done, (0, 1))
            if found is None and done.status == 1:
                figures["refused"] += 1
                found = _unclear(done) or _broken(output)
                disk.enlarge()
                found = found or _goes_on(path, output, expected)
                figures["went_on"] += found is None
            elif found is None:
                enough += 1
                found = next(iter(differences(expected, output)), None)
            if found:
                failures.append(f"{task}, {limit}: {found}")
            if enough == ENOUGH:
                break
    more, found = _over_a_model(task, path, disk, output, scale, chance)
    return {"figures": figures | more, "failures": failures + found}


def _unclear(done: running.Done) -> str | None:
    """What is wrong with the sentence about a full disk."""
    if _NAMED.search(done.last_line):
        return None
    return f"the error does not say what is wrong: {done.last_line}"


def _broken(output: Path) -> str | None:
    """What is damaged of a run's checkpoints."""
    from seq2seq.errors import RunError
    from seq2seq.training import checkpoints

    for name in ("last", *(path.name for path in output.glob("checkpoints/best-*"))):
        folder = output / "checkpoints" / name
        if checkpoints.exists(folder):
            try:
                checkpoints.read(folder)
            except RunError as error:
                return f"a checkpoint is damaged: {error}"
    return None


def _goes_on(path: Path, output: Path, expected: Path) -> str | None:
    """With room again, the run ends as it would have without the full disk."""
    resume = (output / "checkpoints" / "last").exists()
    done = running.fork(["train", path, "--quiet", *(["--resume"] if resume else [])])
    if done.status:
        return f"with room again, exit status {done.status}: {done.last_line}"
    return next(iter(differences(expected, output)), None)


def _over_a_model(
    task: str, path: Path, disk: Disk, output: Path, scale: float, chance: random.Random
) -> tuple[dict[str, Any], list[str]]:
    """A finished run goes on for more steps on a full disk: its model stays as it was, or is the
    new one."""
    disk.renew(ROOMY)
    running.fork(["train", path, "--quiet"])
    finished = path.parent / "finished"
    shutil.copytree(disk.path, finished, symlinks=True)
    pages, _ = disk.used()
    more = ["train", path, "--quiet", "--resume", "--training.max_steps", "10"]
    done = running.fork(more)
    models = [_files(finished / "run" / "model"), _files(output / "model")]
    if done.status:
        return {}, [f"{task}: going on failed: {done.last_line}"]
    failures, kept, enough = [], 0, 0
    for room in range(pages, 2 * pages):
        if chance.random() >= scale:
            continue
        disk.renew(f"size={room * PAGE}")
        shutil.copytree(finished, disk.path, dirs_exist_ok=True)
        done = running.fork(more)
        found = running.fault(done, (0, 1))
        now = _files(output / "model")
        if found is None and done.status:
            found = _unclear(done)
            if now not in models:
                found = "the model is neither the one before nor the new one"
        elif found is None and now != models[1]:
            found = "the model is not the new one"
        kept += now == models[0]
        enough += done.status == 0
        if found:
            failures.append(f"{task}, over a model, {room} pages: {found}")
        if enough == ENOUGH:
            break
    return {"models_kept": kept}, failures


def _files(folder: Path) -> dict[str, bytes]:
    """What matters of a model; the card says how many minutes training took."""
    return {one.name: one.read_bytes() for one in folder.iterdir() if one.suffix != ".md"}


def _streams(folder: Path) -> dict[str, Any]:
    """Commands whose output goes to a full device, or to a file on a full disk."""
    failures, trials = [], 0
    for task, tiny in TINY.items():
        data, model = folder / task / "data", folder / task / "expected" / "model"
        use = [one.format(model=model, data=data) for one in tiny.use]
        for arguments in (use, ["completion", "bash"], ["--version"], ["data"]):
            trials += 1
            done = running.fork(arguments, stdin=tiny.stdin, stdout="/dev/full")
            found = running.fault(done, (1,)) or _unclear(done)
            if found:
                failures.append(f"{' '.join(arguments[:1])} > /dev/full: {found}")
        disk = Disk(folder / f"{task}-output")
        disk.renew("size=4096")
        (disk.path / "full").write_bytes(b"x" * PAGE)
        run = folder / task / "expected"
        written = [["plot", run, "--output", disk.path / "curve.png"]]
        written.append(["init", task, "--output", disk.path])
        if task == "translation":
            written.append([*use, "--output", disk.path / "out"])
        for arguments in written:
            trials += 1
            done = running.fork(arguments, stdin=tiny.stdin)
            found = running.fault(done, (1,)) or _unclear(done)
            if found:
                failures.append(f"{arguments[0]} into a full disk: {found}")
    return {"figures": {"trials": trials}, "failures": failures}


_LIBC = ctypes.CDLL(None, use_errno=True)
_REMOUNT = 32


def _mount(path: Path, flags: int, options: str) -> None:
    _check(_LIBC.mount(b"soak", os.fsencode(path), b"tmpfs", flags, options.encode()))


def _check(status: int) -> None:
    if status:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def main() -> int:
    work, scale, seed = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    running.warm_up()
    figures: dict[str, Any] = {}
    failures: list[str] = []
    for task, tiny in TINY.items():
        found = _task(task, tiny, work / task, scale, random.Random(f"{seed} {task}"))
        figures[task], failures = found["figures"], failures + found["failures"]
        print(f"  full disk: {task} done", file=sys.stderr, flush=True)
    streams = _streams(work)
    figures["commands"] = streams["figures"]
    print(json.dumps({"figures": figures, "failures": failures + streams["failures"]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
