"""Ragged layers by PyTorch's own operators, where a step has too little arithmetic for a loop in
Python: see ``direct.py``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kernels.recurrence.packing import time_major

_OPERATORS = {"gru": torch.gru, "tanh": torch.rnn_tanh, "relu": torch.rnn_relu}


def run(
    kind: str,
    inputs: Tensor,
    states: list[Tensor],
    layers: list[list[tuple[Any, ...]]],
    lengths: Tensor,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """inputs (B, T, I), states: hidden and an LSTM's cell (L*D, B, H), lengths (B,) int64 from 1 to
    T on the CPU -> outputs (B, T, D*H), zero past a length, and the states at the lengths."""
    longest, order = lengths.sort(descending=True)  # what packing asks for
    back = order.argsort()
    packed, sizes = torch._VF._pack_padded_sequence(inputs.index_select(0, order), longest, True)
    states = [state.index_select(1, order) for state in states]
    flat = [t for layer in layers for side in layer for t in side if t is not None]
    bias, both = layers[0][0][2] is not None, len(layers[0]) == 2
    rest = (flat, bias, len(layers), 0.0, False, both)
    if kind == "lstm":
        rows, *after = torch.lstm(packed, sizes, states, *rest)
    else:
        rows, *after = _OPERATORS[kind](packed, sizes, states[0], *rest)
    padded, _ = torch._VF._pad_packed_sequence(rows, sizes, True, 0.0, inputs.size(1))
    outputs = padded.index_select(0, back)
    if time_major(inputs):  # time leads in memory, as in the inputs
        outputs = outputs.transpose(0, 1).contiguous().transpose(0, 1)
    hidden, *cells = (state.index_select(1, back) for state in after)
    return outputs, hidden, cells[0] if cells else None
