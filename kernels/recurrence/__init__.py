"""Recurrences over whole sequences: Elman (tanh, relu), LSTM and GRU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kernels.backend import resolve
from kernels.common.precision import without_autocast
from kernels.recurrence import operation, reference
from kernels.recurrence.check import check, check_norm, check_options
from kernels.recurrence.layout import Arguments, Options
from kernels.recurrence.reference import GateNorm

__all__ = ["bidirectional_recurrence", "recurrence"]

Pair = tuple[Tensor, Tensor]
Side = tuple[Any, Any, Any, Any, Any, Any]  # weights, biases, states of a direction, or None


def recurrence(
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    hidden: Tensor | None = None,
    cell: Tensor | None = None,
    *,
    kind: str = "lstm",
    lengths: Tensor | None = None,
    reverse: bool = False,
    hidden_mask: Tensor | None = None,
    zoneout: tuple[float, float] = (0.0, 0.0),
    zone_hidden: Tensor | None = None,
    zone_cell: Tensor | None = None,
    resets: Tensor | None = None,
    norm: GateNorm | None = None,
    recompute: bool = False,
    weight_hr: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """One layer in one direction over whole sequences; equations and gate order of torch.nn.

    kind "lstm" (gates i, f, g, o):  c' = f*c + i*g,  h' = o*tanh(c')
    kind "gru" (gates r, z, n):      n = tanh(W x + b + r*(U h + b)),  h' = (1-z)*n + z*h
    kind "tanh", "relu":             h' = tanh(W x + b + U h + b), or relu

    Shapes, with G gates (LSTM 4, GRU 3, Elman 1):
        inputs (B, T, I), weight_ih (G*H, I), weight_hh (G*H, H), bias_ih and bias_hh (G*H,),
        hidden and cell (B, H), zero when None -> outputs (B, T, H), hidden (B, H), and
        cell (B, H) for "lstm", else None.
    weight_hr: (P, H), "lstm" only: h' = weight_hr (o*tanh(c')) (Sak et al. 2014). Tensors
        shaped like the hidden state (hidden, outputs, hidden_mask, zone_hidden) then have P
        features, and weight_hh is (4*H, P). The cell and the gates keep H. On the triton backend
        each step is three products and a kernel, under the schedule "step" only.
    lengths: (B,) integers from 0 to T. Outputs past a length are 0, the final state is the one
        at the length, and ``reverse`` begins at the last step within it, as with a PackedSequence.
        A length of 0 keeps the initial state. Lengths on the CPU avoid a synchronisation.
    hidden_mask: (B, H), multiplied to h before the recurrent product of every step (recurrent
        dropout with one mask per sequence, Gal & Ghahramani 2016).
    zone_hidden, zone_cell: (B, T, H) bool; where True, a unit keeps its old value at that step.
        Without either mask, units take the expectation under ``zoneout``, the rates of hidden
        state and cell (Krueger et al. 2017).
    resets: (B, T) bool; where True, the state is zero before that step.
    norm: gains of layer normalisation of each gate, of the LSTM's cell too (Ba et al. 2016,
        eq. 20-29).
    recompute: keep only the states for the backward pass, and compute the gates again there, for
        all steps at once: one more product by W_ih and one by W_hh. Only one layer's recomputed
        gates exist at a time. Bytes kept for each sequence, step and hidden unit in bfloat16 /
        float32 on the triton backend:

                      plain      layer norm    recompute
            LSTM      14 / 24    30 / 56       6 / 8
            GRU       10 / 20    22 / 44       2 / 4
            Elman      4 / 8      8 / 16       2 / 4

        With hidden_mask, resets or autocast one more element of the products' dtype is kept. The
        torch backend keeps states in float32 (2 bytes more in bfloat16), no such element, and no
        gates of an Elman network without zoneout. Of an LSTM that runs as oneDNN's layer (equal
        lengths, no options) it keeps that layer's workspace.

    All tensors have one floating dtype, and so have the outputs. With float16 and bfloat16, sums
    and states are float32 inside. Under torch.autocast the products run in autocast's dtype, sums,
    states and element-wise maths in float32, and outputs and states are float32; layers on a CPU
    whose steps have little arithmetic keep float32 products there.

    Raises ValueError that names the argument whose rank, size, dtype, device or range is wrong.
    Sources: Elman 1990; Hochreiter & Schmidhuber 1997; Cho et al. 2014; Sak et al. 2014, "Long
    short-term memory recurrent neural network architectures for large scale acoustic modeling".
    """
    arguments = (inputs, weight_ih, weight_hh, bias_ih, bias_hh, hidden, cell)
    check(*arguments, kind, lengths, hidden_mask, weight_hr)
    check_options(inputs, weight_hh, kind, zoneout, zone_hidden, zone_cell, resets)
    check_norm(inputs, weight_hh, kind, norm)
    measured, size = _measured_as(kind, inputs, norm, weight_hr), weight_hh.size(1)
    backend = resolve("recurrence", inputs, weight_ih, triton=True, kind=measured, size=size)
    if backend == "reference":
        return reference.recurrence(
            *arguments,
            kind=kind,
            lengths=lengths,
            reverse=reverse,
            hidden_mask=hidden_mask,
            norm=norm,
            zoneout=zoneout,
            zone_hidden=zone_hidden,
            zone_cell=zone_cell,
            resets=resets,
            weight_hr=weight_hr,
        )
    tensors = (*arguments[1:], hidden_mask, *(norm or (None,) * 4), weight_hr)
    lead: list[Any] = [None if t is None else t.unsqueeze(0) for t in tensors]
    zoned = [None if t is None else t.unsqueeze(0) for t in (zone_hidden, zone_cell)]
    outputs, hidden, cell = operation.recurrence(
        Arguments(inputs, *lead),
        Options(zoneout, zoned[0], zoned[1], resets),
        kind=kind,
        lengths=lengths,
        reverse=(reverse,),
        backend=backend,
        recompute=recompute,
    )
    return outputs, hidden[0], None if cell is None else cell[0]


def bidirectional_recurrence(
    inputs: Tensor,
    weight_ih: Pair,
    weight_hh: Pair,
    bias_ih: Pair | None = None,
    bias_hh: Pair | None = None,
    hidden: Tensor | None = None,
    cell: Tensor | None = None,
    *,
    kind: str = "lstm",
    lengths: Tensor | None = None,
    hidden_mask: Tensor | None = None,
    zoneout: tuple[float, float] = (0.0, 0.0),
    zone_hidden: Tensor | None = None,
    zone_cell: Tensor | None = None,
    resets: Tensor | None = None,
    norm: tuple[GateNorm, GateNorm] | None = None,
    recompute: bool = False,
    weight_hr: Pair | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """``recurrence`` forwards and in reverse, both directions side by side in one loop.

    Weights and biases are pairs (forward, reverse); hidden, cell and hidden_mask (2, B, H),
    zone_hidden and zone_cell (2, B, T, H), resets (B, T) for both directions.
    -> outputs (B, T, 2*H), hidden (2, B, H), and cell (2, B, H) for "lstm", else None. With
    weight_hr, hidden features are P as in ``recurrence``.
    Dtypes and errors are those of ``recurrence``.
    """
    for name, pair in (("weight_ih", weight_ih), ("weight_hh", weight_hh)):
        _check_pair(name, pair)
    for name, other in (("bias_ih", bias_ih), ("bias_hh", bias_hh), ("weight_hr", weight_hr)):
        if other is not None:
            _check_pair(name, other)
    for name, state in (("hidden", hidden), ("cell", cell), ("hidden_mask", hidden_mask)):
        if state is not None and (state.dim() != 3 or state.size(0) != 2):
            raise ValueError(f"{name}: found {tuple(state.shape)}; expected (2, B, H)")
    for name, mask in (("zone_hidden", zone_hidden), ("zone_cell", zone_cell)):
        if mask is not None and (mask.dim() != 4 or mask.size(0) != 2):
            raise ValueError(f"{name}: found {tuple(mask.shape)}; expected (2, B, T, H)")
    tensors = (weight_ih, weight_hh, bias_ih, bias_hh, hidden, cell, hidden_mask, weight_hr)
    masks = (zone_hidden, zone_cell)
    sides: list[list[Any]] = [
        [None if t is None else t[d] for t in (*tensors, *masks)] for d in (0, 1)
    ]
    if norm is not None and (not isinstance(norm, (tuple, list)) or len(norm) != 2):
        raise ValueError("norm: expected a pair of GateNorm (forward, reverse)")
    norms = (None, None) if norm is None else norm
    for (*side, mask, projection, zoned, zoned_cell), gains in zip(sides, norms, strict=True):
        own: Side = tuple(side)
        check(inputs, *own, kind, lengths, mask, projection)
        check_options(inputs, side[1], kind, zoneout, zoned, zoned_cell, resets)
        check_norm(inputs, side[1], kind, gains)
    measured, size = _measured_as(kind, inputs, norm, weight_hr), weight_hh[0].size(1)
    backend = resolve("recurrence", inputs, weight_ih[0], triton=True, kind=measured, size=size)
    if backend == "reference":
        found = [
            reference.recurrence(
                inputs,
                *side,
                kind=kind,
                lengths=lengths,
                reverse=reverse,
                hidden_mask=mask,
                norm=gains,
                zoneout=zoneout,
                zone_hidden=zoned,
                zone_cell=zoned_cell,
                resets=resets,
                weight_hr=projection,
            )
            for (*side, mask, projection, zoned, zoned_cell), reverse, gains in zip(
                sides, (False, True), norms, strict=True
            )
        ]
        outputs, states, cells = zip(*found, strict=True)
        after = torch.stack(cells) if kind == "lstm" else None
        return torch.cat(outputs, 2), torch.stack(states), after
    stacked: list[Any] = [None] * 4
    with without_autocast(inputs):  # which stacks no half precision but its own
        lead: list[Any] = [None if pair is None else torch.stack(pair) for pair in tensors[:4]]
        projection = None if weight_hr is None else torch.stack(weight_hr)
        if norm is not None:
            sides_of: list[Any] = list(zip(*norm, strict=True))
            stacked = [None if a is None else torch.stack([a, b]) for a, b in sides_of]
    given: list[Any] = [inputs, *lead, hidden, cell, hidden_mask, *stacked, projection]
    return operation.recurrence(
        Arguments(*given),
        Options(zoneout, zone_hidden, zone_cell, resets),
        kind=kind,
        lengths=lengths,
        reverse=(False, True),
        backend=backend,
        recompute=recompute,
    )


def _measured_as(kind: str, inputs: Tensor, norm: object, weight_hr: object) -> str:
    """The kind that the table of ``auto`` knows: single steps were measured apart."""
    measured = kind if norm is None else f"{kind} with layer norm"
    if weight_hr is not None:
        measured = f"{measured} with a projection"
    return f"{measured}, one step" if inputs.dim() == 3 and inputs.size(1) == 1 else measured


def _check_pair(name: str, pair: Pair) -> None:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2 or pair[0].shape != pair[1].shape:
        raise ValueError(f"{name}: expected a pair of tensors of one shape (forward, reverse)")
