"""Over which grids and steps a schedule launches its kernel."""

from __future__ import annotations

import torch

from kernels.common.chip import chip_of
from kernels.common.settings import debug_spins
from kernels.recurrence.packing import Packing
from kernels.recurrence.schedule import Schedule, groups_at_once, sharing

Range = tuple[int, int, tuple[int], int]  # first step, last exclusive, grid, first program


class Grids:
    """Grids, step ranges, counters and rows of a schedule's launches."""

    def __init__(
        self,
        schedule: Schedule,
        packing: Packing,
        directions: int,
        size: int,
        device: torch.device,
    ) -> None:
        self.schedule, self.steps = schedule, len(packing.sizes)
        self.starts, self.steps_of = packing.starts, packing.steps_of
        self.sharing = sharing(schedule, size)  # P
        if schedule.name == "resident" and (self.sharing > 1 or schedule.inner < size):
            raise RuntimeError(
                f"schedule 'resident': found tiles of {schedule.units} units, in blocks of "
                f"{schedule.inner}; expected both to hold all {size} (or use 'persistent')"
            )
        self.tiles = -(-packing.batch // schedule.sequences)
        self.groups = self.at_once = directions * self.tiles  # and how many in a launch
        self.spins = debug_spins()
        self.counters = self.status = None  # (groups,) and (1,) int32, zero
        if schedule.name == "persistent":
            chip = chip_of(device)
            self.at_once = groups_at_once(schedule, size, chip)
            if self.at_once == 0:
                raise RuntimeError(
                    f"schedule 'persistent': {self.sharing} programs of {schedule.units} units "
                    f"cannot be resident on {chip.processors} processors at once; use larger "
                    "tiles, or 'step'"
                )
            aligned = -(-self.groups // 4) * 4  # both begin at a multiple of 16 bytes
            zeros = torch.zeros(aligned + 1, dtype=torch.int32, device=device)
            self.counters, self.status = zeros, zeros.narrow(0, aligned, 1)

    def ranges(self) -> list[Range]:
        """Groups that cannot all be resident follow one another."""
        if self.schedule.name != "step":
            found = []
            for first in range(0, self.groups, self.at_once):
                groups = min(self.at_once, self.groups - first)
                found.append((0, self.steps, (groups * self.sharing,), first * self.sharing))
            return found
        grid = (self.groups * self.sharing,)
        return [(t, t + 1, grid, 0) for t in range(self.steps)]

    def ranges_back(self) -> list[Range]:
        """The same for the backward pass: falling, and ending with the initial state."""
        if self.schedule.name != "step":
            return self.ranges()
        steps = self.ranges()
        return [*reversed(steps), (0, 0, *steps[0][2:])]

    def finishes(self, last: int) -> bool:
        """Whether a backward launch completes the gradient of the initial state."""
        return self.schedule.name != "step" or last == 0

    def check(self) -> None:
        """In debug mode: whether a barrier gave up waiting."""
        if self.spins and self.status is not None and int(self.status):
            raise RuntimeError(
                f"schedule {self.schedule.name!r}: a barrier was not reached by all programs "
                f"within {self.spins} reads; the results are wrong. Please report the sizes."
            )
