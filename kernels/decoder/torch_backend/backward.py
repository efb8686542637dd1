"""The loop backwards, and the products over all steps after it."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.common import products
from kernels.decoder.call import Call
from kernels.decoder.gates import rows
from kernels.decoder.torch_backend.attention import AttentionBackward
from kernels.decoder.torch_backend.buffers import Buffers
from kernels.decoder.torch_backend.cells import cell_backward
from kernels.decoder.torch_backend.forward import at_step
from kernels.decoder.torch_backend.sentinel import SentinelBackward
from kernels.decoder.torch_backend.sums import embedded, loop_weights, static_weight

_aten = torch.ops.aten
Norms = list[tuple[Tensor, Tensor] | None]


def loop(call: Call, made: Buffers, grads: tuple[Tensor | None, ...]) -> list[Tensor | None]:
    """``grads`` of the results of the forward pass -> those of ``call.flatten``'s places."""
    d_vectors, d_hidden, d_cell, d_feed, d_attention = grads
    inputs, product, dtype = call.inputs, call.dtypes.product, call.inputs.dtype
    batch, steps, _ = inputs.shape
    layers, size = len(made.layers), call.state.hidden.shape[2]
    weights = loop_weights(call)  # (C, I + H) each
    output = call.weights.output.to(product)
    d_raw = torch.empty_like(made.raw, dtype=product)  # (T, B, A) before tanh
    # (T, B, C) each; of the top layer with the sums of the sentinel's gate beside, (T, B, C + H)
    d_gates = [d_raw.new_empty(steps, batch, len(weight)) for weight in weights]
    attention = None if call.memory is None else AttentionBackward(call, made, d_attention)
    zero = inputs.new_zeros(batch, size)
    d_h = [zero if d_hidden is None else d_hidden[n] for n in range(layers)]
    d_c = [zero if d_cell is None else d_cell[n] for n in range(layers)]
    norms: Norms = [None] * layers
    if d_vectors is None:
        d_vectors = inputs.new_zeros(batch, steps, d_raw.shape[2])
    d_vectors = d_vectors.transpose(0, 1)  # (T, B, A)
    for t in reversed(range(steps)):
        d = d_vectors[t] if d_feed is None else d_vectors[t] + d_feed
        if call.masks.output is not None:
            d = d * at_step(call.masks.output, t)
        d_raw[t].copy_(_aten.tanh_backward(d, made.raw[t]))
        d_top = products.product(d_raw[t], output).to(dtype)  # (B, D + H)
        d_x = d_top[:, d_top.shape[1] - size :]  # gradient of the top layer's output
        if attention is not None:
            d_x = d_x + attention.step(t, d_top[:, : d_top.shape[1] - size])
            if attention.sentinel is not None:
                _into_memory(attention, attention.sentinel, t, d_gates[-1][t, :, -size:], d_h, d_c)
        for number in reversed(range(layers)):
            if number + 1 < layers and call.masks.between:
                d_x = d_x * at_step(call.masks.between[number], t)
            d_skip = d_x if call.residual and number else None
            if made.layers[number].norm is not None:
                d_x = _norm_backward(call, made, number, t, d_x, norms)
            d_sums, carry, d_c[number] = cell_backward(
                call.kind, made.layers[number], t, d_h[number] + d_x, d_c[number]
            )
            d_gates[number][t, :, : d_sums.shape[1]].copy_(d_sums)
            d_rows = products.product(d_gates[number][t], weights[number]).to(dtype)  # (B, I + H)
            inside = d_rows.shape[1] - size
            d_h[number] = d_rows[:, inside:] if carry is None else d_rows[:, inside:] + carry
            d_x = d_rows[:, :inside]
            if d_skip is not None:
                d_x = d_x + d_skip
        if call.state.feed is not None:
            d_feed = d_x
    d_state = (torch.stack(d_h), torch.stack(d_c) if call.kind == "lstm" else None, d_feed)
    return _collect(call, made, d_state, d_raw, d_gates, attention, norms)


def _into_memory(
    attention: AttentionBackward,
    sentinel: SentinelBackward,
    t: int,
    d_sums: Tensor,
    d_h: list[Tensor],
    d_c: list[Tensor],
) -> None:
    """Adds what the sentinel sends back to what arrives at the top layer's cell, or state."""
    d = sentinel.step(t, attention.d_sentinel, d_sums)
    arriving = d_h if attention.made.layers[-1].cell is None else d_c
    arriving[-1] = arriving[-1] + d


def _norm_backward(
    call: Call, made: Buffers, number: int, t: int, d: Tensor, norms: Norms
) -> Tensor:
    """Through the normalisation of a layer's output; adds to the layer's gradients in ``norms``."""
    weights, layer = call.weights.layers[number], made.layers[number]
    assert layer.norm is not None  # with layer normalisation
    mean, inverse = layer.norm[0, t], layer.norm[1, t]
    d, d_weight, d_bias = _aten.native_layer_norm_backward(
        d, layer.hidden[t + 1], [d.shape[1]], mean, inverse, weights.norm_weight,
        weights.norm_bias, [True, True, True],
    )  # fmt: skip
    old = norms[number]
    norms[number] = (d_weight, d_bias) if old is None else (old[0] + d_weight, old[1] + d_bias)
    return d


def _collect(
    call: Call,
    made: Buffers,
    d_state: tuple[Tensor | None, ...],
    d_raw: Tensor,
    d_gates: list[Tensor],
    attention: AttentionBackward | None,
    norms: Norms,
) -> list[Tensor | None]:
    """The products over all steps."""
    dtype, size, kind = call.inputs.dtype, call.state.hidden.shape[2], call.kind
    batch, steps, _ = call.inputs.shape
    first = d_gates[0].flatten(0, 1)  # (T*B, C)
    d_flat, d_inputs = products.product(first, static_weight(call)).to(dtype), None
    if d_flat.numel():
        d_inputs = d_flat.view(steps, batch, -1).transpose(0, 1)
    static = products.product(first.t(), embedded(call)).to(dtype)  # (C, E)
    d_output = products.product(d_raw.flatten(0, 1).t(), made.tops.flatten(0, 1)).to(dtype)
    flat: list[Tensor | None] = []
    for number, layer in enumerate(made.layers):
        d = d_gates[number].flatten(0, 1)  # (T*B, C)
        d_weight = products.product(layer.rows.flatten(0, 1).t(), d).to(dtype)  # (I + H, C)
        d_weight = d_weight.t()  # (C, I + H)
        if number == 0:
            d_weight = torch.cat([static, d_weight], 1)
        columns, inside = layer.gates.shape[2], d_weight.shape[1] - size
        d_bias = d.sum(0, dtype=dtype)
        if attention is not None and attention.sentinel is not None:  # in the end, the top layer's
            own = d_weight[columns:]  # (H, I + H)
            d_sentinel = own[:, :inside], own[:, inside:], d_bias[columns:].clone()
        d_weight, d_bias = d_weight[:columns], d_bias[:columns]
        # two tensors, of an Elman cell, too: the optimizer and clipping change them in place
        biases = rows(d_bias, kind, "x"), rows(d_bias.clone(), kind, "h")
        flat += [rows(d_weight[:, :inside], kind, "x"), rows(d_weight[:, inside:], kind, "h")]
        flat += biases
        flat += norms[number] or (None, None)
    d_memory = (None,) * 4 if attention is None else attention.collect()
    d_gate = (None, None) if attention is None else attention.collect_gate()
    if attention is None or attention.sentinel is None:
        d_own: tuple[Tensor | None, ...] = (None,) * 4
    else:
        d_own = (*d_sentinel, attention.sentinel.collect())
    return [d_inputs, *d_state, *d_memory, d_output, *d_gate, *d_own, *flat]
