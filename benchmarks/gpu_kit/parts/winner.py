"""The case that beat cuDNN by most, measured once more: ``winner RECURRENT.json ROUNDS``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_kit.parts.decisions import results as read
from benchmarks.gpu_kit.records import Record, attempt
from kernels.bench.recurrent_gpu import Case, measure

DEFAULT = Case("LSTM", 64, 64, 512, "bf16", "whole")


def best(rows: list[dict[str, Any]]) -> Case:
    """The case with the largest ratio torch.nn / kernels, forward + backward."""
    times: dict[Case, dict[str, float]] = {}
    for row in rows:
        if "forward_backward" in row:
            case = Case(*(row[name] for name in Case._fields))
            times.setdefault(case, {})[row["contender"]] = row["forward_backward"][1]
    both = {
        c: t["torch.nn"] / t["kernels"]
        for c, t in times.items()
        if {"torch.nn", "kernels"} <= set(t)
    }
    return max(both, key=both.get) if both else DEFAULT


def again(case: Case, rounds: int) -> Record:
    rows = measure(case, rounds, torch.device("cuda"), few=True)
    found: Record = {"case": list(case)}
    for row in rows:
        found[row["contender"]] = row.get("forward_backward", row.get("problem"))
    return found


def main(earlier: Path, rounds: int) -> None:
    results = read(earlier) if earlier.exists() else None
    rows = (results or {}).get("recurrent", [])
    attempt("winner", "once more", lambda: again(best(rows), rounds))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
