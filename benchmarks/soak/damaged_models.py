"""Model folders with a damaged file: a sentence and an exit status, never a traceback, a hang, or
more than 2 GB of memory."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.soak import running
from benchmarks.soak.tiny_tasks import TINY, configuration, write

FOLDERS = 500  # at scale 1, for all tasks together
SECONDS = 60

HUGE = [
    10**3, 10**6, 10**9, 10**12, 2**31, 2**63, 10**30, -1, 0, -(2**63), 1e308, 0.5,
    math.inf, math.nan, "", "9" * 5000, "\0", None, True, [], {}, [10**9] * 9,
]  # fmt: skip


def run(work: Path, scale: float, seed: int, tell: Callable[[str], None]) -> dict[str, Any]:
    running.warm_up()
    models = {task: _model(task, work) for task in TINY}
    count = max(2, round(FOLDERS * scale / len(models)))
    figures, failures = {}, []
    for task in models:
        chance = random.Random(f"{seed} {task}")
        found: Counter[str] = Counter()
        for number in range(count):
            folder = work / "damaged"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(models[task], folder)
            what = _damage(folder, models, task, chance)
            done = _use(task, folder, work)
            found[f"exit_{done.status}"] += 1
            found["peak_mb"] = max(found["peak_mb"], round(done.peak_mb))
            if wrong := running.fault(done, (0, 1, 2)):
                failures.append(f"{task} {number}, {what}: {wrong}")
        figures[task] = dict(sorted(found.items()))
        tell(f"{task}: {figures[task]}")
    return {"figures": figures, "failures": failures}


def _model(task: str, work: Path) -> Path:
    folder = work / task
    (folder / "data").mkdir(parents=True)
    values = configuration(TINY[task].make(folder / "data"), folder / "run", folder / "cache")
    done = running.fork(["train", write(values, folder / "run.yaml"), "--quiet"])
    if done.status:
        raise RuntimeError(f"{task}: no model to damage: {done.err}")
    return folder / "run" / "model"


def _use(task: str, model: Path, work: Path) -> running.Done:
    tiny = TINY[task]
    arguments = [one.format(model=model, data=work / task / "data") for one in tiny.use]
    return running.fork(arguments, stdin=tiny.stdin, seconds=SECONDS, memory_mb=6000)


def _damage(folder: Path, models: dict[str, Path], task: str, chance: random.Random) -> str:
    """Damage a file of the model in one of many ways; says how."""
    names = sorted(path.name for path in folder.iterdir() if path.suffix != ".md")
    path = folder / chance.choice([*names, "config.json", "config.json"])
    if path.name == "config.json" and chance.random() < 0.7:
        return _change_number(path, chance)
    kinds = (_truncate, _empty, _flip, _zero, _remove, _replace_by_folder, _double, _swap, _nest)
    kind = chance.choice(kinds)
    if kind is _swap:
        other = chance.choice([one for one in models if one != task])
        return _swap(path, models[other], chance)
    return kind(path, chance)


def _change_number(path: Path, chance: random.Random) -> str:
    """A value of config.json becomes huge, or of another type; another format_version."""
    values = json.loads(path.read_text("utf-8"))
    inner, key = chance.choice(list(_leaves(values)))
    inner[key] = chance.choice(HUGE)
    if chance.random() < 0.1:
        inner, key = values, "format_version"
        values[key] = chance.choice((0, 2, 99, "1", None))
    path.write_text(json.dumps(values), encoding="utf-8")
    return f"config.json: {key} = {inner[key]!r:.40}"


def _leaves(values: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    for key, value in values.items():
        yield values, key
        if isinstance(value, dict):
            yield from _leaves(value)


def _truncate(path: Path, chance: random.Random) -> str:
    size = chance.randrange(path.stat().st_size)
    os.truncate(path, size)
    return f"{path.name} cut to {size} bytes"


def _empty(path: Path, chance: random.Random) -> str:
    path.write_bytes(b"")
    return f"{path.name} emptied"


def _flip(path: Path, chance: random.Random) -> str:
    content = bytearray(path.read_bytes())
    # the head says how large everything is
    reach = chance.choice((8, 200, len(content)))
    for _ in range(chance.choice((1, 3, 50))):
        content[chance.randrange(min(reach, len(content)))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    _without_digest(path, chance)
    return f"{path.name}: bits flipped in the first {reach} bytes"


def _zero(path: Path, chance: random.Random) -> str:
    content = bytearray(path.read_bytes())
    at = chance.randrange(len(content))
    size = min(chance.randint(1, 512), len(content) - at)
    content[at : at + size] = bytes(size)
    path.write_bytes(content)
    _without_digest(path, chance)
    return f"{path.name}: zeros from byte {at}"


def _remove(path: Path, chance: random.Random) -> str:
    path.unlink()
    return f"{path.name} removed"


def _replace_by_folder(path: Path, chance: random.Random) -> str:
    path.unlink()
    path.mkdir()
    return f"{path.name} is a folder"


def _double(path: Path, chance: random.Random) -> str:
    path.write_bytes(path.read_bytes() * 2)
    return f"{path.name} twice"


def _swap(path: Path, other: Path, chance: random.Random) -> str:
    """The file of another task's model, or another file of that model."""
    source = chance.choice(sorted(one for one in other.iterdir() if one.is_file()))
    same = other / path.name
    source = same if same.exists() and chance.random() < 0.7 else source
    shutil.copy(source, path)
    return f"{path.name} is {source.name} of another model"


def _nest(path: Path, chance: random.Random) -> str:
    """Nested deeply, where a file is JSON."""
    deep = chance.choice((100, 100_000))
    path.write_bytes(chance.choice((b"[", b'{"a":')) * deep)
    return f"{path.name}: {deep} brackets"


def _without_digest(path: Path, chance: random.Random) -> None:
    """Half of the time the digest goes, so that what comes after its check is tried, too."""
    config = path.with_name("config.json")
    if path.name == config.name or chance.random() < 0.5:
        return
    values = json.loads(config.read_text("utf-8"))
    values.pop("weights_sha256", None)
    config.write_text(json.dumps(values), encoding="utf-8")
