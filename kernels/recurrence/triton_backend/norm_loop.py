"""The loops of ``norm_steps.py``'s kernels over the steps."""

from __future__ import annotations

import torch
import triton

from kernels.common.launching import pointer
from kernels.common.precision import Precision
from kernels.recurrence.layout import Arguments, Saved, candidate_bias
from kernels.recurrence.packing import Packing
from kernels.recurrence.schedule import Schedule
from kernels.recurrence.step_masks import StepMasks
from kernels.recurrence.triton_backend.norm_steps import norm_backward_kernel, norm_forward_kernel
from kernels.recurrence.triton_backend.pointers import Gradients, Norm, Zones


def forward_steps(
    kind: str,
    packing: Packing,
    dtypes: Precision,
    arguments: Arguments,
    saved: Saved,
    masks: StepMasks,
    schedule: Schedule,
    keep: bool,
) -> None:
    """Two launches a step: the product, and what follows it."""
    directions, sums, size = arguments.weight_hh.shape
    states, batch, rows = saved.states, arguments.inputs.size(0), saved.gates.size(1)
    weight = arguments.weight_hh.to(dtypes.product).transpose(1, 2)  # (D, H, G*H)
    seen = states if saved.seen is None else saved.seen
    products = saved.recurrent_products
    if products is None:  # of one step at a time
        products = saved.gates.new_empty(directions, batch, sums)
    _check(schedule, size)
    norm, zones = Norm(arguments), Zones(kind, masks)
    bias = candidate_bias(arguments, dtypes).contiguous() if kind == "gru" else None
    start = before = 0
    for n, following in zip(packing.sizes, [*packing.sizes[1:], 0], strict=True):
        at = start if keep else 0
        torch.bmm(seen[:, before : before + n], weight, out=products[:, at : at + n])
        tiles = triton.cdiv(n, schedule.sequences)
        norm_forward_kernel[(directions * tiles,)](
            saved.gates, products, norm.gain, pointer(norm.cell_gain, states),
            pointer(norm.cell_shift, states), pointer(bias, states), states, seen,
            pointer(saved.cells, states), pointer(saved.extra, states),
            pointer(masks.mask, states), pointer(masks.resets, states),
            pointer(zones.hidden, states), pointer(zones.cell, states), *masks.rates,
            start, before, at, n, following, batch, rows, products.size(1), tiles,
            H=size, KIND=kind, MASKED=masks.mask is not None, RESETS=masks.resets is not None,
            ZONEOUT=zones.mode, SEEN=saved.seen is not None, SAVE=keep,
            BB=schedule.sequences, BH=schedule.units, num_warps=schedule.warps,
        )  # fmt: skip
        start, before = start + n, batch + start


def backward_steps(
    kind: str,
    packing: Packing,
    dtypes: Precision,
    arguments: Arguments,
    saved: Saved,
    masks: StepMasks,
    schedule: Schedule,
    grads: Gradients,
) -> None:
    """Two launches a step, and one that completes the gradient of the initial state. In half
    precision the product's result is rounded to the product dtype before it is added."""
    directions, _, size = arguments.weight_hh.shape
    states, batch, rows = saved.states, arguments.inputs.size(0), saved.gates.size(1)
    weight = arguments.weight_hh.to(dtypes.product).contiguous()  # (D, G*H, H)
    sent = weight.new_empty(directions, batch, size)
    _check(schedule, size)
    norm, zones = Norm(arguments), Zones(kind, masks)

    def launch(start: int, before: int, n: int, later: int, tiles: int) -> None:
        norm_backward_kernel[(directions * tiles,)](
            saved.gates, saved.recurrent_products, norm.gain, pointer(norm.cell_gain, states),
            pointer(norm.cell_shift, states), states, pointer(saved.cells, states),
            pointer(saved.extra, states), grads.arriving, sent, grads.hidden,
            pointer(grads.cell, states), grads.sums, grads.products,
            pointer(grads.candidate, states), pointer(grads.cell_gain, states),
            pointer(grads.cell_shift, states), pointer(masks.mask, states),
            pointer(masks.resets, states), pointer(zones.hidden, states),
            pointer(zones.cell, states), *masks.rates, start, before, n, later, int(n > 0),
            batch, rows, tiles,
            H=size, KIND=kind, MASKED=masks.mask is not None, RESETS=masks.resets is not None,
            ZONEOUT=zones.mode, BB=schedule.sequences, BH=schedule.units,
            num_warps=schedule.warps,
        )  # fmt: skip

    start, later = rows, 0
    for t in reversed(range(len(packing.sizes))):
        n = packing.sizes[t]
        start -= n
        before = batch + start - packing.sizes[t - 1] if t else 0
        launch(start, before, n, later, triton.cdiv(n, schedule.sequences))
        torch.bmm(grads.products[:, start : start + n], weight, out=sent[:, :n])
        later = n
    launch(0, 0, 0, later, triton.cdiv(batch, schedule.sequences))


def _check(schedule: Schedule, size: int) -> None:
    if schedule.units < size:
        raise RuntimeError(
            f"schedule 'step': found tiles of {schedule.units} units with layer normalisation; "
            f"expected them to hold all {size}"
        )
