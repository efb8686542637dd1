"""The loops of ``norm_steps.py``'s kernels over the steps."""

from __future__ import annotations

from typing import Any

import torch
import triton

from kernels.common.launching import Fixed, Kernel, Pointers
from kernels.common.precision import Precision
from kernels.recurrence.layout import Arguments, Saved, candidate_bias
from kernels.recurrence.packing import Packing
from kernels.recurrence.schedule import Schedule
from kernels.recurrence.step_masks import StepMasks
from kernels.recurrence.triton_backend.norm_steps import norm_backward_kernel, norm_forward_kernel
from kernels.recurrence.triton_backend.pointers import (
    Gradients,
    Norm,
    NormBackwardPointers,
    NormForwardPointers,
    Zones,
)

FORWARD = Kernel(norm_forward_kernel, NormForwardPointers)
BACKWARD = Kernel(norm_backward_kernel, NormBackwardPointers)


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
    assert saved.gates is not None  # a forward pass begins with the input sums there
    states, batch, rows = saved.states, arguments.inputs.size(0), saved.gates.size(1)
    weight = arguments.weight_hh.to(dtypes.product).transpose(1, 2)  # (D, H, G*H)
    seen = states if saved.seen is None else saved.seen
    products = saved.recurrent_products
    if products is None:  # of one step at a time
        products = saved.gates.new_empty(directions, batch, sums)
    _check(schedule, size)
    norm, zones = Norm(arguments), Zones(kind, masks)
    assert norm.gain is not None  # what these loops are for
    bias = candidate_bias(arguments, dtypes).contiguous() if kind == "gru" else None
    pointers = NormForwardPointers(
        sums=saved.gates,
        products=products,
        gain=norm.gain,
        cell_gain=norm.cell_gain,
        cell_shift=norm.cell_shift,
        candidate_bias=bias,
        states=states,
        seen=seen,
        cells=saved.cells,
        extra=saved.extra,
        hidden_mask=masks.mask,
        resets=masks.resets,
        zone_hidden=zones.hidden,
        zone_cell=zones.cell,
    )
    constants = _constants(kind, size, masks, zones, schedule)
    constants |= {"SEEN": saved.seen is not None, "SAVE": keep}
    launch = FORWARD.bind(
        Pointers(pointers, states),
        {
            "zone_hidden_rate": masks.rates[0],
            "zone_cell_rate": masks.rates[1],
            "batch": batch,
            "rows": rows,
            "product_rows": products.size(1),
        },
        Fixed(constants, {"num_warps": schedule.warps}),
    )
    start = before = 0
    for n, following in zip(packing.sizes, [*packing.sizes[1:], 0], strict=True):
        at = start if keep else 0
        torch.bmm(seen[:, before : before + n], weight, out=products[:, at : at + n])
        tiles = triton.cdiv(n, schedule.sequences)
        launch(
            (directions * tiles,), start=start, before=before, product_start=at, size=n,
            next_size=following, tiles=tiles,
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
    assert saved.gates is not None and saved.recurrent_products is not None  # kept, or made again
    states, batch, rows = saved.states, arguments.inputs.size(0), saved.gates.size(1)
    weight = arguments.weight_hh.to(dtypes.product).contiguous()  # (D, G*H, H)
    sent = weight.new_empty(directions, batch, size)
    _check(schedule, size)
    norm, zones = Norm(arguments), Zones(kind, masks)
    assert norm.gain is not None and grads.products is not None  # what these loops are for
    d_products = grads.products
    pointers = NormBackwardPointers(
        gates=saved.gates,
        products=saved.recurrent_products,
        gain=norm.gain,
        cell_gain=norm.cell_gain,
        cell_shift=norm.cell_shift,
        states=states,
        cells=saved.cells,
        extra=saved.extra,
        d_outputs=grads.arriving,
        sent=sent,
        d_hidden=grads.hidden,
        d_cell=grads.cell,
        d_sums=grads.sums,
        d_products=d_products,
        d_candidate=grads.candidate,
        d_cell_gain=grads.cell_gain,
        d_cell_shift=grads.cell_shift,
        hidden_mask=masks.mask,
        resets=masks.resets,
        zone_hidden=zones.hidden,
        zone_cell=zones.cell,
    )
    bound = BACKWARD.bind(
        Pointers(pointers, states),
        {
            "zone_hidden_rate": masks.rates[0],
            "zone_cell_rate": masks.rates[1],
            "batch": batch,
            "rows": rows,
        },
        Fixed(_constants(kind, size, masks, zones, schedule), {"num_warps": schedule.warps}),
    )

    def launch(start: int, before: int, n: int, later: int, tiles: int) -> None:
        bound(
            (directions * tiles,), start=start, before=before, size=n, later_size=later,
            work=int(n > 0), tiles=tiles,
        )  # fmt: skip

    start, later = rows, 0
    for t in reversed(range(len(packing.sizes))):
        n = packing.sizes[t]
        start -= n
        before = batch + start - packing.sizes[t - 1] if t else 0
        launch(start, before, n, later, triton.cdiv(n, schedule.sequences))
        torch.bmm(d_products[:, start : start + n], weight, out=sent[:, :n])
        later = n
    launch(0, 0, 0, later, triton.cdiv(batch, schedule.sequences))


def _constants(
    kind: str, size: int, masks: StepMasks, zones: Zones, schedule: Schedule
) -> dict[str, Any]:
    return {
        "H": size,
        "KIND": kind,
        "MASKED": masks.mask is not None,
        "RESETS": masks.resets is not None,
        "ZONEOUT": zones.mode,
        "BB": schedule.sequences,
        "BH": schedule.units,
    }


def _check(schedule: Schedule, size: int) -> None:
    if schedule.units < size:
        raise RuntimeError(
            f"schedule 'step': found tiles of {schedule.units} units with layer normalisation; "
            f"expected them to hold all {size}"
        )
