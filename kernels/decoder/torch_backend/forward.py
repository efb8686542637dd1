"""The loop over steps; fills the buffers."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.attention.masking import padding
from kernels.decoder.call import Call
from kernels.decoder.gates import bias, columns, joined
from kernels.decoder.torch_backend.buffers import Buffers
from kernels.decoder.torch_backend.cells import cell_forward
from kernels.decoder.torch_backend.scores import additive_scores


def loop(call: Call, made: Buffers, vectors: Tensor) -> None:
    """Fills ``made`` and ``vectors`` (T, B, A), which may be ``made.raw``."""
    inputs, weights, product = call.inputs, call.weights, call.found.product
    size, masks = call.state.hidden.shape[2], call.masks
    statics = _embedded_gates(call)  # (T, B, C)
    biases = [bias(layer, call.kind) for layer in weights.layers]
    stack = [
        joined(layer, call.kind, 0 if number else inputs.shape[2]).t().contiguous().to(product)
        for number, layer in enumerate(weights.layers)
    ]  # (I + H, C) each
    for number, layer in enumerate(made.layers):
        layer.hidden[0] = call.state.hidden[number]
        if layer.cell is not None:
            layer.cell[0] = call.state.cell[number]
    attention = None if call.memory is None else _Attention(call, made)
    output_t = weights.output.to(product).t()
    x = call.state.feed
    for t in range(inputs.shape[1]):
        for number, layer in enumerate(made.layers):
            rows, inside = layer.rows[t], layer.rows.shape[2] - size
            if inside:
                rows[:, :inside].copy_(x)
            rows[:, inside:].copy_(layer.hidden[t])
            gates = layer.gates[t].copy_(torch.mm(rows, stack[number]))
            gates.add_(biases[number] if number else statics[t])
            x = _layer_output(call, made, number, cell_forward(call.kind, layer, t), x, t)
        top = made.tops[t]
        top[:, top.shape[1] - size :].copy_(x)
        if attention is not None:
            attention.step(t, top)
        made.raw[t].copy_(torch.mm(top, output_t)).tanh_()
        if masks.output is not None:
            torch.mul(made.raw[t], at_step(masks.output, t), out=vectors[t])
        x = None if call.state.feed is None else vectors[t]


def at_step(mask: Tensor, t: int) -> Tensor:
    """Of a mask (T or 1, ...)."""
    return mask[min(t, mask.shape[0] - 1)]


def embedded(call: Call) -> Tensor:
    """The inputs of all steps, (T*B, E), time-major, in the dtype of products."""
    return call.inputs.transpose(0, 1).to(call.found.product).reshape(-1, call.inputs.shape[2])


def static_weight(call: Call) -> Tensor:
    """(C, E): what of the first layer's weight meets the embedding."""
    weight = call.weights.layers[0].weight_ih[:, : call.inputs.shape[2]]
    return columns(weight, call.kind, "x").to(call.found.product)


def _embedded_gates(call: Call) -> Tensor:
    """The embedding's share of the first layer's gates, with its bias, (T, B, C)."""
    batch, steps, _ = call.inputs.shape
    sums = torch.mm(embedded(call), static_weight(call).t()).to(call.inputs.dtype)
    return sums.add_(bias(call.weights.layers[0], call.kind)).view(steps, batch, sums.shape[1])


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
        statistics[0, t], statistics[1, t] = mean, inverse
    if call.residual and number:
        h = h + x
    if number + 1 < len(made.layers) and call.masks.between:
        h = h * at_step(call.masks.between[number], t)
    return h


class _Attention:
    """One step of attention, with what is the same at all of them."""

    def __init__(self, call: Call, made: Buffers) -> None:
        weights, (keys, values, lengths) = call.weights, call.memory
        product, dtype = call.found.product, call.inputs.dtype
        self.call, self.made, self.keys = call, made, keys
        self.values = values.to(product)
        self.query = None if weights.query is None else weights.query.to(product)
        self.gate = None if weights.gate is None else weights.gate.to(product)  # (G, H)
        self.dot_keys = keys.to(product) if weights.score is None else None
        self.mask, self.empty = None, False
        if lengths is not None:
            self.hole = padding(lengths, *keys.shape[:2], keys.device)  # (B, S)
            self.mask = torch.zeros_like(self.hole, dtype=dtype)
            self.mask.masked_fill_(self.hole, torch.finfo(dtype).min)
            self.empty = bool((lengths == 0).any())

    def step(self, t: int, top: Tensor) -> None:
        """Fills alpha[t] (B, S) and the context part of ``top`` (B, D + H)."""
        made, alpha = self.made, self.made.alpha[t]
        width = self.values.shape[2]
        hidden = top[:, width:]  # (B, H)
        query = hidden if self.query is None else torch.mm(hidden, self.query.t())  # (B, Q)
        if made.queries is not None:
            query_kept = made.queries[t].copy_(query)
        if self.call.weights.score is None:
            scores = torch.bmm(self.dot_keys, query.unsqueeze(2)).squeeze(2)  # (B, S)
            scores = scores.to(alpha.dtype) * self.call.scale
        else:
            scores = additive_scores(query_kept, self.keys, self.call.weights.score)
        if self.mask is not None:
            scores += self.mask
        torch.softmax(scores, 1, out=alpha)
        if self.empty:
            alpha.masked_fill_(self.hole, 0.0)
        context = torch.bmm(alpha.to(self.values.dtype).unsqueeze(1), self.values).squeeze(1)
        if self.gate is not None:
            beta = made.beta[t].copy_(torch.mm(hidden, self.gate.t()))  # (B, G)
            beta.add_(self.call.weights.gate_bias).sigmoid_()
            context = made.contexts[t].copy_(context) * beta
        top[:, :width].copy_(context)  # (B, D)
