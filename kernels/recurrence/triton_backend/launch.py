"""The recurrences on NVIDIA GPUs: the loops over ``layout.py``'s packed sequences as kernels."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from kernels.common.chip import chip_of
from kernels.common.launching import Kernel, Pointers, on_device
from kernels.common.precision import Precision
from kernels.common.settings import debug_spins, input_precision
from kernels.recurrence import normalisation
from kernels.recurrence.layout import (
    Arguments,
    Options,
    Results,
    Saved,
    SumGradients,
    before,
    candidate_bias,
    collect,
    initial,
    input_sums,
    pack_gradient,
    results,
    running,
)
from kernels.recurrence.packing import Packing
from kernels.recurrence.recompute import recompute_gates
from kernels.recurrence.schedule import Problem, Schedule, pick, sharing
from kernels.recurrence.step_masks import StepMasks, seen_by_product
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

__all__ = ["backward", "forward"]

FORWARD = Kernel(forward_kernel, ForwardPointers)
BACKWARD = Kernel(backward_kernel, BackwardPointers)
_cheapest = lru_cache(maxsize=1024)(pick)


def forward(
    kind: str,
    packing: Packing,
    dtypes: Precision,
    arguments: Arguments,
    options: Options,
    schedule: str,
    keep: bool,
) -> Results:
    """The sequence; without ``keep``, what only the backward pass needs is left out."""
    gates, input_products = input_sums(kind, packing, dtypes, arguments)  # (D, N, G*H)
    directions, steps, _ = gates.shape
    size = arguments.weight_hh.size(2)
    states = initial(packing, dtypes, arguments, arguments.hidden, dtypes.output)
    cells = extra = None
    if kind == "lstm":
        cells = initial(packing, dtypes, arguments, arguments.cell, dtypes.state)
    if keep and kind == "gru":
        extra = gates.new_empty(directions, steps, size)
    products = torch.empty_like(gates) if keep and input_products is not None else None
    masks = StepMasks(packing, dtypes, arguments, options)
    seen = _seen(packing, dtypes, arguments, masks, states)
    saved = Saved(gates, states, cells, extra, seen, input_products, products)
    if steps:
        with on_device(gates.device):
            _forward_loop(kind, packing, dtypes, arguments, saved, masks, schedule, keep)
    return results(packing, dtypes, arguments.inputs, saved)


def backward(
    kind: str,
    packing: Packing,
    dtypes: Precision,
    arguments: Arguments,
    options: Options,
    schedule: str,
    saved: Saved,
    grads: tuple[Tensor | None, ...],
    wanted: tuple[bool, ...],
) -> tuple[Tensor | None, ...]:
    """Gradients of every argument, None where not wanted."""
    batch, size = arguments.inputs.size(0), arguments.weight_hh.size(2)
    masks = StepMasks(packing, dtypes, arguments, options)
    read = (
        before(packing, saved.seen)
        if saved.seen is not None
        else seen_by_product(packing, dtypes, masks, saved.states)
    )  # (D, N, H)
    if saved.gates is None:  # recompute
        saved = recompute_gates(kind, packing, dtypes, arguments, saved, read)
    loop = _gradients(kind, packing, dtypes, saved, grads, batch)
    if saved.gates.size(1):
        with on_device(saved.gates.device):
            _backward_loop(kind, packing, dtypes, arguments, saved, masks, schedule, loop)
    recurrent = sums = _with_total(loop.sums, dtypes)
    if kind == "gru":
        sums = _with_total(torch.cat([loop.sums[..., : 2 * size], loop.candidate], -1), dtypes)
    gains: tuple[Tensor | None, ...] = (None, None, None)
    if loop.products is not None:
        recurrent = SumGradients(loop.products, recurrent.total)
        gains = _gains(dtypes, arguments, saved, loop)
    grad_mask = None
    if wanted[7]:
        grad_mask = _mask_gradient(packing, dtypes, arguments, saved, masks, recurrent.all)
    return collect(
        packing, dtypes, arguments, wanted, read, saved.input_products, sums, recurrent,
        (loop.hidden, loop.cell, grad_mask), gains,
    )  # fmt: skip


def _gradients(
    kind: str,
    packing: Packing,
    dtypes: Precision,
    saved: Saved,
    grads: tuple[Tensor | None, ...],
    batch: int,
) -> Gradients:
    grad_outputs, grad_hidden, grad_cell = grads
    gates, states = saved.gates, saved.states
    units = (gates.size(0), gates.size(1), states.size(2))
    arriving = pack_gradient(packing, dtypes, grad_outputs, states)
    d_hidden = running(packing, dtypes, grad_hidden, states, batch)
    lstm, norm = kind == "lstm", saved.recurrent_products is not None
    return Gradients(
        arriving=states.new_zeros(units) if arriving is None else arriving,
        hidden=d_hidden,
        cell=running(packing, dtypes, grad_cell, states, batch) if lstm else None,
        sums=torch.empty_like(gates),
        candidate=gates.new_empty(units) if kind == "gru" else None,
        products=torch.empty_like(gates) if norm else None,
        cell_gain=torch.zeros_like(d_hidden) if norm and lstm else None,
        cell_shift=torch.zeros_like(d_hidden) if norm and lstm else None,
    )


def _gains(
    dtypes: Precision, arguments: Arguments, saved: Saved, loop: Gradients
) -> tuple[Tensor | None, ...]:
    """Gradients of recurrent_gain, cell_gain and cell_shift."""
    _, gain = normalisation.backward(
        saved.recurrent_products, loop.sums, arguments.recurrent_gain, dtypes.state, only_gain=True
    )
    of_cell = (loop.cell_gain, loop.cell_shift)
    return gain, *(None if part is None else part.sum(1) for part in of_cell)


def _seen(
    packing: Packing, dtypes: Precision, arguments: Arguments, masks: StepMasks, states: Tensor
) -> Tensor | None:
    """Room for the states as the recurrent product reads them, beginning with the initial ones;
    None where those are ``states`` themselves."""
    if masks.mask is None and masks.resets is None and dtypes.product == dtypes.output:
        return None
    batch = arguments.inputs.size(0)
    first = states[:, :batch].to(dtypes.state)
    if masks.mask is not None:
        first = first * masks.mask
    if masks.resets is not None and packing.sizes:
        n = packing.sizes[0]
        first = first.clone()
        first[:, :n] *= 1 - masks.resets[:, :n, None].to(dtypes.state)
    seen = torch.empty_like(states, dtype=dtypes.product)
    seen[:, :batch] = first
    return seen


def _forward_loop(
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
        kind, batch, size, directions, weight.element_size(), False, len(packing.sizes), norm.on
    )
    schedule = _pick(problem, weight.device, asked)
    if norm.on and schedule.name == "step":
        forward_steps(kind, packing, dtypes, arguments, saved, masks, schedule, keep)
        return
    bias = candidate_bias(arguments, dtypes).contiguous() if kind == "gru" else None
    grids = Grids(schedule, packing, directions, size, weight.device)
    states = saved.states
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
    constants = _constants(kind, size, masks, norm, zones, schedule, grids, weight)
    launch = FORWARD.bind(
        Pointers(pointers, states),
        _numbers(packing, masks, grids, batch, saved.gates.size(1)),
        {**constants, "SEEN": saved.seen is not None, "SAVE": keep},
        grids.options,
    )
    for first, last, grid, program in grids.ranges():
        launch(grid, first_step=first, last_step=last, first_program=program)
    grids.check()


def _backward_loop(
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
        kind, batch, size, directions, weight.element_size(), True, len(packing.sizes), norm.on
    )
    schedule = _pick(problem, weight.device, asked)
    if norm.on and schedule.name == "step":
        backward_steps(kind, packing, dtypes, arguments, saved, masks, schedule, grads)
        return
    grids = Grids(schedule, packing, directions, size, weight.device)
    states = saved.states
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
    launch = BACKWARD.bind(
        Pointers(pointers, states),
        _numbers(packing, masks, grids, batch, saved.gates.size(1)),
        _constants(kind, size, masks, norm, zones, schedule, grids, weight),
        grids.options,
    )
    for first, last, grid, program in grids.ranges_back():
        finish = int(grids.finishes(last))
        launch(grid, first_step=first, last_step=last, first_program=program, finish=finish)
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


def _constants(
    kind: str,
    size: int,
    masks: StepMasks,
    norm: Norm,
    zones: Zones,
    schedule: Schedule,
    grids: Grids,
    weight: Tensor,
) -> dict[str, Any]:
    """The constants that both kernels have."""
    return {
        "H": size,
        "KIND": kind,
        "SCHEDULE": schedule.name,
        "RAGGED": grids.starts is not None,
        "MASKED": masks.mask is not None,
        "RESETS": masks.resets is not None,
        "ZONEOUT": zones.mode,
        "NORM": norm.on,
        "BB": schedule.sequences,
        "BH": schedule.units,
        "KC": schedule.inner,
        "PRECISION": input_precision(weight),
        "MAX_SPIN": grids.spins,
    }


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


def _with_total(d_sums: Tensor, dtypes: Precision) -> SumGradients:
    return SumGradients(d_sums, d_sums.sum(1, dtype=dtypes.state))


def _mask_gradient(
    packing: Packing,
    dtypes: Precision,
    arguments: Arguments,
    saved: Saved,
    masks: StepMasks,
    d_sums: Tensor,
) -> Tensor:
    """Sum over steps of (d_sums W_hh) * h: one product over all steps, (D, B, H)."""
    into = torch.bmm(d_sums, arguments.weight_hh.to(dtypes.product)).to(dtypes.state)  # (D, N, H)
    into *= before(packing, saved.states).to(dtypes.state)
    if masks.resets is not None:
        into *= 1 - masks.resets[:, :, None].to(dtypes.state)
    total = torch.zeros_like(masks.mask)
    for part, n in zip(into.split(packing.sizes, 1), packing.sizes, strict=True):
        total[:, :n] += part
    return total
