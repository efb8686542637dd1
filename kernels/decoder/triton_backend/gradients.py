"""The products over all steps, after the backward loop: gradients of weights, keys and values."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from kernels.common.launching import Fixed, Kernel, Pointers, on_device
from kernels.decoder.call import Call
from kernels.decoder.gates import rows as _rows
from kernels.decoder.triton_backend.attend import keys_backward_kernel
from kernels.decoder.triton_backend.prepare import Buffers, Prepared


class KeysPointers(NamedTuple):
    """Arguments of ``keys_backward_kernel``, which explains their shapes; None: absent."""

    queries: Tensor
    keys: Tensor
    score: Tensor
    d_scores: Tensor
    lengths: Tensor | None
    d_keys: Tensor
    d_score: Tensor


KEYS = Kernel(keys_backward_kernel, KeysPointers)


def collect(
    call: Call, prepared: Prepared, made: Buffers, found: dict[str, Any]
) -> tuple[Tensor | None, ...]:
    """In the order of ``call.flatten``; ``found``: what the loop left, by its kernel's names:
    tensors, None where absent."""
    layers, steps, batch, _ = made.gates.shape
    product, kind = call.dtypes.product, call.kind
    d_gates = found["d_gates"].flatten(1, 2)  # (L, T*B, C)
    embedded = call.inputs.transpose(0, 1).flatten(0, 1).to(product)  # (T*B, E)
    d_inputs = torch.mm(d_gates[0], prepared.static)  # (T*B, E)
    flat: list[Tensor | None] = []
    for number in range(layers):
        d = d_gates[number]  # (T*B, C)
        read = made.states[number, :-1].flatten(0, 1)  # (T*B, H)
        if number:
            below = made.shown[number - 1].flatten(0, 1)
            d_ih = torch.mm(d.t(), below)  # (C, I)
        else:
            d_ih = torch.mm(d.t(), embedded)
            if made.fed is not None:
                fed = made.fed[:-1].flatten(0, 1)
                d_ih = torch.cat([d_ih, torch.mm(d.t(), fed)], 1)
        d_hh = torch.mm(d.t(), read)  # (C, H)
        d_bias = d.sum(0, dtype=torch.float32)
        flat += [_rows(d_ih, kind, "x"), _rows(d_hh, kind, "h")]
        # two tensors: the optimizer and clipping change them in place
        flat += [_rows(d_bias, kind, "x"), _rows(d_bias.clone(), kind, "h")]
        normed = call.weights.layers[number].norm_weight is not None
        flat += _norm_gradients(made, found["d_shown"], number) if normed else (None, None)
    d_sentinel: tuple[Tensor | None, ...] = (None, None, None, None)
    if prepared.sentinel is not None:
        d_sentinel = _sentinel_gradients(made, found, embedded)
        if prepared.sentinel_static is not None:
            of_gates = found["d_sentinel_gates"].flatten(0, 1)  # (T*B, H)
            d_inputs = torch.addmm(d_inputs, of_gates, prepared.sentinel_static)
    d_inputs = d_inputs.unflatten(0, (steps, batch)).transpose(0, 1)
    top = made.shown[-1].flatten(0, 1)  # (T*B, H)
    d_raw = found["d_raw"].flatten(0, 1)  # (T*B, A)
    if prepared.keys is None:
        d_output = torch.mm(d_raw.t(), top)
        d_memory: tuple[Tensor | None, ...] = (None, None, None, None)
        d_gate: tuple[Tensor | None, ...] = (None, None)
    else:
        assert made.contexts is not None  # with memory
        seen = made.contexts.flatten(0, 1)  # (T*B, D)
        d_output = torch.cat([torch.mm(d_raw.t(), seen), torch.mm(d_raw.t(), top)], 1)
        d_memory = _memory_gradients(call, prepared, made, found, top)
        d_gate = _gate_gradients(found["d_betas"], top)
    return (
        d_inputs, found["d_hidden"], found["d_cell"], found["d_feed"], *d_memory, d_output,
        *d_gate, *d_sentinel, *flat,
    )  # fmt: skip


def _norm_gradients(made: Buffers, d_shown: Tensor, layer: int) -> tuple[Tensor, Tensor]:
    assert made.statistics is not None  # with layer normalisation
    mean, inverse = made.statistics[layer].split(1, 2)  # (T, B, 1)
    normal = (made.states[layer, 1:] - mean) * inverse  # (T, B, H)
    return (d_shown[layer] * normal).sum((0, 1)), d_shown[layer].sum((0, 1))


def _gate_gradients(d_betas: Tensor | None, top: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of the context gate's weight (G, H) and bias (G,); top (T*B, H)."""
    if d_betas is None:
        return None, None
    d = d_betas.flatten(0, 1)  # (T*B, G)
    return torch.mm(d.t(), top), d.sum(0, dtype=torch.float32)


def _sentinel_gradients(
    made: Buffers, found: dict[str, Any], embedded: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of the sentinel's weight_x (H, I), weight_h (H, H), bias (H,), key (Q, H)."""
    assert made.sentinels is not None  # with a sentinel
    d = found["d_sentinel_gates"].flatten(0, 1)  # (T*B, H)
    if len(made.gates) > 1:
        d_x = torch.mm(d.t(), made.shown[-2].flatten(0, 1))
    else:
        d_x = torch.mm(d.t(), embedded)
        if made.fed is not None:
            d_x = torch.cat([d_x, torch.mm(d.t(), made.fed[:-1].flatten(0, 1))], 1)
    d_h = torch.mm(d.t(), made.states[-1, :-1].flatten(0, 1))
    d_key = torch.mm(found["d_sentinel_keys"].flatten(0, 1).t(), made.sentinels.flatten(0, 1))
    return d_x, d_h, d.sum(0, dtype=torch.float32), d_key


def _memory_gradients(
    call: Call, prepared: Prepared, made: Buffers, found: dict[str, Any], top: Tensor
) -> tuple[Tensor | None, ...]:
    """Gradients of keys, values, query weight and score weight."""
    product = call.dtypes.product
    assert made.alpha is not None  # with memory
    alpha = made.alpha.permute(1, 2, 0).to(product)  # (B, S, T)
    d_values = torch.bmm(alpha, found["d_contexts"].transpose(0, 1))  # (B, S, D)
    d_query = d_score = None
    queries = made.shown[-1] if made.queries is None else made.queries  # (T, B, Q)
    if prepared.query is not None:
        d_query = torch.mm(found["d_queries"].flatten(0, 1).t(), top)
    if prepared.score is None:
        scores = (found["d_scores"] * call.scale).permute(1, 2, 0).to(product)  # (B, S, T)
        d_keys = torch.bmm(scores, queries.transpose(0, 1).to(product))  # (B, S, Q)
    else:
        queries = queries.contiguous()
        d_keys, d_score = _additive_keys(prepared, queries, found["d_scores"])
        if prepared.sentinel is not None:  # its place is one more that the score weight reads
            assert made.sentinel_keys is not None  # with a sentinel
            own = torch.tanh(queries + made.sentinel_keys).flatten(0, 1)  # (T*B, Q)
            d_score = d_score.addmv(own.t(), found["d_sentinel_scores"].flatten())
    return d_keys, d_values, d_query, d_score


def _additive_keys(prepared: Prepared, queries: Tensor, d_scores: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of the keys (B, S, Q) and of the score weight (Q,)."""
    steps, batch, width = queries.shape
    score = prepared.score
    assert prepared.keys is not None and score is not None  # additive scores of a memory
    source = prepared.keys.size(1)
    rows, columns = 32, 64
    grid = (batch, triton.cdiv(source, rows), triton.cdiv(width, columns))
    d_keys = torch.empty_like(prepared.keys, dtype=torch.float32)
    d_score = queries.new_empty(batch, grid[1], width)
    if d_keys.numel():
        with on_device(d_keys.device):
            pointers = KeysPointers(
                queries=queries,
                keys=prepared.keys,
                score=score,
                d_scores=d_scores,
                lengths=prepared.lengths,
                d_keys=d_keys,
                d_score=d_score,
            )
            KEYS.bind(
                Pointers(pointers, prepared.keys),
                {"batch": batch, "steps": steps, "sources": source},
                Fixed(
                    {"Q": width, "RAGGED": prepared.lengths is not None, "BS": rows, "BQ": columns},
                    {"num_warps": 4},
                ),
            )(grid)
    return d_keys, d_score.sum((0, 1))
