"""Recurrences over whole sequences: Elman (tanh, relu), LSTM and GRU."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.backend import resolve
from kernels.recurrence import reference, torch_backend
from kernels.recurrence.check import check

__all__ = ["bidirectional_recurrence", "recurrence"]

Pair = tuple[Tensor, Tensor]


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
) -> tuple[Tensor, Tensor, Tensor | None]:
    """One layer in one direction over whole sequences; equations and gate order of torch.nn.

    kind "lstm" (gates i, f, g, o):  c' = f*c + i*g,  h' = o*tanh(c')
    kind "gru" (gates r, z, n):      n = tanh(W x + b + r*(U h + b)),  h' = (1-z)*n + z*h
    kind "tanh", "relu":             h' = tanh(W x + b + U h + b), or relu

    Shapes, with G gates (LSTM 4, GRU 3, Elman 1):
        inputs (B, T, I), weight_ih (G*H, I), weight_hh (G*H, H), bias_ih and bias_hh (G*H,),
        hidden and cell (B, H), zero when None -> outputs (B, T, H), hidden (B, H), and
        cell (B, H) for "lstm", else None.
    lengths: (B,) integers from 0 to T. Outputs past a length are 0, the final state is the one
        at the length, ``reverse`` begins at the last step within it: what a PackedSequence
        gives. A length of 0 leaves the initial state. Lengths on the CPU spare a synchronisation.
    hidden_mask: (B, H), multiplied to h before the recurrent product of every step (recurrent
        dropout with one mask per sequence, Gal & Ghahramani 2016).

    One floating dtype for all, which the outputs have too; float16 and bfloat16 keep sums and
    states in float32 inside. Under torch.autocast the products run in autocast's dtype, sums,
    states and element-wise maths in float32, and outputs and states are float32.

    Raises ValueError that names the argument whose rank, size, dtype, device or range is wrong.
    Sources: Elman 1990; Hochreiter & Schmidhuber 1997; Cho et al. 2014.
    """
    check(inputs, weight_ih, weight_hh, bias_ih, bias_hh, hidden, cell, kind, lengths, hidden_mask)
    arguments = (inputs, weight_ih, weight_hh, bias_ih, bias_hh, hidden, cell)
    if resolve("recurrence", inputs, weight_ih) == "reference":
        return reference.recurrence(
            *arguments, kind=kind, lengths=lengths, reverse=reverse, hidden_mask=hidden_mask
        )
    lead = [None if t is None else t.unsqueeze(0) for t in (*arguments[1:], hidden_mask)]
    outputs, hidden, cell = torch_backend.recurrence(
        torch_backend.Arguments(inputs, *lead), kind=kind, lengths=lengths, reverse=(reverse,)
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
) -> tuple[Tensor, Tensor, Tensor | None]:
    """``recurrence`` forwards and in reverse, both directions side by side in one loop.

    Weights and biases are pairs (forward, reverse); hidden, cell and hidden_mask (2, B, H).
    -> outputs (B, T, 2*H), hidden (2, B, H), and cell (2, B, H) for "lstm", else None.
    Dtypes and errors are those of ``recurrence``.
    """
    for name, pair in (("weight_ih", weight_ih), ("weight_hh", weight_hh)):
        _check_pair(name, pair)
    for name, pair in (("bias_ih", bias_ih), ("bias_hh", bias_hh)):
        if pair is not None:
            _check_pair(name, pair)
    for name, state in (("hidden", hidden), ("cell", cell), ("hidden_mask", hidden_mask)):
        if state is not None and (state.dim() != 3 or state.size(0) != 2):
            raise ValueError(f"{name}: found {tuple(state.shape)}; expected (2, B, H)")
    tensors = (weight_ih, weight_hh, bias_ih, bias_hh, hidden, cell)
    sides = [[None if t is None else t[d] for t in (*tensors, hidden_mask)] for d in (0, 1)]
    for *side, mask in sides:
        check(inputs, *side, kind, lengths, mask)
    if resolve("recurrence", inputs, weight_ih[0]) == "reference":
        found = [
            reference.recurrence(
                inputs, *side, kind=kind, lengths=lengths, reverse=reverse, hidden_mask=mask
            )
            for (*side, mask), reverse in zip(sides, (False, True), strict=True)
        ]
        outputs, hidden, cell = zip(*found, strict=True)
        cell = torch.stack(cell) if kind == "lstm" else None
        return torch.cat(outputs, 2), torch.stack(hidden), cell
    lead = [None if pair is None else torch.stack(pair) for pair in tensors[:4]]
    arguments = torch_backend.Arguments(inputs, *lead, hidden, cell, hidden_mask)
    return torch_backend.recurrence(arguments, kind=kind, lengths=lengths, reverse=(False, True))


def _check_pair(name: str, pair: Pair) -> None:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2 or pair[0].shape != pair[1].shape:
        raise ValueError(f"{name}: expected a pair of tensors of one shape (forward, reverse)")
