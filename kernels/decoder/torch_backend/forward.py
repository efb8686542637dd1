"""The loop over steps; fills the buffers."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.common.additive import factors, pair
from kernels.common.elementwise import tanh
from kernels.common.masking import padding, without_padding
from kernels.common.products import product
from kernels.decoder.call import Call
from kernels.decoder.torch_backend.buffers import Buffers
from kernels.decoder.torch_backend.cells import cell_forward
from kernels.decoder.torch_backend.scores import additive_scores, scored_keys
from kernels.decoder.torch_backend.sentinel import open_sentinel, sentinel_score
from kernels.decoder.torch_backend.sums import loop_biases, loop_weights, static_sums


def loop(call: Call, made: Buffers, vectors: Tensor) -> None:
    """Fills ``made`` and ``vectors`` (T, B, A), which may be ``made.raw``."""
    inputs, weights, dtype = call.inputs, call.weights, call.dtypes.product
    size, masks = call.state.hidden.shape[2], call.masks
    biases = loop_biases(call)
    statics = static_sums(call, biases[0])  # (T, B, C)
    stack = [weight.t() for weight in loop_weights(call)]  # (I + H, C) each
    for number, layer in enumerate(made.layers):
        layer.hidden[0] = call.state.hidden[number]
        if layer.cell is not None and call.state.cell is not None:
            layer.cell[0] = call.state.cell[number]
    attention = None if call.memory is None else _Attention(call, made)
    output_t = weights.output.to(dtype).t()
    x = call.state.feed
    for t in range(inputs.shape[1]):
        for number, layer in enumerate(made.layers):
            rows, inside = layer.rows[t], layer.rows.shape[2] - size
            if inside and x is not None:
                rows[:, :inside].copy_(x)
            rows[:, inside:].copy_(layer.hidden[t])
            gates, sums = layer.gates[t], product(rows, stack[number])
            columns, added = gates.shape[1], biases[number] if number else statics[t]
            gates.copy_(sums[:, :columns]).add_(added[..., :columns])
            h = cell_forward(call.kind, layer, t)
            if columns < sums.shape[1]:
                open_sentinel(made, t, sums[:, columns:] + added[..., columns:])
            x = _layer_output(call, made, number, h, x, t)
        top = made.tops[t]
        assert x is not None  # there is a layer
        top[:, top.shape[1] - size :].copy_(x)
        if attention is not None:
            attention.step(t, top)
        raw = made.raw[t].copy_(product(top, output_t))
        tanh(raw, raw, rough=dtype != raw.dtype)
        if masks.output is not None:
            torch.mul(made.raw[t], at_step(masks.output, t), out=vectors[t])
        x = None if call.state.feed is None else vectors[t]


def at_step(mask: Tensor, t: int) -> Tensor:
    """Step t of a mask (T or 1, ...), whose first size is 1 if all steps share it."""
    return mask[min(t, mask.shape[0] - 1)]


def _layer_output(
    call: Call, made: Buffers, number: int, h: Tensor, x: Tensor | None, t: int
) -> Tensor:
    """From a layer's state h (B, H) and input x to what the next one is given."""
    weights = call.weights.layers[number]
    if weights.norm_weight is not None:
        h, mean, inverse = torch.native_layer_norm(
            h, h.shape[1:], weights.norm_weight, weights.norm_bias, 1e-5
        )
        statistics = made.layers[number].norm
        assert statistics is not None  # with layer normalisation
        statistics[0, t], statistics[1, t] = mean, inverse
    if call.residual and number and x is not None:
        h = h + x
    if number + 1 < len(made.layers) and call.masks.between:
        h = h * at_step(call.masks.between[number], t)
    return h


class _Attention:
    """One step of attention, with what is the same at all of them."""

    def __init__(self, call: Call, made: Buffers) -> None:
        assert call.memory is not None and made.alpha is not None
        weights, (keys, values, lengths) = call.weights, call.memory
        dtype = call.dtypes.product
        hole = padding(lengths, keys.size(0), keys.size(1), keys.device)  # (B, S)
        self.call, self.made, self.keys, self.hole = call, made, keys, hole
        self.values = without_padding(values.to(dtype), hole)
        self.query = None if weights.query is None else weights.query.to(dtype)
        self.gate = None if weights.gate is None else weights.gate.to(dtype)  # (G, H)
        if weights.gate is not None:
            assert made.beta is not None and made.contexts is not None
            assert weights.gate_bias is not None
            self.beta, self.contexts, self.gate_bias = made.beta, made.contexts, weights.gate_bias
        self.alpha, asked = made.alpha, scored_keys(call)
        if asked is not None:
            self.dot_keys = asked
        self.factors = factors(without_padding(keys, hole)) if weights.score is not None else None
        self.lowest = torch.finfo(made.alpha.dtype).min
        # with a sentinel there is no row where all is padding
        self.empty = hole is not None and weights.sentinel is None
        # On a GPU a look at the lengths would wait for it.
        if self.empty and lengths is not None and not lengths.is_cuda:
            self.empty = bool((lengths == 0).any())
        self.sentinel_key = None
        if weights.sentinel is not None:
            self.sentinel_key = weights.sentinel.key.to(dtype)  # (Q, H)

    def step(self, t: int, top: Tensor) -> None:
        """Fills alpha[t] (B, S [+ 1]) and the context part of ``top`` (B, D + H)."""
        made, alpha = self.made, self.alpha[t]
        width = self.values.shape[2]
        hidden = top[:, width:]  # (B, H)
        query = hidden if self.query is None else product(hidden, self.query.t())  # (B, Q)
        if made.queries is not None:
            query_kept = made.queries[t].copy_(query)
        if self.call.weights.score is None:
            column = query.to(self.dot_keys.dtype).unsqueeze(2)  # (B, Q, 1)
            scores = torch.bmm(self.dot_keys, column).squeeze(2)  # (B, S)
            scores = scores.to(alpha.dtype) * self.call.scale
        else:
            pairs = pair(query_kept[:, None], self.keys, self.factors)
            scores = additive_scores(pairs, self.call.weights.score)
        if self.hole is not None:  # keys there may hold anything, NaN included
            scores.masked_fill_(self.hole, self.lowest)
        if self.sentinel_key is not None:
            asked = query.to(alpha.dtype) if made.queries is None else query_kept
            own = sentinel_score(self.call, made, self.sentinel_key, t, asked)
            scores = torch.cat([scores, own], 1)
        torch.softmax(scores, 1, out=alpha)
        if self.empty and self.hole is not None:
            alpha.masked_fill_(self.hole, 0.0)
        seen = alpha[:, : self.keys.shape[1]].to(self.values.dtype)  # (B, S)
        context = torch.bmm(seen.unsqueeze(1), self.values).squeeze(1)  # (B, D)
        if self.sentinel_key is not None:
            assert made.sentinels is not None
            context = torch.addcmul(context.to(alpha.dtype), alpha[:, -1:], made.sentinels[t])
        if self.gate is not None:
            beta = self.beta[t].copy_(product(hidden, self.gate.t()))  # (B, G)
            beta.add_(self.gate_bias).sigmoid_()
            context = self.contexts[t].copy_(context) * beta
        top[:, :width].copy_(context)  # (B, D)
