"""The table of ``auto`` that follows from this run: ``decisions AUTO.json BENCH.json...``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.gpu_kit.records import say
from kernels.bench.deciding import decide

SHOWN = ("operation", "kind", "dtype", "sizes", "backend", "speed")


def results(path: Path) -> dict[str, Any] | None:
    """What a benchmark wrote, or None and a row that says why: it was stopped while it wrote."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
        problem = "no results"
    except (OSError, ValueError) as failure:
        problem = str(failure)
    say("auto", name=path.name, problem=f"left out, cannot be read: {problem[:100]}")
    return None


def main(output: Path, measured: list[Path]) -> None:
    found = [results(path) for path in measured if path.exists()]
    there = [one for one in found if one is not None]
    table = decide(there)
    output.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    for entry in table["entries"]:
        say("auto", **{name: entry[name] for name in SHOWN})
    if not table["entries"]:
        say("auto", name="nothing", files=len(there))


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
