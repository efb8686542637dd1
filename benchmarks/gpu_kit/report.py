"""The tables at the end of a run; the one that matters most comes last, where a cut output ends."""

from __future__ import annotations

from typing import Any

from benchmarks.gpu_kit.records import Record

WIDEST = 10  # columns
# By run: its tables, the most important one last. What is not named here comes first.
ORDER = {
    "first": (
        "launches",
        "calls",
        "barriers",
        "us a step",
        "failed tests",
        "tests",
        "beside cuDNN",
        "smoke",
    ),
    "bench": ("split K", "auto", "against the torch backend", "against cuDNN"),
    "train": ("failed tests", "tests", "winner", "training"),
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
    if len(columns) > WIDEST:  # rows that have little in common
        return "\n".join(f"  {_words(row)}" for row in rows)
    lines = [columns, *([_text(row.get(name)) for name in columns] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    printed = []
    for row, line in zip([{}, *rows], lines, strict=True):
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        printed.append(("  " + "  ".join(cells) + f"  {row.get('problem', '')}").rstrip())
    return "\n".join(printed)


def _words(row: Record) -> str:
    name, *others = (_text(v) if k == "name" else f"{k} {_text(v)}" for k, v in row.items())
    return f"{name}: {', '.join(others)}"


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if 1e4 <= abs(value) < 1e7 else f"{value:.4g}"
    if isinstance(value, list):
        return " ".join(_text(item) for item in value)
    return str(value)
