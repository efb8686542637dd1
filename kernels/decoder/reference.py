"""The attention decoder in plain PyTorch: one step as equations, and the loop over steps.

The step is also what decoding runs; the loop is the truth that other backends are held to.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.decoder.weights import DecoderState, DecoderWeights, DropoutMasks, Memory


def cell_step(
    kind: str, gates_x: Tensor, gates_h: Tensor, hidden: Tensor, cell: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """One step of a recurrence from its two products, in the equations of torch.nn.

    gates_x (N, G*H) = x W_ih' + b_ih, gates_h (N, G*H) = h W_hh' + b_hh.
    LSTM: Hochreiter & Schmidhuber 1997 with forget gate (Gers et al. 2000);
    GRU: Cho et al. 2014, reset applied after the product; Elman 1990.
    """
    if kind == "lstm":
        i, f, g, o = (gates_x + gates_h).chunk(4, -1)  # (N, H) each
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(cell), cell
    if kind == "gru":
        rx, zx, nx = gates_x.chunk(3, -1)
        rh, zh, nh = gates_h.chunk(3, -1)
        r, z = torch.sigmoid(rx + rh), torch.sigmoid(zx + zh)
        n = torch.tanh(nx + r * nh)
        return n + z * (hidden - n), None
    activation = torch.tanh if kind == "tanh" else torch.relu
    return activation(gates_x + gates_h), None


def attend(
    query: Tensor, memory: Memory, score: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    """Attention of K queries per source: context (B, K, D) and weights (B, K, S).

    Additive (Bahdanau et al. 2015, eq. 6): v . tanh(q + k) with ``score`` v; otherwise the
    scaled product q . k. A source of length 0 gives zero weights and a zero context.
    """
    keys, values, lengths = memory
    if score is None:
        scores = torch.matmul(query, keys.transpose(1, 2)) * scale  # (B, K, S)
    else:
        added = query.unsqueeze(2) + keys.unsqueeze(1)  # (B, K, S, Q)
        scores = torch.matmul(torch.tanh(added), score)
    if lengths is not None:
        positions = torch.arange(keys.shape[1], device=keys.device)
        masked = positions >= lengths.unsqueeze(1)  # (B, S)
        scores = scores.masked_fill(masked.unsqueeze(1), torch.finfo(scores.dtype).min)
        weights = torch.softmax(scores, -1).masked_fill(masked.unsqueeze(1), 0.0)
    else:
        weights = torch.softmax(scores, -1)
    return torch.matmul(weights.to(values.dtype), values), weights


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
        c = None if state.cell is None else state.cell[number]
        gates_x = F.linear(x, layer.weight_ih, layer.bias_ih)
        gates_h = F.linear(h, layer.weight_hh, layer.bias_hh)
        if c is not None:  # under autocast the products are half precision, the state is not
            gates_x, gates_h = gates_x.to(c.dtype), gates_h.to(c.dtype)
        else:
            gates_x, gates_h = gates_x.to(h.dtype), gates_h.to(h.dtype)
        h, c = cell_step(kind, gates_x, gates_h, h, c)
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
        query = top if weights.query is None else F.linear(top, weights.query)  # (N, Q)
        sources = memory.keys.shape[0]
        beams = query.shape[0] // max(1, sources)  # K
        grouped = query.view(sources, beams, query.shape[1]).to(memory.keys.dtype)  # (B, K, Q)
        context, attention = attend(grouped, memory, weights.score, scale)
        top = torch.cat([context.flatten(0, 1).to(top.dtype), top], -1)
        attention = attention.flatten(0, 1)  # (N, S)
    vector = torch.tanh(F.linear(top, weights.output).to(state.hidden.dtype))  # (N, A)
    if output_mask is not None:
        vector = vector * output_mask
    next_state = DecoderState(
        torch.stack(hidden),
        None if state.cell is None else torch.stack(cell),
        None if state.feed is None else vector,
    )
    return vector, next_state, attention


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
    vectors, attentions = [], []
    for t in range(steps):
        between = tuple(mask[min(t, mask.shape[0] - 1)] for mask in masks.between)
        output = None if masks.output is None else masks.output[min(t, masks.output.shape[0] - 1)]
        vector, state, attention = decoder_step(
            inputs[:, t], weights, state, memory, kind, scale, residual, between, output
        )
        vectors.append(vector)
        attentions.append(attention)
    if not steps:
        vectors = inputs.new_zeros(inputs.shape[0], 0, weights.output.shape[0])
        weights_out = (
            None if memory is None else inputs.new_zeros(inputs.shape[0], 0, memory.keys.shape[1])
        )
        return vectors, state, weights_out
    return (
        torch.stack(vectors, 1),
        state,
        None if memory is None else torch.stack(attentions, 1),
    )
