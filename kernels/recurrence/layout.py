"""What every backend of the recurrences shares: arguments, packed buffers, and the products that
are made once for all steps, before the loop and after its backward pass.

Padding is never computed. Directions lie side by side in the leading dimension D, so that a
bidirectional layer is one loop.

Legend: D directions (1 or 2), B batch, T steps, N packed steps (sum of lengths), n sequences
active at a step, I input features, H units of the cell, P hidden features (the projection's; H
without one), G gates (LSTM 4, GRU 3, Elman 1).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from kernels.common.precision import Precision
from kernels.common.products import linear, product
from kernels.recurrence import normalisation
from kernels.recurrence.packing import Packing, empty_like_inputs, final, put, take


class Arguments(NamedTuple):
    """What a recurrence is differentiated by; every weight and state leads with D."""

    inputs: Tensor  # (B, T, I)
    weight_ih: Tensor  # (D, G*H, I)
    weight_hh: Tensor  # (D, G*H, P)
    bias_ih: Tensor | None  # (D, G*H)
    bias_hh: Tensor | None  # (D, G*H)
    hidden: Tensor | None  # (D, B, P)
    cell: Tensor | None  # (D, B, H)
    hidden_mask: Tensor | None  # (D, B, P)
    input_gain: Tensor | None = None  # (D, G, H); with it every gate is normalised
    recurrent_gain: Tensor | None = None  # (D, G, H)
    cell_gain: Tensor | None = None  # (D, H), LSTM
    cell_shift: Tensor | None = None  # (D, H), LSTM
    weight_hr: Tensor | None = None  # (D, P, H), LSTM: the projection of o*tanh(c')

    @property
    def units(self) -> int:
        """H"""
        return self.weight_hh.size(2) if self.weight_hr is None else self.weight_hr.size(2)


class Options(NamedTuple):
    """What changes the cell itself and has no gradient."""

    zoneout: tuple[float, float] = (0.0, 0.0)  # rates of (hidden, cell): the expectation; unused
    zone_hidden: Tensor | None = None  # with a mask (D, B, T, H) bool of units that keep their
    zone_cell: Tensor | None = None  # old value
    resets: Tensor | None = None  # (B, T) bool: the state is zero before that step

    @property
    def zoned(self) -> bool:
        return any(self.zoneout) or self.zone_hidden is not None or self.zone_cell is not None


class Saved(NamedTuple):
    """What the forward pass leaves for the backward pass, packed.

    Those of the product dtype are left out under ``recompute``, and computed again from the states.
    """

    gates: Tensor | None  # (D, N, G*H) after their activations, in the product dtype
    states: Tensor  # (D, B+N, P) the initial hidden states, then those after each step
    cells: Tensor | None  # (D, B+N, H), LSTM only
    extra: Tensor | None  # (D, N, H) U h + b of the GRU's candidate, in the product dtype
    seen: Tensor | None  # (D, B+N, P) the states as the recurrent product reads them, where they
    #                       differ from ``states`` (triton only)
    input_products: Tensor | None = None  # (D, N, G*H) W_ih x before its normalisation, product
    recurrent_products: Tensor | None = None  # (D, N, G*H) and W_hh h                  dtype


class Results(NamedTuple):
    outputs: Tensor  # (B, T, D*P)
    hidden: Tensor  # (D, B, P)
    cell: Tensor | None  # (D, B, H), LSTM only
    saved: Saved


def input_sums(
    kind: str, packing: Packing, dtypes: Precision, arguments: Arguments
) -> tuple[Tensor, Tensor | None]:
    """W_ih x + b_ih + b_hh for every packed step: (D, N, G*H) in the product dtype; and with layer
    normalisation, which comes before the biases, the bare W_ih x.

    The b_hh of the GRU's candidate stays out: it stands inside the reset gate's product.
    """
    bias, other = arguments.bias_ih, arguments.bias_hh
    if other is not None:
        if kind == "gru":
            other = other.clone()
            other[:, -arguments.weight_hh.size(2) :] = 0
        bias = other if bias is None else bias + other
    gain = arguments.input_gain
    packed = packed_inputs(packing, dtypes, arguments.inputs)
    weight = arguments.weight_ih.to(dtypes.product)  # (D, G*H, I)
    added = None if bias is None or gain is not None else bias.to(dtypes.product)
    sums = _side_by_side(
        [linear(x, weight[d], None if added is None else added[d]) for d, x in enumerate(packed)]
    )
    if gain is None:
        return sums, None
    return normalisation.forward(sums, gain, bias, dtypes.state), sums


def candidate_bias(arguments: Arguments, dtypes: Precision) -> Tensor:
    """b_hh of the GRU's candidate, zero where there is none: (D, H)"""
    directions, _, size = arguments.weight_hh.shape
    if arguments.bias_hh is None:
        return arguments.weight_hh.new_zeros(directions, size, dtype=dtypes.state)
    return arguments.bias_hh[:, -size:].to(dtypes.state)


def packed_inputs(packing: Packing, dtypes: Precision, inputs: Tensor) -> list[Tensor]:
    """Per direction, the inputs in the order of the loop: (N, I)."""
    inputs = inputs.to(dtypes.product)
    return [take(packing, d, inputs) for d in range(len(packing.rows))]


def ordered(packing: Packing, dtypes: Precision, tensor: Tensor) -> Tensor:
    """(D, B, H) in the state dtype and the order of the packing."""
    tensor = tensor.to(dtypes.state)
    return tensor if packing.order is None else tensor.index_select(1, packing.order)


def initial(
    packing: Packing,
    dtypes: Precision,
    arguments: Arguments,
    state: Tensor | None,
    size: int,
    dtype: torch.dtype,
) -> Tensor:
    """A buffer (D, B+N, size) in ``dtype`` whose first B rows are the initial state."""
    batch = arguments.inputs.size(0)
    shape = (arguments.weight_hh.size(0), batch + sum(packing.sizes), size)
    buffer = arguments.inputs.new_empty(shape, dtype=dtype)
    first = buffer.narrow(1, 0, batch)
    if state is None:
        first.zero_()
    else:
        first.copy_(ordered(packing, dtypes, state))
    return buffer


def results(packing: Packing, dtypes: Precision, inputs: Tensor, saved: Saved) -> Results:
    """Outputs and final states out of the packed states; padding is zero."""
    batch, steps = inputs.shape[:2]
    directions, rows, size = saved.states.shape
    states = saved.states.narrow(1, batch, rows - batch)  # (D, N, P)
    outputs = empty_like_inputs(inputs, directions * size, dtypes.output)
    if directions == 1 and packing.rows[0] is None:
        outputs.copy_(states.view(steps, batch, size).transpose(0, 1))
    else:
        if not packing.full:
            outputs.zero_()
        for d, own in enumerate(states.to(dtypes.output)):
            put(packing, d, own, outputs.narrow(2, d * size, size))
    hidden = final(packing, dtypes.output, saved.states)
    cell = None if saved.cells is None else final(packing, dtypes.output, saved.cells)
    return Results(outputs, hidden, cell, saved)


def pack_gradient(
    packing: Packing, dtypes: Precision, grad: Tensor | None, states: Tensor
) -> Tensor | None:
    """(B, T, D*P) -> (D, N, P) in the state dtype"""
    if grad is None:
        return None
    directions, rows, size = states.shape
    packed = grad.new_empty((directions, rows - packing.batch, size), dtype=dtypes.state)
    for d, own in enumerate(packed):  # (N, P)
        own.copy_(take(packing, d, grad.narrow(2, d * size, size)))
    return packed


def running(
    packing: Packing, dtypes: Precision, grad: Tensor | None, states: Tensor, batch: int
) -> Tensor:
    """The gradient of a final state, shaped as it is: where each sequence ends, the loop takes it
    up. states: the buffer of this state, hidden or cell."""
    if grad is None:
        return states.new_zeros(states.size(0), batch, states.size(2), dtype=dtypes.state)
    return ordered(packing, dtypes, grad).clone(memory_format=torch.contiguous_format)


class SumGradients(NamedTuple):
    """The gradients of the gate sums."""

    all: Tensor  # (D, N, G*H) in the product dtype
    total: Tensor  # (D, G*H) that of the biases: their sum, in the state dtype


def collect(
    packing: Packing,
    dtypes: Precision,
    arguments: Arguments,
    wanted: tuple[bool, ...],
    seen: Tensor,
    input_products: Tensor | None,
    input_sums: SumGradients,
    recurrent_sums: SumGradients,
    states: tuple[Tensor | None, ...],
    gains: tuple[Tensor | None, ...],
    projection: Tensor | None = None,
) -> tuple[Tensor | None, ...]:
    """The gradients of all arguments, None where not wanted; those of weights and inputs are one
    product over all steps each.

    seen (D, N, P): what each step's recurrent product read. states: gradients of the initial
    hidden and cell states and of the hidden mask, in the order of the packing. gains: those of
    recurrent_gain, cell_gain and cell_shift. projection: that of weight_hr. ``all`` of the
    recurrent sums is before their normalisation, that of the input sums is not yet.
    """
    inputs = arguments.inputs
    grads: list[Tensor | None] = [None] * 5
    input_gain = None
    if arguments.input_gain is not None:
        assert input_products is not None  # the forward pass keeps them, or recompute makes them
        into, input_gain = normalisation.backward(
            input_products, input_sums.all, arguments.input_gain, dtypes.state
        )
        assert into is not None  # not only_gain
        input_sums = SumGradients(into, input_sums.total)
    if wanted[0]:
        grads[0] = _input_gradient(packing, dtypes, arguments, input_sums.all)
    if wanted[1]:
        packed = packed_inputs(packing, dtypes, inputs)
        grads[1] = _weight_gradient(input_sums.all, packed)
    if wanted[2]:
        seen = seen.to(dtypes.product)
        grads[2] = _weight_gradient(recurrent_sums.all, seen)
    if wanted[3]:
        grads[3] = input_sums.total
    if wanted[4]:  # memory of its own: parameters' gradients are scaled and summed up in place
        grads[4] = recurrent_sums.total.clone()
    for state in states:
        if state is not None and packing.order is not None:
            state = torch.empty_like(state).index_copy_(1, packing.order, state)
        grads.append(state)
    grads += [input_gain, *gains, projection]
    return tuple(
        grad.to(argument.dtype) if want and argument is not None and grad is not None else None
        for grad, argument, want in zip(grads, arguments, wanted, strict=True)
    )


def _weight_gradient(d_sums: Tensor, inputs: Iterable[Tensor]) -> Tensor:
    """d_sums (D, N, G*H), inputs D of (N, K) -> (D, G*H, K)"""
    return _side_by_side([product(d.t(), x) for d, x in zip(d_sums, inputs, strict=True)])


def _side_by_side(tensors: list[Tensor]) -> Tensor:
    """A leading dimension D; of one direction no copy."""
    return tensors[0][None] if len(tensors) == 1 else torch.stack(tensors)


def before(packing: Packing, buffer: Tensor) -> Tensor:
    """The states before each packed step, (D, N, P), out of all states (D, B+N, P)."""
    if packing.previous is None:
        return buffer.narrow(1, 0, buffer.size(1) - packing.batch)
    return buffer.index_select(1, packing.previous)


def _input_gradient(
    packing: Packing, dtypes: Precision, arguments: Arguments, d_input: Tensor
) -> Tensor:
    """(B, T, I), zero where there is padding."""
    inputs = arguments.inputs
    total: Tensor | None = None
    for d, own in enumerate(d_input):
        packed = product(own, arguments.weight_ih[d].to(dtypes.product))  # (N, I)
        packed = packed.to(inputs.dtype)
        part = empty_like_inputs(inputs, inputs.size(2), inputs.dtype)
        if not packing.full:
            part.zero_()
        put(packing, d, packed, part)
        total = part if total is None else total.add_(part)
    assert total is not None  # there is a direction
    return total
