"""The attention decoder in plain PyTorch: one step as equations, and the loop over steps.

The step is also what decoding runs; the loop is the truth that other backends are held to.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.attention import additive_attention, dot_attention
from kernels.common.graph import reached
from kernels.common.masking import padding, without_padding
from kernels.common.precision import precision
from kernels.decoder.call import Call, differentiable, flatten
from kernels.decoder.sentinel import attend, sentinel
from kernels.decoder.weights import DecoderState, DecoderWeights, DropoutMasks, Memory
from kernels.recurrence.reference import step


def decoder_step(
    inputs: Tensor,
    weights: DecoderWeights,
    state: DecoderState,
    memory: Memory | None,
    kind: str,
    scale: float = 1.0,
    residual: bool = False,
    between: tuple[Tensor, ...] = (),
    output_mask: Tensor | None = None,
) -> tuple[Tensor, DecoderState, Tensor | None]:
    """One step: attentional vector (N, A), the next state, attention weights (N, S) or None.

    inputs (N, E). N hypotheses may share the B sources of ``memory``: N = B * K, the K
    hypotheses of a source side by side; keys and values are not copied.
    """
    x = inputs if state.feed is None else torch.cat([inputs, state.feed], -1)  # (N, E [+ A])
    hidden, cell = [], []
    for number, layer in enumerate(weights.layers):
        h = state.hidden[number]  # (N, H)
        given, before = x, h  # of the top layer, in the end
        c = None if state.cell is None else state.cell[number]
        gates_x = F.linear(x, layer.weight_ih, layer.bias_ih)
        gates_h = F.linear(h, layer.weight_hh, layer.bias_hh)
        # under autocast the products are half precision, the state is not
        h, c = step(kind, gates_x.to(h.dtype), gates_h.to(h.dtype), h, h if c is None else c)
        hidden.append(h)
        cell.append(c)
        y = h
        if layer.norm_weight is not None:
            y = F.layer_norm(y, y.shape[-1:], layer.norm_weight, layer.norm_bias)
        if residual and number > 0:
            y = x + y
        x = y
        if number + 1 < len(weights.layers) and between:
            x = x * between[number]
    attention = None
    top = x  # (N, H)
    if memory is not None:
        own = None
        if weights.sentinel is not None:
            memory_cell = None if state.cell is None else cell[-1]
            own = sentinel(weights.sentinel, given, before, hidden[-1], memory_cell)  # (N, H)
        context, attention = _attend(top, weights, memory, scale, own)
        context = context.to(top.dtype)  # (N, D)
        if weights.gate is not None:
            beta = F.linear(top, weights.gate, weights.gate_bias).to(top.dtype).sigmoid()
            context = beta * context  # beta (N, 1) or (N, D)
        top = torch.cat([context, top], -1)  # (N, D + H)
    vector = torch.tanh(F.linear(top, weights.output).to(state.hidden.dtype))  # (N, A)
    if output_mask is not None:
        vector = vector * output_mask
    next_state = DecoderState(
        torch.stack(hidden),
        None if state.cell is None else torch.stack(cell),
        None if state.feed is None else vector,
    )
    return vector, next_state, attention


def _attend(
    hidden: Tensor, weights: DecoderWeights, memory: Memory, scale: float, own: Tensor | None
) -> tuple[Tensor, Tensor]:
    """hidden (N, H) -> context (N, D), attention weights (N, S); the K = N / B hypotheses of a
    source are K queries on its keys. ``own`` (N, H) is the sentinel, None without."""
    query = hidden if weights.query is None else F.linear(hidden, weights.query)  # (N, Q)
    sources = memory.keys.shape[0]
    beams = query.shape[0] // max(1, sources)
    query = query.view(sources, beams, query.shape[1]).to(memory.keys.dtype)  # (B, K, Q)
    keys, values, lengths = memory
    if own is not None and weights.sentinel is not None:
        padded = padding(lengths, keys.size(0), keys.size(1), keys.device)
        context, attention = attend(
            query,
            without_padding(keys, padded),
            without_padding(values, padded),
            padded,
            weights.score,
            scale,
            own.view(sources, beams, own.shape[1]),
            F.linear(own, weights.sentinel.key).to(keys.dtype).view_as(query),
        )
    elif weights.score is None:
        context, attention = dot_attention(query, keys, values, scale, lengths, return_weights=True)
    else:
        score = weights.score
        context, attention = additive_attention(
            query, keys, values, score, lengths=lengths, return_weights=True
        )
    return context.flatten(0, 1), attention.flatten(0, 1)


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
    """The loop of ``decoder_step`` over T, with autograd's tape. See kernels.attention_decoder."""
    steps = inputs.shape[1]
    vectors: list[Tensor] = []
    attentions: list[Any] = []  # None without memory
    for t in range(steps):
        between = tuple(mask[min(t, mask.shape[0] - 1)] for mask in masks.between)
        output = None if masks.output is None else masks.output[min(t, masks.output.shape[0] - 1)]
        vector, state, attention = decoder_step(
            inputs[:, t], weights, state, memory, kind, scale, residual, between, output
        )
        vectors.append(vector)
        attentions.append(attention)
    if not steps:
        call = Call(inputs, weights, state, memory, masks, kind, scale, residual, precision(inputs))
        used = flatten(call)[: differentiable(len(weights.layers))]
        none = inputs.new_zeros(inputs.shape[0], 0, weights.output.shape[0])
        alpha = None
        if memory is not None:
            alpha = reached(inputs.new_zeros(inputs.shape[0], 0, memory.keys.shape[1]), used)
        parts: list[Any] = [None if part is None else reached(part, used) for part in state]
        return reached(none, used), DecoderState(*parts), alpha
    return (
        torch.stack(vectors, 1),
        state,
        None if memory is None else torch.stack(attentions, 1),
    )
