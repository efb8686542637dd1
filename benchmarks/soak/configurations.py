"""Configurations made by hypothesis: a run, or a sentence that says what is wrong."""

from __future__ import annotations

import dataclasses
import shutil
import typing
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import hypothesis
from hypothesis import strategies as st

from benchmarks.soak import running
from benchmarks.soak.tiny_tasks import TINY, configuration, write

EXAMPLES = 200  # of each task, at scale 1
SECONDS = 90
MEMORY_MB = 4000  # more is refused by the system, and the command has to say so

# They decide how long a run takes, and nothing else is asked of them here; or where files go.
_KEPT = ("task", "output", "training.max_steps", "training.max_epochs", "training.threads")

ODD = st.sampled_from([
    None, True, -1, 0, 0.5, "", "no", "1", "auto", "\0", "é\u2028", [], [1], ["a", 2], {}, {"a": 1},
    float("nan"), float("inf"), -1e308, 10**9, 2**40, 2**63, 10**40, "x" * 300, "/dev/null", "~",
])  # fmt: skip


def run(work: Path, scale: float, seed: int, tell: Callable[[str], None]) -> dict[str, Any]:
    running.warm_up()
    figures, failures = {}, []
    for task in TINY:
        figures[task], found = _task(task, work / task, max(5, round(EXAMPLES * scale)), seed)
        failures += found
        tell(f"{task}: {figures[task]}")
    return {"figures": figures, "failures": failures}


def _task(task: str, folder: Path, examples: int, seed: int) -> tuple[dict[str, int], list[str]]:
    from seq2seq import registry

    (folder / "data").mkdir(parents=True)
    values = TINY[task].make(folder / "data")
    values["training"] = {**values["training"], "max_steps": 2, "max_epochs": 1}
    kinds = dict(keys_of(registry.load(registry.TASKS[task].config)))
    found: Counter[str] = Counter()
    failures: list[str] = []

    @hypothesis.settings(
        max_examples=examples,
        phases=[hypothesis.Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.seed(seed)
    @hypothesis.given(changes(kinds))
    def attempt(changed: dict[str, Any]) -> None:
        output = folder / "run"
        shutil.rmtree(output, ignore_errors=True)
        config = with_changes(configuration(values, output, folder / "cache"), changed)
        path = write(config, folder / "run.yaml")
        done = running.fork(
            ["train", path, "--quiet"], seconds=SECONDS, memory_mb=MEMORY_MB, cwd=folder
        )
        found[f"exit_{done.status}"] += 1
        found["peak_mb"] = max(found["peak_mb"], round(done.peak_mb))
        wrong = running.fault(done, (0, 1, 2), most_mb=MEMORY_MB + 500)
        if wrong:
            failures.append(f"{task}, {changed}: {wrong}")

    attempt()
    return dict(sorted(found.items())), failures


def keys_of(config: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, type) of every key of a configuration, but those of ``_KEPT``."""
    for name, kind in typing.get_type_hints(config).items():
        if dataclasses.is_dataclass(kind):
            yield from keys_of(typing.cast(type, kind), f"{prefix}{name}.")
        elif prefix + name not in _KEPT:
            yield prefix + name, kind


def changes(kinds: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Values for one to five keys: mostly of the right type, and mostly such as make sense."""
    pairs = st.sampled_from(sorted(kinds)).flatmap(
        lambda key: st.tuples(st.just(key), st.one_of(*[value_of(kinds[key])] * 3, ODD))
    )
    return st.lists(pairs, min_size=1, max_size=5).map(dict)


def value_of(kind: Any) -> st.SearchStrategy[Any]:
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return st.sampled_from(options)
    if origin is list:
        return st.lists(value_of(options[0]), max_size=4)
    if options:  # None, or something
        return st.one_of(*map(value_of, options))
    return {
        type(None): st.none(),
        bool: st.booleans(),
        int: st.one_of(st.integers(1, 4), st.integers(0, 64), st.integers(-(2**65), 2**65)),
        float: st.one_of(st.floats(0, 1), st.floats(0, 1), st.floats()),
        str: st.text(max_size=8),
    }[kind]


def with_changes(values: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    """A copy of a configuration with values for dotted keys."""
    copy = {key: dict(one) if isinstance(one, dict) else one for key, one in values.items()}
    for key, value in changed.items():
        *parents, leaf = key.split(".")
        inner = copy
        for parent in parents:
            inner[parent] = dict(inner.get(parent) or {})
            inner = inner[parent]
        inner[leaf] = value
    return copy
