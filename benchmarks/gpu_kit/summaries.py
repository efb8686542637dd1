"""What the results of ``kernels.bench`` come to, as rows of the tables at the end of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu_kit.records import Record

Row = dict[str, Any]
NO_CASE = ("contender", "error", "problem", "schedules", "predicted", "predicted_recurrent")
TIMES = ("step", "forward", "forward_backward")  # [20th percentile, median, 80th percentile]


def read_bench(folder: Path) -> dict[str, list[Row]]:
    """Rows by operation from all files of results in ``folder``; a broken file counts as none."""
    found: dict[str, list[Row]] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            results = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if "machine" in results:
            found |= {name: rows for name, rows in results.items() if isinstance(rows, list)}
    return found


def ratios(bench: dict[str, list[Row]]) -> Iterator[Record]:
    """A row for each case: how many times as fast the kernels are as cuDNN and torch."""
    for operation, rows in bench.items():
        cases: dict[tuple, dict[str, Row]] = {}
        for row in rows:
            case = tuple(
                (name, value)
                for name, value in row.items()
                if name not in NO_CASE
                and not isinstance(value, (list, float))
                and not name.endswith("peak_bytes")
            )
            cases.setdefault(case, {})[row["contender"]] = row
        for case, contenders in cases.items():
            own = contenders.get("kernels", contenders.get("kernels triton"))
            if own is None:
                continue
            name = " ".join([operation, *(_short(key, value) for key, value in case)]).strip()
            for table, other in (
                ("against cuDNN", "torch.nn"),
                ("against the torch backend", _torch(contenders)),
            ):
                if other in contenders:
                    yield {"table": table, "name": name, **_ratio(own, contenders[other])}


def _torch(contenders: dict[str, Row]) -> str:
    names = ("torch backend", "operators", "kernels torch")
    return next((name for name in names if name in contenders), "")


def _ratio(own: Row, other: Row) -> Record:
    if "problem" in own:
        return {"problem": own["problem"]}
    found: Record = {}
    for key in TIMES:
        if key in own:
            found[f"{key} ours"] = own[key][1]
            if key in other:
                found[f"{key} other"] = other[key][1]
                found[f"{key} ratio"] = round(other[key][1] / max(1e-9, own[key][1]), 2)
    return found


def _short(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return key if value else ""
    return str(value) if isinstance(value, str) else f"{key[0]}{value}"
