"""Compile reports as one table: a row for each operation, pass, size, dtype, architecture and
version of Triton, with the most that any of its kernels needs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

COLUMNS = (
    "operation", "pass", "size", "dtype", "sm", "Triton", "kernels", "registers", "shared, KiB",
    "stack", "failed", "chain",
)  # fmt: skip


class Row(NamedTuple):
    """What a line of the table stands for."""

    operation: str
    direction: str  # "forward" or "backward"
    size: int  # H; the block of words of the loss
    dtype: str
    arch: int
    triton: str

    @classmethod
    def of(cls, kernel: dict[str, Any], triton: str) -> Row:
        name = "step of search" if kernel.get("step") else kernel["operation"]
        if kernel["operation"] == "recurrent":
            name = {"lstm": "LSTM", "gru": "GRU"}.get(kernel["kind"], "Elman")
            name += ", layer norm" if kernel["norm"] else ""
        name += ", options" if kernel.get("options") else ""
        backward = kernel.get("backward", kernel.get("pass") in ("scores", "columns"))
        size = kernel.get("size", kernel.get("block", 0))
        direction = "backward" if backward else "forward"
        return cls(name, direction, size, kernel["dtype"], kernel["arch"], triton)


def summary(reports: Iterable[dict[str, Any]]) -> str:
    """The table, in Markdown, of reports as ``python -m kernels.compile --output`` writes them."""
    groups: dict[Row, list[dict[str, Any]]] = {}
    for report in reports:
        for kernel in report["kernels"]:
            groups.setdefault(Row.of(kernel, report["triton"]), []).append(kernel)
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    for row in sorted(groups):
        lines.append("| " + " | ".join(map(str, (*row, *_numbers(groups[row])))) + " |")
    return "\n".join(lines) + "\n"


def _numbers(kernels: list[dict[str, Any]]) -> tuple[str, ...]:
    """The largest figures of the kernels that compiled; no figures if none did."""

    def most(name: str, unit: int = 1) -> str:
        found = [kernel[name] for kernel in kernels if name in kernel]
        return str(-(-max(found) // unit)) if found else "-"

    failed = sum(bool(kernel["faults"]) for kernel in kernels)
    return (
        str(len(kernels)), most("registers"), most("shared", 1024), most("stack"), str(failed),
        most("chain"),
    )  # fmt: skip


def read(paths: Iterable[Path]) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]
