"""The recurrences on NVIDIA GPUs: the loops over ``layout.py``'s packed sequences as kernels."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import triton
from torch import Tensor

from kernels.backend import interpreted
from kernels.precision import Precision
from kernels.recurrence.layout import (
    Arguments,
    Options,
    Results,
    Saved,
    SumGradients,
    before,
    collect,
    initial,
    input_sums,
    ordered,
    pack_gradient,
    results,
    running,
)
from kernels.recurrence.packing import Packing
from kernels.recurrence.schedule import (
    Problem,
    Schedule,
    chip_of,
    groups_at_once,
    pick,
    sharing,
)
from kernels.recurrence.triton_backend.backward import backward_kernel
from kernels.recurrence.triton_backend.forward import forward_kernel
from kernels.recurrence.triton_backend.settings import debug_spins, input_precision

__all__ = ["backward", "forward"]


def forward(
    kind: str,
    packing: Packing,
    found: Precision,
    arguments: Arguments,
    options: Options,
    schedule: str,
    keep: bool,
) -> Results:
    """The sequence; without ``keep``, what only the backward pass needs is left out."""
    gates = input_sums(kind, packing, found, arguments)  # (D, N, G*H), gates in the end
    directions, steps, _ = gates.shape
    size = arguments.weight_hh.size(2)
    states = initial(packing, found, arguments, arguments.hidden, found.output)
    cells = extra = None
    if kind == "lstm":
        cells = initial(packing, found, arguments, arguments.cell, found.state)
    if keep and kind == "gru":
        extra = gates.new_empty(directions, steps, size)
    extras = _Extras(packing, found, arguments, options, steps)
    seen = _seen(packing, found, arguments, extras, states)
    saved = Saved(gates, states, cells, extra, seen)
    if steps:
        with _on(gates.device):
            _forward_loop(kind, packing, found, arguments, saved, extras, schedule, keep)
    return results(packing, found, arguments.inputs, saved)


def backward(
    kind: str,
    packing: Packing,
    found: Precision,
    arguments: Arguments,
    options: Options,
    schedule: str,
    saved: Saved,
    grads: tuple[Tensor | None, ...],
    wanted: tuple[bool, ...],
) -> tuple[Tensor | None, ...]:
    """Gradients of every argument, None where not wanted."""
    grad_outputs, grad_hidden, grad_cell = grads
    gates, states = saved.gates, saved.states
    batch, size = arguments.inputs.size(0), arguments.weight_hh.size(2)
    extras = _Extras(packing, found, arguments, options, gates.size(1))
    arriving = pack_gradient(packing, found, grad_outputs, states)
    if arriving is None:
        arriving = states.new_zeros(gates.size(0), gates.size(1), size)
    d_hidden = running(packing, found, grad_hidden, states, batch)
    d_cell = running(packing, found, grad_cell, states, batch) if kind == "lstm" else None
    d_sums = torch.empty_like(gates)
    d_candidate = None
    if kind == "gru":
        d_candidate = gates.new_empty(gates.size(0), gates.size(1), size)
    if gates.size(1):
        gradients = (arriving, d_hidden, d_cell, d_sums, d_candidate)
        with _on(gates.device):
            _backward_loop(kind, packing, found, arguments, saved, extras, schedule, gradients)
    recurrent = sums = _with_total(d_sums, found)
    if kind == "gru":
        sums = _with_total(torch.cat([d_sums[..., : 2 * size], d_candidate], -1), found)
    read = before(packing, states if saved.seen is None else saved.seen)  # (D, N, H)
    grad_mask = None
    if wanted[7]:
        grad_mask = _mask_gradient(packing, found, arguments, saved, extras, d_sums)
    of_states = (d_hidden, d_cell, grad_mask)
    return collect(packing, found, arguments, wanted, read, sums, recurrent, of_states)


class _Extras:
    """What the kernels read besides the buffers of the loop, packed."""

    def __init__(
        self,
        packing: Packing,
        found: Precision,
        arguments: Arguments,
        options: Options,
        steps: int,
    ) -> None:
        device, directions = arguments.inputs.device, arguments.weight_hh.size(0)
        mask = ordered(packing, found, arguments.hidden_mask)  # (D, B, H)
        self.mask = None if mask is None else mask.contiguous()
        self.resets = self.zone_hidden = self.zone_cell = None
        if options.resets is not None:
            flat = options.resets.reshape(-1).to(torch.uint8)
            self.resets = torch.stack([flat.index_select(0, rows) for rows in packing.rows])
        self.rates, self.zoneout = options.zoneout, int(any(options.zoneout))
        if options.zone_hidden is not None or options.zone_cell is not None:
            self.zoneout = 2
            shape = (directions, steps, arguments.weight_hh.size(2))
            masks = (options.zone_hidden, options.zone_cell)
            self.zone_hidden, self.zone_cell = (
                torch.zeros(shape, dtype=torch.uint8, device=device)
                if mask is None
                else _packed_masks(packing, mask)
                for mask in masks
            )
        self.starts = self.steps_of = None
        if packing.falling is not None:
            sizes = torch.tensor([0, *packing.sizes])
            self.starts = sizes.cumsum(0).to(device, torch.int32)  # (T'+1,)
            self.steps_of = packing.falling.to(device, torch.int32)  # (B,)


def _packed_masks(packing: Packing, mask: Tensor) -> Tensor:
    """(D, B, T, H) bool -> (D, N, H) uint8"""
    flat = mask.flatten(1, 2).to(torch.uint8)  # (D, B*T, H)
    return torch.stack(
        [m.index_select(0, rows) for m, rows in zip(flat, packing.rows, strict=True)]
    )


def _seen(
    packing: Packing, found: Precision, arguments: Arguments, extras: _Extras, states: Tensor
) -> Tensor | None:
    """Room for the states as the recurrent product reads them, beginning with the initial ones;
    None where those are ``states`` themselves."""
    if extras.mask is None and extras.resets is None and found.product == found.output:
        return None
    batch = arguments.inputs.size(0)
    first = states[:, :batch].to(found.state)
    if extras.mask is not None:
        first = first * extras.mask
    if extras.resets is not None and packing.sizes:
        n = packing.sizes[0]
        first = first.clone()
        first[:, :n] *= 1 - extras.resets[:, :n, None].to(found.state)
    seen = torch.empty_like(states, dtype=found.product)
    seen[:, :batch] = first
    return seen


def _forward_loop(
    kind: str,
    packing: Packing,
    found: Precision,
    arguments: Arguments,
    saved: Saved,
    extras: _Extras,
    asked: str,
    keep: bool,
) -> None:
    directions, _, size = arguments.weight_hh.shape
    batch = arguments.inputs.size(0)
    weight = arguments.weight_hh.to(found.product).contiguous()
    problem = Problem(
        kind, batch, size, directions, weight.element_size(), False, len(packing.sizes)
    )
    schedule = pick(problem, chip_of(weight.device), asked)
    bias = saved.states.new_zeros(directions, size, dtype=torch.float32)
    if kind == "gru" and arguments.bias_hh is not None:
        bias.copy_(arguments.bias_hh[:, 2 * size :])
    launch = _Launch(schedule, packing, directions, size, weight.device)
    states = saved.states
    for first, last, grid, program in launch.ranges():
        forward_kernel[grid](
            saved.gates, weight, bias, states,
            states if saved.seen is None else saved.seen,
            _or(saved.cells, states), _or(saved.extra, states),
            _or(extras.starts, states), _or(extras.steps_of, states), _or(extras.mask, states),
            _or(extras.resets, states), _or(extras.zone_hidden, states),
            _or(extras.zone_cell, states), launch.counters, launch.status,
            *extras.rates, first, last, len(packing.sizes), batch, saved.gates.size(1),
            launch.tiles, program,
            H=size, KIND=kind, SCHEDULE=schedule.name, RAGGED=extras.starts is not None,
            MASKED=extras.mask is not None, RESETS=extras.resets is not None,
            ZONEOUT=extras.zoneout, SEEN=saved.seen is not None, SAVE=keep,
            BB=schedule.sequences, BH=schedule.units, KC=schedule.inner,
            PRECISION=input_precision(weight), MAX_SPIN=debug_spins(), **launch.options,
        )  # fmt: skip
    launch.check()


def _backward_loop(
    kind: str,
    packing: Packing,
    found: Precision,
    arguments: Arguments,
    saved: Saved,
    extras: _Extras,
    asked: str,
    grads: tuple[Tensor | None, ...],
) -> None:
    arriving, d_hidden, d_cell, d_sums, d_candidate = grads
    directions, _, size = arguments.weight_hh.shape
    batch = arguments.inputs.size(0)
    weight = arguments.weight_hh.to(found.product).contiguous()
    problem = Problem(
        kind, batch, size, directions, weight.element_size(), True, len(packing.sizes)
    )
    schedule = pick(problem, chip_of(weight.device), asked)
    launch = _Launch(schedule, packing, directions, size, weight.device)
    states = saved.states
    for first, last, grid, program in launch.ranges_back():
        backward_kernel[grid](
            saved.gates, weight, states, _or(saved.cells, states), _or(saved.extra, states),
            arriving, d_hidden, _or(d_cell, d_hidden), d_sums, _or(d_candidate, d_sums),
            _or(extras.starts, states), _or(extras.steps_of, states), _or(extras.mask, states),
            _or(extras.resets, states), _or(extras.zone_hidden, states),
            _or(extras.zone_cell, states), launch.counters, launch.status,
            *extras.rates, first, last, len(packing.sizes),
            int(launch.finishes(last)), batch, saved.gates.size(1),
            launch.tiles, program,
            H=size, KIND=kind, SCHEDULE=schedule.name, RAGGED=extras.starts is not None,
            MASKED=extras.mask is not None, RESETS=extras.resets is not None,
            ZONEOUT=extras.zoneout, BB=schedule.sequences, BH=schedule.units, KC=schedule.inner,
            PRECISION=input_precision(weight), MAX_SPIN=debug_spins(), **launch.options,
        )  # fmt: skip
    launch.check()


class _Launch:
    """Grids, step ranges and counters of a schedule's launches."""

    def __init__(
        self,
        schedule: Schedule,
        packing: Packing,
        directions: int,
        size: int,
        device: torch.device,
    ) -> None:
        self.schedule, self.sizes = schedule, packing.sizes
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


def _on(device: torch.device) -> AbstractContextManager[None]:
    """Triton launches on the current device, which need not be the tensors'."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _or(tensor: Tensor | None, other: Tensor) -> Tensor:
    """A kernel's pointer must point somewhere; flags keep it from being followed."""
    return other if tensor is None else tensor


def _with_total(d_sums: Tensor, found: Precision) -> SumGradients:
    return SumGradients(d_sums, d_sums.sum(1, dtype=found.state))


def _mask_gradient(
    packing: Packing,
    found: Precision,
    arguments: Arguments,
    saved: Saved,
    extras: _Extras,
    d_sums: Tensor,
) -> Tensor:
    """Sum over steps of (d_sums W_hh) * h: one product over all steps, (D, B, H)."""
    into = torch.bmm(d_sums, arguments.weight_hh.to(found.product)).to(found.state)  # (D, N, H)
    into *= before(packing, saved.states).to(found.state)
    if extras.resets is not None:
        into *= 1 - extras.resets[:, :, None].to(found.state)
    total = torch.zeros_like(extras.mask)
    for part, n in zip(into.split(packing.sizes, 1), packing.sizes, strict=True):
        total[:, :n] += part
    return total
