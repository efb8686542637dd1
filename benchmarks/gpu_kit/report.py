"""The tables at the end of a run; the one that matters most comes last, where a cut output ends."""

from __future__ import annotations

from typing import Any

from benchmarks.gpu_kit.records import Record

# By run: its tables, the most important one last. What is not named here comes first.
ORDER = {
    "first": ("launches", "calls", "barriers", "us a step", "tests", "beside cuDNN", "smoke"),
    "bench": ("split K", "auto takes triton", "against the torch backend", "against cuDNN"),
    "train": ("tests", "winner", "training"),
}


def tables(run: str, records: list[Record], endings: list[Record]) -> str:
    """All rows, grouped by table: columns as wide as their widest value."""
    grouped: dict[str, list[Record]] = {}
    for record in records:
        row = {name: value for name, value in record.items() if name not in ("table", "seconds")}
        grouped.setdefault(record["table"], []).append(row)
    last = [name for name in ORDER[run] if name in grouped]
    names = [name for name in grouped if name not in last]
    parts = [("parts of this run", endings), *((name, grouped[name]) for name in names + last)]
    return "\n".join(f"\n{name}\n{_table(rows)}" for name, rows in parts)


def failures(records: list[Record], endings: list[Record]) -> int:
    """How many rows report a problem, and parts that did not end as they should."""
    bad = sum("problem" in record for record in records)
    return bad + sum(not row["outcome"].startswith(("done", "left out")) for row in endings)


def _table(rows: list[Record]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row if name != "problem"))
    lines = [columns, *([_text(row.get(name)) for name in columns] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    printed = []
    for row, line in zip([{}, *rows], lines, strict=True):
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        printed.append(("  " + "  ".join(cells) + f"  {row.get('problem', '')}").rstrip())
    return "\n".join(printed)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    if isinstance(value, list):
        return " ".join(_text(item) for item in value)
    return str(value)
