"""The recurrences on NVIDIA GPUs: the loops over ``layout.py``'s packed sequences as kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.common.launching import on_device
from kernels.common.precision import Precision
from kernels.recurrence import normalisation, torch_backend
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
    pack_gradient,
    results,
    running,
)
from kernels.recurrence.packing import Packing
from kernels.recurrence.recompute import recompute_gates
from kernels.recurrence.step_masks import StepMasks, seen_by_product
from kernels.recurrence.triton_backend import projected
from kernels.recurrence.triton_backend.loops import backward_loop, forward_loop
from kernels.recurrence.triton_backend.pointers import Gradients

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
    if arguments.weight_hr is not None:
        projected.check_schedule(schedule)
        return torch_backend.forward(
            kind, packing, dtypes, arguments, options, schedule, keep, projected
        )
    gates, input_products = input_sums(kind, packing, dtypes, arguments)  # (D, N, G*H)
    directions, steps, _ = gates.shape
    size = arguments.weight_hh.size(2)
    states = initial(packing, dtypes, arguments, arguments.hidden, size, dtypes.output)
    cells = extra = None
    if kind == "lstm":
        cells = initial(packing, dtypes, arguments, arguments.cell, size, dtypes.state)
    if keep and kind == "gru":
        extra = gates.new_empty(directions, steps, size)
    products = torch.empty_like(gates) if keep and input_products is not None else None
    masks = StepMasks(packing, dtypes, arguments, options)
    seen = _seen(packing, dtypes, arguments, masks, states)
    saved = Saved(gates, states, cells, extra, seen, input_products, products)
    if steps:
        with on_device(gates.device):
            forward_loop(kind, packing, dtypes, arguments, saved, masks, schedule, keep)
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
    if arguments.weight_hr is not None:
        return torch_backend.backward(
            kind, packing, dtypes, arguments, options, schedule, saved, grads, wanted, projected
        )
    batch, size = arguments.inputs.size(0), arguments.weight_hh.size(2)
    masks = StepMasks(packing, dtypes, arguments, options)
    read = (
        before(packing, saved.seen)
        if saved.seen is not None
        else seen_by_product(packing, dtypes, masks, saved.states)
    )  # (D, N, H)
    if saved.gates is None:  # recompute
        saved = recompute_gates(kind, packing, dtypes, arguments, saved, read)
    assert saved.gates is not None  # kept, or made again
    loop = _gradients(kind, packing, dtypes, saved, grads, batch)
    if saved.gates.size(1):
        with on_device(saved.gates.device):
            backward_loop(kind, packing, dtypes, arguments, saved, masks, schedule, loop)
    recurrent = sums = _with_total(loop.sums, dtypes)
    if loop.candidate is not None:  # a GRU's
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
    assert gates is not None  # kept, or made again
    units = (gates.size(0), gates.size(1), states.size(2))
    arriving = pack_gradient(packing, dtypes, grad_outputs, states)
    d_hidden = running(packing, dtypes, grad_hidden, states, batch)
    cells, lstm, norm = saved.cells, kind == "lstm", saved.recurrent_products is not None
    return Gradients(
        arriving=states.new_zeros(units) if arriving is None else arriving,
        hidden=d_hidden,
        cell=None if cells is None else running(packing, dtypes, grad_cell, states, batch),
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
    products, own = saved.recurrent_products, arguments.recurrent_gain
    assert products is not None and own is not None  # with layer normalisation
    _, gain = normalisation.backward(products, loop.sums, own, dtypes.state, only_gain=True)
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
    assert masks.mask is not None  # its gradient is wanted
    total = torch.zeros_like(masks.mask)
    for part, n in zip(into.split(packing.sizes, 1), packing.sizes, strict=True):
        total[:, :n] += part
    return total
