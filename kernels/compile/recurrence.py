"""The recurrences' kernels, as the rule of ``recurrence/schedule.py`` picks them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any, NamedTuple

from kernels.bench.recurrent_gpu import SHAPES
from kernels.common.chip import CHIPS
from kernels.compile.kernel import DTYPES, Kernel
from kernels.recurrence.schedule import Problem, Schedule, by_rows, pick, price, shared_bytes

KINDS = ("lstm", "gru", "tanh")
SIZES = (64, 128, 168, 256, 512, 768, 1024, 1536, 2048)
BATCHES = (1, 16, 64, 128, 160, 512)
ODD = (5, 2, 130)  # (B, T, H): a row of states is no multiple of 16 bytes
SHAPE_SETS: dict[str, list[tuple[int, int, int]]] = {  # (B, T, H)
    "quick": [(64, 2, 128), (64, 2, 512)],
    "bench": list(SHAPES),
    "all": [
        *SHAPES,
        *((batch, t, size) for size in SIZES for batch in BATCHES for t in (1, 2)),
    ],
}


class Configuration(NamedTuple):
    """What a kernel is compiled for."""

    problem: Problem
    schedule: Schedule
    dtype: str
    options: bool = False  # ragged, masked, with resets and zoneout masks
    aligned: bool = True  # tensors begin at multiples of 16 bytes

    @property
    def key(self) -> tuple[Any, ...]:
        """All but the batch, which is not a constant of the kernel: it only chose the schedule."""
        return (self.problem._replace(batch=0, directions=1, steps=0), *self[1:])


def kernels(arch: int, shapes: str, dtypes: Iterable[str], options: bool) -> list[Kernel]:
    """Every kernel that the rule picks for the shapes of ``SHAPE_SETS[shapes]``, each once, and a
    few for tensors that are not aligned."""
    found = configurations(arch, SHAPE_SETS[shapes], dtypes, options)
    return [kernel(one, arch) for one in (*found, *unaligned(arch, dtypes, options))]


def unaligned(arch: int, dtypes: Iterable[str], options: bool) -> list[Configuration]:
    """An LSTM whose states after the first step begin at no multiple of 16 bytes."""
    batch, steps, size = ODD
    found = []
    for dtype, backward in product(dtypes, (False, True)):
        problem = Problem("lstm", batch, size, 1, DTYPES[dtype], backward, steps)
        found.append(Configuration(problem, pick(problem, CHIPS[arch]), dtype, options, False))
    return found


def configurations(
    arch: int, shapes: Iterable[tuple[int, int, int]], dtypes: Iterable[str], options: bool
) -> list[Configuration]:
    """What the rule picks for (batch, steps, size), each kernel once."""
    found: dict[tuple[Any, ...], Configuration] = {}
    for batch, steps, size in shapes:
        for kind in KINDS:
            for dtype in dtypes:
                for directions, backward, norm in product((1, 2), (False, True), (False, True)):
                    problem = Problem(
                        kind, batch, size, directions, DTYPES[dtype], backward, steps, norm
                    )
                    schedule = pick(problem, CHIPS[arch])
                    one = Configuration(problem, schedule, dtype, options)
                    found.setdefault(one.key, one)
    return list(found.values())


def kernel(configuration: Configuration, arch: int) -> Kernel:
    from kernels.recurrence.triton_backend.backward import backward_kernel
    from kernels.recurrence.triton_backend.forward import forward_kernel
    from kernels.recurrence.triton_backend.norm_steps import (
        norm_backward_kernel,
        norm_forward_kernel,
    )

    problem, schedule, dtype, options, aligned = configuration
    function = backward_kernel if problem.backward else forward_kernel
    if by_rows(schedule, problem):
        function = norm_backward_kernel if problem.backward else norm_forward_kernel
    constants = _constants(configuration)
    return Kernel(
        label=(
            f"{'backward' if problem.backward else 'forward':8} {problem.kind:4} "
            f"{problem.size:4} {dtype:5} {'norm' if problem.norm else '':4} {schedule.name:10} "
            f"{schedule.sequences:>3}x{schedule.units:<4} {schedule.inner:<4}"
            f"{'' if aligned else ' unaligned'}"
        ),
        function=function,
        constants=constants,
        types={name: _type(name, dtype) for name in function.arg_names if name not in constants},
        warps=schedule.warps,
        stages=3 if schedule.name == "step" and not problem.norm else 1,
        cooperative=schedule.name == "persistent",
        shared=None if schedule.name == "step" else shared_bytes(schedule, problem),
        price=price(schedule, problem, CHIPS[arch]),
        facts={**problem._asdict(), "schedule": schedule._asdict(), "options": options}
        | {"dtype": dtype, "aligned": aligned},
        aligned=aligned,
    )


def _constants(configuration: Configuration) -> dict[str, Any]:
    problem, schedule, _, options, _ = configuration
    constants: dict[str, Any] = {
        "H": problem.size,
        "KIND": problem.kind,
        "MASKED": options,
        "RESETS": options,
        "ZONEOUT": 2 if options else 0,
        "BB": schedule.sequences,
        "BH": schedule.units,
    }
    if not by_rows(schedule, problem):
        constants |= {
            "SCHEDULE": schedule.name,
            "RAGGED": options,
            "NORM": problem.norm,
            "KC": schedule.inner,
            "SPLITS": schedule.splits,
            "AHEAD": schedule.ahead,
            "PRECISION": "ieee",
            "MAX_SPIN": 0,
        }
    if not problem.backward:
        constants |= {"SEEN": options, "SAVE": True}
    return constants


FLOAT32 = (
    "candidate_bias", "cells", "d_hidden", "d_cell", "hidden_mask", "d_outputs", "d_cell_gain",
    "d_cell_shift",
)  # fmt: skip
PRODUCT = (
    "sums", "gates", "weight", "states", "seen", "extra", "d_sums", "d_candidate", "products",
    "d_products", "gain", "cell_gain", "cell_shift", "sent",
)  # fmt: skip


def _type(name: str, dtype: str) -> str:
    if name in FLOAT32:
        return "*fp32"
    if name in ("starts", "steps_of", "counters", "status"):
        return "*i32"
    if name in ("resets", "zone_hidden", "zone_cell"):
        return "*u8"
    if name in ("zone_hidden_rate", "zone_cell_rate"):
        return "fp32"
    return f"*{dtype}" if name in PRODUCT else "i32"
