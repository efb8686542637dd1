"""The inner side of the recurrent product shared out over the warps (split K), and not.

The rule's own persistent schedule at H 512, beside the same one with a single sum for each element.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import torch

from benchmarks.gpu_kit.parts.card import Case, attempt_all
from benchmarks.gpu_kit.parts.steps import BATCH, FEATURES, LONG, SHORT, contender, times
from benchmarks.gpu_kit.records import Record, say
from kernels.common.chip import chip_of
from kernels.recurrence.schedule import Problem, Schedule, pick, use_schedule

SIZE = 512


def chosen(kind: str, backward: bool) -> Any:
    """The rule's persistent schedule of one pass."""
    problem = Problem(kind.lower(), BATCH, SIZE, 1, 2, backward, LONG)
    return pick(problem, chip_of(torch.device("cuda")), "persistent")


def slope(kind: str, schedule: Any, rounds: int) -> Record:
    """Microseconds a step, forward and backward, with ``schedule`` in both passes."""
    found = []
    for steps in (SHORT, LONG):
        run = contender(False, kind, (BATCH, steps, SIZE), FEATURES, torch.bfloat16)
        with use_schedule(schedule):
            found.append(times(*run, rounds))
    forward, both = (1e3 * (b - a) / (LONG - SHORT) for a, b in zip(*found, strict=True))
    return {
        "forward_us": round(forward, 3),
        "backward_us": round(both - forward, 3),
        "splits": schedule.splits,
        "schedule": " ".join(map(str, schedule)),
    }


def main(rounds: int) -> None:
    if "splits" not in Schedule._fields:
        say("split K", name="left out", why="schedules have no field 'splits'")
        return
    cases: list[Case] = []
    for kind in ("LSTM", "GRU"):
        for backward in (False, True):
            own = chosen(kind, backward)
            for splits in dict.fromkeys((own.splits, 1)):
                name = f"{kind} {SIZE}, {'backward' if backward else 'forward'}'s, {splits} part(s)"
                schedule = own._replace(splits=splits)
                cases.append(("split K", name, partial(slope, kind, schedule, rounds)))
    attempt_all(cases)


if __name__ == "__main__":
    main(int(sys.argv[1]))
