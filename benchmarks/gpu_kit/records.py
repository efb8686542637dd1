"""How the parts of a run report: one JSON object a line, flushed at once."""

from __future__ import annotations

import json
import math
import time
import traceback
from collections.abc import Callable
from typing import Any

Record = dict[str, Any]


def say(table: str, **values: Any) -> None:
    """Prints a row of ``table`` as one line of JSON."""
    print(json.dumps({"table": table, **values}, default=str), flush=True)


def read(line: str) -> Record | None:
    """The record on a line of output, None where it holds none."""
    if not line.startswith('{"table"'):
        return None
    try:
        found = json.loads(line)
    except ValueError:  # cut short
        return None
    return found if isinstance(found, dict) else None


def attempt(table: str, name: str, measure: Callable[[], Record]) -> bool:
    """Reports what ``measure`` finds, or why it failed, and how long it took; whether it succeeded.

    A failure is a row like any other, so that the measurements after it are still made.
    """
    start = time.perf_counter()
    try:
        found = measure()
    except Exception as problem:
        traceback.print_exc()  # for the log; the row has its last line
        lines = str(problem).splitlines() or [""]
        found = {"problem": f"{type(problem).__name__}: {lines[0][:300]}"}
    spent = {"seconds": round(time.perf_counter() - start, 2)}
    say(table, **({"name": name} | found | spent))
    return "problem" not in found


def checked(error: float, bound: float) -> Record:
    """A row on correctness: an error that is not a number is a failure, too."""
    found: Record = {"error": error if math.isfinite(error) else str(error), "bound": bound}
    return found if error <= bound else found | {"problem": "WRONG"}
