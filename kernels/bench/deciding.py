"""From measurements to the table by which ``auto`` chooses (kernels/automatic.py).

Triton is taken for an operation, kind, dtype and size where every case of that size was right and
no slower than the torch backend, forward and with the backward pass. Between two neighbouring sizes
that were measured, both must hold; outside of them nothing was measured. A result that is wrong
anywhere makes its operation, kind and dtype torch at every size: such a kernel is not trusted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from kernels.automatic import FORMAT, merged, read_entries, version

Row = dict[str, Any]
Table = dict[str, Any]
DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}  # TF32 is not a dtype's
KINDS = {"LSTM": "lstm", "GRU": "gru", "RNN": "tanh"}


class Measured(NamedTuple):
    """How ``kernels.bench`` writes an operation's rows."""

    operation: str  # as kernels.backend.resolve names it; "" is followed by the row's form
    triton: str  # contender
    torch: str
    times: tuple[str, ...]  # keys of [20th percentile, median, 80th percentile]
    size: str
    case: tuple[str, ...]  # what else tells two cases of a size apart


OPERATIONS = {
    "recurrent": Measured(
        "recurrence", "kernels", "torch backend", ("forward", "forward_backward"), "size",
        ("batch", "steps", "inputs", "ragged", "bidirectional"),
    ),
    "attention": Measured(
        "", "kernels", "torch backend", ("forward", "forward_backward"), "size",
        ("batch", "steps", "sources"),
    ),
    "decoder": Measured(
        "attention_decoder", "kernels", "torch backend", ("forward", "forward_backward"), "size",
        ("batch", "steps", "source", "fed"),
    ),
    "step": Measured(
        "prepared_step", "kernels", "operators", ("step",), "size", ("sources", "beams", "source")
    ),
    "loss": Measured(
        "linear_cross_entropy", "kernels triton", "kernels torch", ("forward_backward",), "size",
        ("rows", "words"),
    ),
}  # fmt: skip


class Verdict(NamedTuple):
    """On one size of an operation, kind and dtype."""

    right: bool
    faster: bool
    speed: float | None  # the smallest ratio torch / triton; None: not timed


def decide(measurements: list[dict[str, Any]]) -> Table:
    """The table of what ``python -m kernels.bench --output`` wrote on one card or on several.

    Raises ValueError for a file without a card: it was measured on a CPU.
    """
    entries: list[Row] = []
    for card, rows in _by_card(measurements).items():
        capability, triton, name = card
        for group, verdicts in sorted(_verdicts(rows).items()):
            operation, kind, dtype = group
            for low, high, speed in _ranges(verdicts):
                entries.append(
                    {
                        "operation": operation,
                        "kind": kind,
                        "dtype": dtype,
                        "sizes": [low, high],
                        "capability": capability,
                        "triton": triton,
                        "backend": "triton" if speed is not None else "torch",
                        "speed": speed,
                        "card": name,
                    }
                )
    return {"format": FORMAT, "entries": entries}


def save(table: Table, path: Path) -> None:
    """Writes ``table``, and keeps what the file holds on other cards and Triton versions."""
    known = read_entries(path)
    new = {(e["capability"], version(e["triton"])) for e in table["entries"]}
    kept = [e for e in known if (e["capability"], version(e["triton"])) not in new]
    whole = {"format": FORMAT, "entries": kept + table["entries"]}
    merged([whole["entries"]])  # what cannot be read is not written
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".new")
    aside.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    aside.replace(path)


def _by_card(measurements: list[dict[str, Any]]) -> dict[tuple[str, str, str], list[tuple]]:
    """(operation of the benchmark, row) of each (capability, Triton version, name of the card)."""
    found: dict[tuple[str, str, str], list[tuple]] = {}
    for measured in measurements:
        machine = measured["machine"]
        if not machine.get("gpu") or not machine.get("capability") or not machine.get("triton"):
            raise ValueError(
                f"these measurements are of {machine.get('cpu')}; expected those of a GPU, with "
                "its compute capability and Triton's version"
            )
        card = (machine["capability"], version(machine["triton"]), machine["gpu"])
        rows = found.setdefault(card, [])
        rows += [(name, row) for name in OPERATIONS for row in measured.get(name, [])]
    return found


def _verdicts(rows: list[tuple]) -> dict[tuple[str, str, str], dict[int, Verdict]]:
    """By (operation, kind, dtype), then by size."""
    cases: dict[tuple[str, str, str], dict[int, dict[tuple, dict[str, Row]]]] = {}
    for name, row in rows:
        group = _group(name, row)
        if group is None:
            continue
        shape = OPERATIONS[name]
        case = tuple(row.get(key) for key in shape.case)
        sizes = cases.setdefault(group, {}).setdefault(row[shape.size], {})
        sizes.setdefault((name, *case), {})[row["contender"]] = row
    return {
        group: {
            size: _all(_judge(OPERATIONS[case[0]], rows) for case, rows in found.items())
            for size, found in sizes.items()
        }
        for group, sizes in cases.items()
    }


def _group(name: str, row: Row) -> tuple[str, str, str] | None:
    """(operation, kind, dtype) as ``resolve`` is asked for; None: nothing ``auto`` asks for."""
    dtype = row.get("dtype") or DTYPES.get(row.get("precision", ""))
    if dtype is None or not row.get("fed", True):  # not fed: a recurrence, then attention
        return None
    operation = OPERATIONS[name].operation or f"{row['form']}_attention"
    kind = "lstm" if name in ("decoder", "step") else ""
    if name == "recurrent":
        kind = KINDS[row["kind"]] + (", one step" if row["steps"] == 1 else "")
    return operation, kind, dtype


def _judge(shape: Measured, rows: dict[str, Row]) -> Verdict:
    """On one case, from the rows of its contenders."""
    own, other = rows.get(shape.triton), rows.get(shape.torch)
    wrong = [
        row
        for name, row in rows.items()
        if name.startswith("kernels") and name != shape.torch and "WRONG" in row.get("problem", "")
    ]
    if own is None or "problem" in own or other is None or "problem" in other:
        return Verdict(not wrong, False, None)
    # The slow end of one against the fast end of the other: noise decides for torch.
    speeds = [other[key][0] / own[key][2] for key in shape.times]
    return Verdict(not wrong, min(speeds) >= 1, min(speeds))


def _all(verdicts: Iterator[Verdict]) -> Verdict:
    found = list(verdicts)
    speeds = [v.speed for v in found if v.speed is not None]
    timed = len(speeds) == len(found)
    return Verdict(
        all(v.right for v in found), all(v.faster for v in found), min(speeds) if timed else None
    )


def _ranges(verdicts: dict[int, Verdict]) -> list[tuple[int, int, float | None]]:
    """(lowest size, highest size, speed) of neighbouring sizes that agree; speed None: torch."""
    trusted = all(verdict.right for verdict in verdicts.values())
    found: list[tuple[int, int, float | None]] = []
    before = False
    for size in sorted(verdicts):
        verdict = verdicts[size]
        wins = trusted and verdict.faster
        speed = round(verdict.speed, 2) if wins and verdict.speed is not None else None
        if found and wins == before:
            low, _, known = found[-1]
            found[-1] = (low, size, None if known is None or speed is None else min(known, speed))
        else:
            found.append((size, size, speed))
        before = wins
    return found
