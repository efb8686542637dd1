"""The decoder without input feeding: a recurrence over all steps, then attention of all steps.

Nothing that attention finds returns into the recurrence, so there is no loop to write: each layer
is one ``recurrence``, with its schedules and its fast paths, the T hidden states are T queries of
one attention, and the attentional vectors are one product.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.attention import additive_attention, dot_attention
from kernels.decoder.weights import DecoderState, DecoderWeights, DropoutMasks, Memory
from kernels.recurrence import recurrence


def attention_decoder(
    inputs: Tensor,
    weights: DecoderWeights,
    state: DecoderState,
    memory: Memory | None,
    kind: str,
    scale: float,
    residual: bool,
    masks: DropoutMasks,
) -> tuple[Tensor, DecoderState, Tensor | None]:
    """See kernels.attention_decoder; here ``state.feed`` is None, and there is no sentinel."""
    x, hidden = inputs, []
    cell: list[Any] = []  # of an LSTM, else None
    for number, layer in enumerate(weights.layers):
        c = None if state.cell is None else state.cell[number]
        y, h, c = recurrence(
            x, layer.weight_ih, layer.weight_hh, layer.bias_ih, layer.bias_hh,
            state.hidden[number], c, kind=kind,
        )  # fmt: skip
        hidden.append(h)
        cell.append(c)
        if layer.norm_weight is not None:
            y = F.layer_norm(y, y.shape[2:], layer.norm_weight, layer.norm_bias)
        if residual and number:
            y = x + y
        if number + 1 < len(weights.layers) and masks.between:
            y = y * masks.between[number].transpose(0, 1)
        x = y  # (B, T, H)
    top, alpha = x, None
    if memory is not None:
        context, alpha = _attend(x, weights, memory, scale)  # (B, T, D), (B, T, S)
        context = context.to(x.dtype)
        if weights.gate is not None:
            beta = F.linear(x, weights.gate, weights.gate_bias).to(x.dtype).sigmoid()
            context = beta * context  # beta (B, T, 1) or (B, T, D)
        top = torch.cat([context, x], 2)  # (B, T, D + H)
    vectors = torch.tanh(F.linear(top, weights.output).to(x.dtype))  # (B, T, A)
    if masks.output is not None:
        vectors = vectors * masks.output.transpose(0, 1)
    elif vectors.requires_grad:
        vectors = vectors.clone()  # the caller may change it in place; tanh keeps its own result
    after = torch.stack(cell) if state.cell is not None else None
    return vectors, DecoderState(torch.stack(hidden), after, None), alpha


def _attend(
    hidden: Tensor, weights: DecoderWeights, memory: Memory, scale: float
) -> tuple[Tensor, Tensor]:
    keys, values, lengths = memory
    query = hidden if weights.query is None else F.linear(hidden, weights.query)  # (B, T, Q)
    if weights.score is None:
        context, alpha = dot_attention(query, keys, values, scale, lengths, return_weights=True)
    else:
        context, alpha = additive_attention(
            query, keys, values, weights.score, lengths=lengths, return_weights=True
        )
    return context, alpha
