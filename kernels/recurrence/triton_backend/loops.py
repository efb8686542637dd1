"""The loops of the kernels over the steps, by the schedule that is cheapest or asked for."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch

from kernels.common.chip import chip_of
from kernels.common.cuda_graphs import replay
from kernels.common.launching import Fixed, Kernel, Pointers
from kernels.common.precision import Precision
from kernels.common.settings import debug_spins, graphs_wanted, input_precision
from kernels.recurrence.layout import Arguments, Saved, candidate_bias
from kernels.recurrence.packing import Packing
from kernels.recurrence.schedule import Problem, Schedule, pick, sharing
from kernels.recurrence.step_masks import StepMasks
from kernels.recurrence.triton_backend.backward import backward_kernel
from kernels.recurrence.triton_backend.forward import forward_kernel
from kernels.recurrence.triton_backend.grids import Grids
from kernels.recurrence.triton_backend.norm_loop import backward_steps, forward_steps
from kernels.recurrence.triton_backend.pointers import (
    BackwardPointers,
    ForwardPointers,
    Gradients,
    Norm,
    Zones,
)

FORWARD = Kernel(forward_kernel, ForwardPointers)
BACKWARD = Kernel(backward_kernel, BackwardPointers)
_WRITTEN = frozenset(  # by the kernels, in either pass
    [
        "sums", "states", "seen", "cells", "extra", "products", "d_hidden", "d_cell", "d_sums",
        "d_candidate", "d_products", "d_cell_gain", "d_cell_shift",
    ]
)  # fmt: skip
_cheapest = lru_cache(maxsize=1024)(pick)


def forward_loop(
    kind: str,
    packing: Packing,
    dtypes: Precision,
    arguments: Arguments,
    saved: Saved,
    masks: StepMasks,
    asked: str,
    keep: bool,
) -> None:
    directions, _, size = arguments.weight_hh.shape
    batch = arguments.inputs.size(0)
    weight = arguments.weight_hh.to(dtypes.product).contiguous()
    norm, zones = Norm(arguments), Zones(kind, masks)
    problem = Problem(
        kind, batch, size, directions, weight.element_size(), False, len(packing.sizes), norm.on,
        graphs_wanted(),
    )  # fmt: skip
    schedule = _pick(problem, weight.device, asked)
    if norm.on and schedule.name == "step":
        forward_steps(kind, packing, dtypes, arguments, saved, masks, schedule, keep)
        return
    bias = candidate_bias(arguments, dtypes).contiguous() if kind == "gru" else None
    grids = Grids(schedule, packing, directions, size, weight.device)
    states = saved.states
    assert saved.gates is not None  # a forward pass begins with the input sums there
    pointers = ForwardPointers(
        sums=saved.gates,
        weight=weight,
        candidate_bias=bias,
        states=states,
        seen=states if saved.seen is None else saved.seen,
        cells=saved.cells,
        extra=saved.extra,
        starts=grids.starts,
        steps_of=grids.steps_of,
        hidden_mask=masks.mask,
        resets=masks.resets,
        zone_hidden=zones.hidden,
        zone_cell=zones.cell,
        products=saved.recurrent_products,
        gain=norm.gain,
        cell_gain=norm.cell_gain,
        cell_shift=norm.cell_shift,
        counters=grids.counters,
        status=grids.status,
    )
    numbers = _numbers(packing, masks, grids, batch, saved.gates.size(1))
    fixed = _fixed(
        kind, size, schedule, _flags(masks, norm, zones, grids), input_precision(weight),
        grids.spins, saved.seen is not None, keep,
    )  # fmt: skip

    def loop(own: ForwardPointers) -> None:
        launch = FORWARD.bind(Pointers(own, own.states), numbers, fixed)
        for first, last, grid, program in grids.ranges():
            launch(grid, first_step=first, last_step=last, first_program=program)

    if schedule.name == "step":
        replay(("recurrence", fixed, *numbers.values()), pointers, _WRITTEN, loop)
    else:
        loop(pointers)
    grids.check()


def backward_loop(
    kind: str,
    packing: Packing,
    dtypes: Precision,
    arguments: Arguments,
    saved: Saved,
    masks: StepMasks,
    asked: str,
    grads: Gradients,
) -> None:
    directions, _, size = arguments.weight_hh.shape
    batch = arguments.inputs.size(0)
    weight = arguments.weight_hh.to(dtypes.product).contiguous()
    norm, zones = Norm(arguments), Zones(kind, masks)
    problem = Problem(
        kind, batch, size, directions, weight.element_size(), True, len(packing.sizes), norm.on,
        graphs_wanted(),
    )  # fmt: skip
    schedule = _pick(problem, weight.device, asked)
    if norm.on and schedule.name == "step":
        backward_steps(kind, packing, dtypes, arguments, saved, masks, schedule, grads)
        return
    grids = Grids(schedule, packing, directions, size, weight.device)
    states = saved.states
    assert saved.gates is not None  # kept, or made again
    pointers = BackwardPointers(
        gates=saved.gates,
        weight=weight,
        states=states,
        cells=saved.cells,
        extra=saved.extra,
        d_outputs=grads.arriving,
        d_hidden=grads.hidden,
        d_cell=grads.cell,
        d_sums=grads.sums,
        d_candidate=grads.candidate,
        products=saved.recurrent_products,
        gain=norm.gain,
        cell_gain=norm.cell_gain,
        cell_shift=norm.cell_shift,
        d_products=grads.products,
        d_cell_gain=grads.cell_gain,
        d_cell_shift=grads.cell_shift,
        starts=grids.starts,
        steps_of=grids.steps_of,
        hidden_mask=masks.mask,
        resets=masks.resets,
        zone_hidden=zones.hidden,
        zone_cell=zones.cell,
        counters=grids.counters,
        status=grids.status,
    )
    numbers = _numbers(packing, masks, grids, batch, saved.gates.size(1))
    fixed = _fixed(
        kind, size, schedule, _flags(masks, norm, zones, grids), input_precision(weight),
        grids.spins,
    )  # fmt: skip

    def loop(own: BackwardPointers) -> None:
        launch = BACKWARD.bind(Pointers(own, own.states), numbers, fixed)
        for first, last, grid, program in grids.ranges_back():
            finish = int(grids.finishes(last))
            launch(grid, first_step=first, last_step=last, first_program=program, finish=finish)

    if schedule.name == "step":
        replay(("recurrence backward", fixed, *numbers.values()), pointers, _WRITTEN, loop)
    else:
        loop(pointers)
    grids.check()


def _numbers(
    packing: Packing, masks: StepMasks, grids: Grids, batch: int, rows: int
) -> dict[str, int | float]:
    """The kernels' numbers that stay the same over a loop."""
    return {
        "zone_hidden_rate": masks.rates[0],
        "zone_cell_rate": masks.rates[1],
        "steps": len(packing.sizes),
        "batch": batch,
        "rows": rows,
        "tiles": grids.tiles,
    }


class _Flags(NamedTuple):
    """What of a call chooses a kernel of its own."""

    ragged: bool
    masked: bool
    resets: bool
    zoneout: int  # 0 none, 1 the expectation, 2 masks
    norm: bool


def _flags(masks: StepMasks, norm: Norm, zones: Zones, grids: Grids) -> _Flags:
    return _Flags(
        grids.starts is not None, masks.mask is not None, masks.resets is not None, zones.mode,
        norm.on,
    )  # fmt: skip


@lru_cache(maxsize=1024)
def _fixed(
    kind: str,
    size: int,
    schedule: Schedule,
    flags: _Flags,
    precision: str,
    spins: int,
    seen: bool | None = None,
    keep: bool | None = None,
) -> Fixed:
    """``seen`` and ``keep``: of the forward kernel alone."""
    constants = {
        "H": size,
        "KIND": kind,
        "SCHEDULE": schedule.name,
        "RAGGED": flags.ragged,
        "MASKED": flags.masked,
        "RESETS": flags.resets,
        "ZONEOUT": flags.zoneout,
        "NORM": flags.norm,
        "BB": schedule.sequences,
        "BH": schedule.units,
        "KC": schedule.inner,
        "SPLITS": schedule.splits,
        "AHEAD": schedule.ahead,
        "PRECISION": precision,
        "MAX_SPIN": spins,
    }
    if keep is not None:
        constants |= {"SEEN": seen, "SAVE": keep}
    options = {"num_warps": schedule.warps, "num_stages": 3 if schedule.name == "step" else 1}
    if schedule.name == "persistent" and FORWARD.direct:
        options["launch_cooperative_grid"] = True
    return Fixed(constants, options)


def _pick(problem: Problem, device: torch.device, asked: str) -> Schedule:
    """What the rule says, but for the interpreter, which runs one program after the other: one that
    waits for another would wait for ever."""
    chip = chip_of(device)
    schedule = _cheapest(problem, chip, asked)
    if FORWARD.direct:  # no interpreter
        return schedule
    programs = sharing(schedule, problem.size)
    waits = schedule.name == "persistent" and 1 < programs <= chip.processors
    if not waits or debug_spins():  # debugging bounds the wait
        return schedule
    if not asked:
        return _cheapest(problem, chip, "step")
    raise RuntimeError(
        f"schedule 'persistent': found {programs} programs that wait for each other, which "
        "Triton's interpreter runs one after the other; expected one; use 'step', or leave the "
        "choice to the rule"
    )
