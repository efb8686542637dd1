"""The results of a soak: one JSON file, and a table of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SHOWN = 20  # failures of a part that are kept


def add(path: Path, part: str, result: dict[str, Any]) -> None:
    """Put the result of a part into the file, in place of the one before."""
    results = json.loads(path.read_text("utf-8")) if path.exists() else {}
    failures = result["failures"]
    results[part] = {**result, "failures": failures[:SHOWN], "failed": len(failures)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def table(results: dict[str, Any]) -> str:
    """A row for each part: what was done, what went wrong, how long it took."""
    rows = ["| part | scale | done | failures | CPU minutes |", "| --- | --- | --- | --- | --- |"]
    for part, result in results.items():
        figures = "; ".join(
            f"{name}: {_told(values)}" for name, values in result["figures"].items()
        )
        minutes = result["cpu_seconds"] / 60
        rows.append(
            f"| {part} | {result['scale']:g} | {figures} | {result['failed']} | {minutes:.1f} |"
        )
    return "\n".join(rows)


def _told(values: Any) -> str:
    if isinstance(values, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_told(one)}" for key, one in values.items())
    return f"{values:,}" if isinstance(values, int) else str(values)
