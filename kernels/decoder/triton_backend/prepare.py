"""Buffers of the loop: what it starts from, what it leaves, time-major."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from kernels.decoder.call import Call
from kernels.decoder.gates import bias as _bias
from kernels.decoder.gates import columns as _columns

_Four = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]


@dataclass(frozen=True)
class Prepared:
    """Weights and masks as the kernels read them."""

    first: Tensor  # (C, I + H)
    deep: Tensor  # (L-1, C, 2H)
    biases: Tensor  # (L-1, C) float32
    static: Tensor  # (C, E): layer 0 on the embedding
    static_bias: Tensor  # (C,)
    output: Tensor  # (A, D + H)
    query: Tensor | None  # (Q, H)
    gate: Tensor | None  # (G, H)
    gate_bias: Tensor | None  # (G,) float32
    sentinel: Tensor | None  # (H, IN' + H) on the top layer's [input; hidden] inside the loop
    sentinel_static: Tensor | None  # (H, E) on the embedding, where the top layer is the first
    sentinel_bias: Tensor | None  # (H,) float32
    sentinel_key: Tensor | None  # (Q, H)
    score: Tensor | None  # (Q,) float32
    keys: Tensor | None  # (B, S, Q)
    values: Tensor | None  # (B, S, D)
    lengths: Tensor | None  # (B,) int32
    gain: Tensor | None  # (L, H) float32, 1 for a layer without normalisation
    shift: Tensor | None
    between: Tensor | None  # (L-1, T or 1, B, H)
    output_mask: Tensor | None  # (T or 1, B, A)


@dataclass(frozen=True)
class Buffers:
    """What the forward loop fills. ``shown``, ``vectors`` and ``raw`` may be views of others."""

    gates: Tensor  # (L, T, B, C): [0] begins as the embedding's sums
    states: Tensor  # (L, T+1, B, H)
    carry: Tensor  # (L, B, H) float32
    cells: Tensor | None  # (L, T+1, B, H) float32
    shown: Tensor  # (L, T, B, H)
    statistics: Tensor | None  # (L, T, B, 2) float32
    queries: Tensor | None  # (T, B, Q) float32
    alpha: Tensor | None  # (T, B, S) float32
    contexts: Tensor | None  # (T, B, D)
    betas: Tensor | None  # (T, B, G) float32
    ungated: Tensor | None  # (T, B, D)
    sentinel_gates: Tensor | None  # (T, B, H), of one layer begin as the embedding's sums
    sentinels: Tensor | None  # (T, B, H)
    sentinel_keys: Tensor | None  # (T, B, Q) float32
    sentinel_alpha: Tensor | None  # (T, B) float32
    fed: Tensor | None  # (T+1, B, A)
    vectors: Tensor  # (T, B, A)
    raw: Tensor  # (T, B, A)


def prepare(call: Call) -> Prepared:
    weights, dtypes = call.weights, call.dtypes
    first, *deep = weights.layers
    embedding = call.inputs.size(2)
    size = call.state.hidden.size(2)

    def joined(inside: Tensor, recurrent: Tensor) -> Tensor:
        parts = [_columns(inside, call.kind, "x"), _columns(recurrent, call.kind, "h")]
        return torch.cat([part.to(dtypes.product) for part in parts], 1)  # (C, I + H)

    first_weight = joined(first.weight_ih[:, embedding:], first.weight_hh)
    columns = first_weight.size(0)
    deep_weights = first_weight.new_empty(len(deep), columns, 2 * size)
    biases = first_weight.new_empty(len(deep), columns, dtype=torch.float32)
    for number, layer in enumerate(deep):
        deep_weights[number] = joined(layer.weight_ih, layer.weight_hh)
        biases[number] = _bias(layer, call.kind)
    static = _columns(first.weight_ih[:, :embedding], call.kind, "x").to(dtypes.product)
    gain = shift = None
    if call.normed:
        gain = first_weight.new_ones(len(weights.layers), size, dtype=torch.float32)
        shift = torch.zeros_like(gain)
        for number, layer in enumerate(weights.layers):
            if layer.norm_weight is not None and layer.norm_bias is not None:
                gain[number], shift[number] = layer.norm_weight, layer.norm_bias
    memory = call.memory
    keys = values = lengths = None
    if memory is not None:
        keys = memory.keys.to(dtypes.product).contiguous()
        values = memory.values.to(dtypes.product).contiguous()
        if memory.lengths is not None:
            lengths = memory.lengths.to(keys.device, torch.int32).contiguous()
    return Prepared(
        first_weight,
        deep_weights,
        biases,
        static,
        _bias(first, call.kind).to(dtypes.product),
        weights.output.to(dtypes.product).contiguous(),
        _of(weights.query, dtypes.product),
        _of(weights.gate, dtypes.product),
        _of(weights.gate_bias, torch.float32),
        *_sentinel(call),
        _of(weights.score, torch.float32),
        keys,
        values,
        lengths,
        gain,
        shift,
        _between(call.masks.between),
        None if call.masks.output is None else call.masks.output.contiguous(),
    )


def _of(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if tensor is None else tensor.to(dtype).contiguous()


def _sentinel(call: Call) -> _Four:
    """Its gate's weight inside the loop, and on the embedding, its bias, the key's weight."""
    own, product = call.weights.sentinel, call.dtypes.product
    if own is None:
        return None, None, None, None
    static = call.inputs.size(2) if len(call.weights.layers) == 1 else 0
    inside = torch.cat([own.weight_x[:, static:], own.weight_h], 1).to(product)  # (H, IN' + H)
    embedded = own.weight_x[:, :static].to(product) if static else None
    return inside, embedded, _of(own.bias, torch.float32), _of(own.key, product)


def _between(masks: tuple[Tensor, ...]) -> Tensor | None:
    """One tensor of all masks; where some are shared by all steps and some are not, all are given a
    mask for every step."""
    if not masks:
        return None
    steps = max(mask.size(0) for mask in masks)
    return torch.stack([mask.expand(steps, -1, -1) for mask in masks])


def buffers(call: Call, prepared: Prepared) -> Buffers:
    """Fresh, with the embedding's sums, all steps in one product, and the initial states."""
    inputs, state, dtypes = call.inputs, call.state, call.dtypes
    batch, steps, _ = inputs.shape
    layers, _, size = state.hidden.shape
    width, columns = prepared.output.size(0), prepared.first.size(0)

    def new(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return inputs.new_empty(shape, dtype=dtype)

    gates = new(layers, steps, batch, columns, dtype=dtypes.product)
    embedded = inputs.transpose(0, 1).flatten(0, 1).to(dtypes.product)  # (T*B, E)
    torch.addmm(prepared.static_bias, embedded, prepared.static.t(), out=gates[0].view(-1, columns))
    states = new(layers, steps + 1, batch, size, dtype=dtypes.product)
    states[:, 0] = state.hidden
    carry = state.hidden.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    cells = None
    if state.cell is not None:
        cells = new(layers, steps + 1, batch, size)
        cells[:, 0] = state.cell
    shown = states[:, 1:]
    if call.shown:
        shown = new(layers, steps, batch, size, dtype=dtypes.product)
    queries = alpha = contexts = betas = ungated = None
    if prepared.keys is not None:
        assert prepared.values is not None  # a memory has both
        alpha = new(steps, batch, prepared.keys.size(1))
        contexts = new(steps, batch, prepared.values.size(2), dtype=dtypes.product)
        if prepared.query is not None:
            queries = new(steps, batch, prepared.keys.size(2))
        if prepared.gate is not None:
            betas = new(steps, batch, prepared.gate.size(0))
            ungated = torch.empty_like(contexts)
    sentinel = _sentinel_buffers(call, prepared, embedded)
    fed = None
    vectors = None
    if state.feed is not None:
        fed = new(steps + 1, batch, width, dtype=dtypes.product)
        fed[0] = state.feed
        if dtypes.product == dtypes.output:
            vectors = fed[1:]
    if vectors is None:
        vectors = new(steps, batch, width, dtype=dtypes.output)
    raw = vectors
    if prepared.output_mask is not None:
        raw = new(steps, batch, width, dtype=dtypes.output)
    statistics = None
    if call.normed:  # zeros: a layer without normalisation writes none
        statistics = new(layers, steps, batch, 2).zero_()
    return Buffers(
        gates, states, carry, cells, shown, statistics, queries, alpha, contexts, betas, ungated,
        *sentinel, fed, vectors, raw,
    )  # fmt: skip


def _sentinel_buffers(call: Call, prepared: Prepared, embedded: Tensor) -> _Four:
    """Its gates, values, keys and weights; embedded (T*B, E)."""
    if prepared.sentinel is None:
        return None, None, None, None
    steps, (batch, size) = call.inputs.size(1), call.state.hidden.shape[1:]
    gates = embedded.new_empty(steps, batch, size)
    assert prepared.keys is not None  # a sentinel is a place beside a memory's
    if prepared.sentinel_static is not None and prepared.sentinel_bias is not None:
        bias = prepared.sentinel_bias.to(embedded.dtype)
        torch.addmm(bias, embedded, prepared.sentinel_static.t(), out=gates.view(-1, size))
    keys = gates.new_empty(steps, batch, prepared.keys.size(2), dtype=torch.float32)
    alpha = gates.new_empty(steps, batch, dtype=torch.float32)
    return gates, torch.empty_like(gates), keys, alpha


def kept(call: Call, made: Buffers) -> list[Tensor]:
    """What the backward pass needs of the buffers, as one list; an empty vector stands for what is
    absent, or a view of another."""
    own: dict[str, Tensor | None] = {f.name: getattr(made, f.name) for f in fields(made)}
    own["carry"] = None
    for name in _views(call):
        own[name] = None
    return [made.states.new_empty(0) if t is None else t for t in own.values()]


def restored(call: Call, saved: list[Tensor]) -> Buffers:
    """The inverse of ``kept``, but for ``carry``."""
    names = [f.name for f in fields(Buffers)]
    own: dict[str, Any] = {
        name: None if t.dim() == 1 else t for name, t in zip(names, saved, strict=True)
    }
    for name in _views(call):
        if name == "shown":
            own[name] = own["states"][:, 1:]
        else:
            own[name] = own["fed"][1:] if name == "vectors" else own["vectors"]
    return Buffers(**own)


def _views(call: Call) -> list[str]:
    """Which buffers are views of others, in an order in which they can be made."""
    found = [] if call.shown else ["shown"]
    if call.state.feed is not None and call.dtypes.product == call.dtypes.output:
        found.append("vectors")
    return found if call.masks.output is not None else [*found, "raw"]
