"""Whether two runs ended with the same numbers, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CLOCK = ("seconds",)  # of records and states: what depends on the time; as all *_per_second
TENSORS = ("checkpoints/last/tensors.safetensors", "model/model.safetensors")


def differences(expected: Path, found: Path) -> list[str]:
    """What differs between two finished runs: logs, weights, optimizer, progress, test results."""
    differing = []
    if _records(expected) != _records(found):
        differing.append("log.jsonl differs")
    if _progress(expected) != _progress(found):
        differing.append("the progress in checkpoints/last differs")
    names = [*TENSORS, *sorted(path.name for path in expected.glob("*.*") if _result(path))]
    for name in names:
        if not (found / name).exists():
            differing.append(f"{name} is missing")
        elif (expected / name).read_bytes() != (found / name).read_bytes():
            differing.append(f"{name} differs")
    kept = [
        sorted(path.name for path in (run / "checkpoints").iterdir()) for run in (expected, found)
    ]
    if kept[0] != kept[1]:
        differing.append(f"checkpoints are {kept[1]}, expected {kept[0]}")
    return differing


def _kept(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def _result(path: Path) -> bool:
    """Whether a file of a run holds results of the test set."""
    return path.name.startswith(("test.", "validation."))


def _records(run: Path) -> list[dict[str, Any]]:
    lines = (run / "log.jsonl").read_text("utf-8").splitlines()
    return [_without_clock(json.loads(line)) for line in lines]


def _progress(run: Path) -> dict[str, Any]:
    state = json.loads((run / "checkpoints" / "last" / "state.json").read_text("utf-8"))
    return _without_clock(state["progress"])


def _without_clock(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in values.items()
        if key not in CLOCK and not key.endswith("_per_second")
    }
