"""What the forward loop leaves for the backward one, time-major."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from kernels.decoder.call import Call
from kernels.decoder.weights import gates_of


class LayerBuffers(NamedTuple):
    """C gate columns; I: the layer's input inside the loop."""

    rows: Tensor  # (T, B, I + H) the loop's product rows [input; hidden], product dtype
    gates: Tensor  # (T, B, C) activations
    hidden: Tensor  # (T + 1, B, H)
    cell: Tensor | None  # (T + 1, B, H)
    cell_tanh: Tensor | None  # (T, B, H)
    norm: Tensor | None  # (2, T, B, 1) mean and 1 / deviation of the layer's output


class Buffers(NamedTuple):
    """Half precision where a product reads it (product dtype), else the dtype of states."""

    tops: Tensor  # (T, B, D + H) [context; hidden], product dtype
    raw: Tensor  # (T, B, A) attentional vectors before their mask
    alpha: Tensor | None  # (T, B, S) attention weights; (T, B, S + 1) with the sentinel's
    queries: Tensor | None  # (T, B, Q), where they are not the hidden states themselves
    beta: Tensor | None  # (T, B, G) the context gate
    contexts: Tensor | None  # (T, B, D) before it, product dtype
    sentinel_gates: Tensor | None  # (T, B, H)
    sentinels: Tensor | None  # (T, B, H)
    sentinel_keys: Tensor | None  # (T, B, Q)
    layers: tuple[LayerBuffers, ...]


def allocate(call: Call, keep: bool) -> Buffers:
    """Without ``keep`` all steps share the memory of one, but for results and states."""
    inputs, weights, state, memory = call.inputs, call.weights, call.state, call.memory
    product = call.dtypes.product
    batch, steps, _ = inputs.shape
    size, width = state.hidden.shape[2], weights.output.shape[0]

    def new(*shape: int, dtype: torch.dtype = inputs.dtype) -> Tensor:
        if keep:
            return inputs.new_empty(steps, batch, *shape, dtype=dtype)
        return inputs.new_empty(1, batch, *shape, dtype=dtype).expand(steps, batch, *shape)

    def narrow(*shape: int) -> Tensor:
        return new(*shape, dtype=product)

    columns = (4 if call.kind == "gru" else gates_of(call.kind)) * size
    layers = []
    for number, layer in enumerate(weights.layers):
        inside = size
        if number == 0:
            inside = 0 if state.feed is None else width
        cell = None if state.cell is None else inputs.new_empty(steps + 1, batch, size)
        layers.append(
            LayerBuffers(
                narrow(inside + size),
                new(columns),
                inputs.new_empty(steps + 1, batch, size),
                cell,
                None if cell is None else new(size),
                None if layer.norm_weight is None else inputs.new_empty(2, steps, batch, 1),
            )
        )
    alpha = queries = beta = contexts = None
    sentinel: tuple[Tensor | None, Tensor | None, Tensor | None] = (None, None, None)
    if memory is not None:
        places = memory.keys.shape[1] + (weights.sentinel is not None)
        alpha = inputs.new_empty(steps, batch, places)
        if weights.query is not None or weights.score is not None:
            queries = new(memory.keys.shape[2])
        if weights.gate is not None:
            beta, contexts = new(weights.gate.shape[0]), narrow(memory.values.shape[2])
        if weights.sentinel is not None:
            sentinel = new(size), new(size), new(memory.keys.shape[2])
    return Buffers(
        narrow(weights.output.shape[1]), inputs.new_empty(steps, batch, width), alpha, queries,
        beta, contexts, *sentinel, tuple(layers),
    )  # fmt: skip


def kept(made: Buffers) -> list[Tensor]:
    """As one list; an absent tensor is an empty vector."""
    flat = [*made[:-1], *(tensor for layer in made.layers for tensor in layer)]
    return [made.raw.new_empty(0) if tensor is None else tensor for tensor in flat]


def restored(saved: list[Tensor], layers: int) -> Buffers:
    """The inverse of ``kept``."""
    flat: list[Any] = [None if tensor.dim() == 1 else tensor for tensor in saved]
    head, size = len(Buffers._fields) - 1, len(LayerBuffers._fields)
    parts = [flat[head + n * size : head + (n + 1) * size] for n in range(layers)]
    flat[head:] = [tuple(LayerBuffers(*part) for part in parts)]
    return Buffers(*flat)
