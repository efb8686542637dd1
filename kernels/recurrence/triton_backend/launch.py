"""The recurrences on NVIDIA GPUs: the loops over ``layout.py``'s packed sequences as kernels."""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from kernels.backend import interpreted
from kernels.common.chip import chip_of
from kernels.common.launching import on_device, pointer
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
from kernels.recurrence.schedule import Problem, Schedule, groups_at_once, pick, sharing
from kernels.recurrence.step_masks import StepMasks, seen_by_product
from kernels.recurrence.triton_backend.backward import backward_kernel
from kernels.recurrence.triton_backend.forward import forward_kernel
from kernels.recurrence.triton_backend.norm_loop import backward_steps, forward_steps
from kernels.recurrence.triton_backend.pointers import Gradients, Norm, Zones

__all__ = ["backward", "forward"]


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
    launch = _Launch(schedule, packing, directions, size, weight.device)
    states = saved.states
    for first, last, grid, program in launch.ranges():
        forward_kernel[grid](
            saved.gates, weight, pointer(bias, states), states,
            states if saved.seen is None else saved.seen,
            pointer(saved.cells, states), pointer(saved.extra, states),
            pointer(launch.starts, states), pointer(launch.steps_of, states),
            pointer(masks.mask, states), pointer(masks.resets, states),
            pointer(zones.hidden, states), pointer(zones.cell, states),
            pointer(saved.recurrent_products, states), pointer(norm.gain, states),
            pointer(norm.cell_gain, states), pointer(norm.cell_shift, states),
            launch.counters, launch.status,
            *masks.rates, first, last, len(packing.sizes), batch, saved.gates.size(1),
            launch.tiles, program,
            H=size, KIND=kind, SCHEDULE=schedule.name, RAGGED=launch.starts is not None,
            MASKED=masks.mask is not None, RESETS=masks.resets is not None,
            ZONEOUT=zones.mode, SEEN=saved.seen is not None, SAVE=keep, NORM=norm.on,
            BB=schedule.sequences, BH=schedule.units, KC=schedule.inner,
            SPLITS=schedule.splits, AHEAD=schedule.ahead,
            PRECISION=input_precision(weight), MAX_SPIN=debug_spins(), **launch.options,
        )  # fmt: skip
    launch.check()


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
    launch = _Launch(schedule, packing, directions, size, weight.device)
    states = saved.states
    for first, last, grid, program in launch.ranges_back():
        backward_kernel[grid](
            saved.gates, weight, states, pointer(saved.cells, states),
            pointer(saved.extra, states), grads.arriving, grads.hidden,
            pointer(grads.cell, states), grads.sums, pointer(grads.candidate, states),
            pointer(saved.recurrent_products, states), pointer(norm.gain, states),
            pointer(norm.cell_gain, states), pointer(norm.cell_shift, states),
            pointer(grads.products, states), pointer(grads.cell_gain, states),
            pointer(grads.cell_shift, states),
            pointer(launch.starts, states), pointer(launch.steps_of, states),
            pointer(masks.mask, states), pointer(masks.resets, states),
            pointer(zones.hidden, states), pointer(zones.cell, states),
            launch.counters, launch.status,
            *masks.rates, first, last, len(packing.sizes),
            int(launch.finishes(last)), batch, saved.gates.size(1),
            launch.tiles, program,
            H=size, KIND=kind, SCHEDULE=schedule.name, RAGGED=launch.starts is not None,
            MASKED=masks.mask is not None, RESETS=masks.resets is not None,
            ZONEOUT=zones.mode, NORM=norm.on,
            BB=schedule.sequences, BH=schedule.units, KC=schedule.inner,
            SPLITS=schedule.splits, AHEAD=schedule.ahead,
            PRECISION=input_precision(weight), MAX_SPIN=debug_spins(), **launch.options,
        )  # fmt: skip
    launch.check()


def _pick(problem: Problem, device: torch.device, asked: str) -> Schedule:
    """What the rule says, but for the interpreter, which runs one program after the other: one that
    waits for another would wait for ever."""
    chip = chip_of(device)
    schedule = pick(problem, chip, asked)
    programs = sharing(schedule, problem.size)
    waits = schedule.name == "persistent" and 1 < programs <= chip.processors
    if not (waits and interpreted()) or debug_spins():  # debugging bounds the wait
        return schedule
    if not asked:
        return pick(problem, chip, "step")
    raise RuntimeError(
        f"schedule 'persistent': found {programs} programs that wait for each other, which "
        "Triton's interpreter runs one after the other; expected one; use 'step', or leave the "
        "choice to the rule"
    )


class _Launch:
    """Grids, step ranges, counters and rows of a schedule's launches."""

    def __init__(
        self,
        schedule: Schedule,
        packing: Packing,
        directions: int,
        size: int,
        device: torch.device,
    ) -> None:
        self.schedule, self.sizes = schedule, packing.sizes
        self.starts = self.steps_of = None
        if packing.falling is not None:
            sizes = torch.tensor([0, *packing.sizes])
            self.starts = sizes.cumsum(0).to(device, torch.int32)  # (T'+1,)
            self.steps_of = packing.falling.to(device, torch.int32)  # (B,)
        self.sharing = sharing(schedule, size)  # P
        if schedule.name == "resident" and (self.sharing > 1 or schedule.inner < size):
            raise RuntimeError(
                f"schedule 'resident': found tiles of {schedule.units} units, in blocks of "
                f"{schedule.inner}; expected both to hold all {size} (or use 'persistent')"
            )
        self.tiles = triton.cdiv(packing.last.numel(), schedule.sequences)
        groups = directions * self.tiles
        self.counters = torch.zeros(groups, dtype=torch.int32, device=device)
        self.status = torch.zeros(1, dtype=torch.int32, device=device)
        self.at_once = groups  # groups in a launch
        self.options: dict[str, Any] = {"num_warps": schedule.warps}
        self.options["num_stages"] = 3 if schedule.name == "step" else 1
        if schedule.name == "persistent":
            chip = chip_of(device)
            self.at_once = groups_at_once(schedule, size, chip)
            if self.at_once == 0:
                raise RuntimeError(
                    f"schedule 'persistent': {self.sharing} programs of {schedule.units} units "
                    f"cannot be resident on {chip.processors} processors at once; use larger "
                    "tiles, or 'step'"
                )
            if not interpreted():
                self.options["launch_cooperative_grid"] = True

    def ranges(self) -> list[tuple[int, int, tuple[int], int]]:
        """(first step, last step exclusive, grid, first program) of each launch. Groups that cannot
        all be resident follow one another."""
        steps = len(self.sizes)
        if self.schedule.name != "step":
            found = []
            for first in range(0, self.counters.numel(), self.at_once):
                groups = min(self.at_once, self.counters.numel() - first)
                found.append((0, steps, (groups * self.sharing,), first * self.sharing))
            return found
        grid = (self.counters.numel() * self.sharing,)
        return [(t, t + 1, grid, 0) for t in range(steps)]

    def ranges_back(self) -> list[tuple[int, int, tuple[int], int]]:
        """The same for the backward pass: falling, and ending with the initial state."""
        if self.schedule.name != "step":
            return self.ranges()
        steps = self.ranges()
        return [*reversed(steps), (0, 0, *steps[0][2:])]

    def finishes(self, last: int) -> bool:
        return self.schedule.name != "step" or last == 0

    def check(self) -> None:
        """In debug mode: whether a barrier gave up waiting."""
        if debug_spins() and int(self.status):
            raise RuntimeError(
                f"schedule {self.schedule.name!r}: a barrier was not reached by all programs "
                f"within {debug_spins()} reads; the results are wrong. Please report the sizes."
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
