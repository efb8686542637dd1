"""The attention decoder on NVIDIA GPUs: the loop as kernels, the rest as products around it.

Before the loop: the embedding's share of the gates, all steps in one product. After the backward
loop: every weight's gradient as one product over all steps, the keys' gradient by one kernel. The
loop keeps, for the backward pass, gates, states, queries, weights and contexts of all steps;
nothing of size (B, T, S, Q).
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from kernels.decoder.call import Call
from kernels.decoder.gates import rows as _rows
from kernels.decoder.triton_backend.attend import keys_backward_kernel
from kernels.decoder.triton_backend.launch import backward_loop, forward_loop
from kernels.decoder.triton_backend.prepare import (
    Buffers,
    Prepared,
    buffers,
    kept,
    prepare,
    restored,
)
from kernels.decoder.weights import DecoderWeights

__all__ = ["backward", "forward"]


def forward(call: Call, keep: bool, dry: bool) -> tuple[tuple[Tensor | None, ...], list[Tensor]]:
    """-> vectors (B, T, A), final hidden, cell, feed, attention weights (B, T, S), and what the
    backward pass needs. ``dry``: nothing is launched, the shapes are right.

    Raises RuntimeError for what has no kernel: context gate and sentinel, layer normalisation
    after some layers only, and values without columns.
    """
    check_offered(call.weights)
    if call.memory is not None and not call.memory.values.size(2):
        raise RuntimeError(
            "attention_decoder: memory.values have 0 columns, for which the 'triton' backend has "
            "no kernel; use 'auto' or 'torch'"
        )
    prepared = prepare(call)
    made = buffers(call, prepared)
    if not dry and made.vectors.numel():
        forward_loop(call, prepared, made, save=keep)
    return results(call, made), kept(call, made) if keep else []


def backward(
    call: Call, saved: list[Tensor], grads: tuple[Tensor | None, ...]
) -> list[Tensor | None]:
    """Gradients of the differentiable places of ``call.flatten``, in their order."""
    return _gradients(call, prepare(call), restored(call, saved), grads)


def check_offered(weights: DecoderWeights) -> None:
    for name in ("gate", "sentinel"):
        if getattr(weights, name) is not None:
            raise RuntimeError(
                f"attention_decoder: the 'triton' backend has no kernel for weights.{name}; "
                "use 'auto' or 'torch'"
            )
    normed = [layer.norm_weight is not None for layer in weights.layers]
    if any(normed) != all(normed):
        raise RuntimeError(
            f"attention_decoder: layers {[n for n, there in enumerate(normed) if there]} of "
            f"{len(normed)} have layer normalisation; the 'triton' backend expects all or none, "
            "use 'auto' or 'torch'"
        )


def results(call: Call, made: Buffers) -> tuple[Tensor | None, ...]:
    """vectors (B, T, A), final hidden, cell, feed, attention weights (B, T, S)."""
    output = call.found.output
    cell = feed = alpha = None
    if made.cells is not None:
        cell = made.cells[:, -1].to(output, copy=True)
    if made.fed is not None:
        feed = (made.vectors[-1] if len(made.vectors) else made.fed[0]).to(output, copy=True)
    if made.alpha is not None:
        alpha = made.alpha.transpose(0, 1).to(output, copy=True)  # the backward pass reads its own
    vectors = made.vectors.transpose(0, 1).clone(memory_format=torch.contiguous_format)
    return vectors, made.carry.to(output, copy=True), cell, feed, alpha


def _gradients(
    call: Call, prepared: Prepared, made: Buffers, grads: tuple[Tensor | None, ...]
) -> tuple[Tensor | None, ...]:
    """Of the tensors of ``flatten``, in their order."""
    d_vectors, d_hidden, d_cell, d_feed, d_alpha = grads
    layers, steps, batch, _ = made.gates.shape
    size, width = made.states.size(3), made.vectors.size(2)
    product = call.found.product

    def new(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return made.states.new_empty(shape, dtype=dtype)

    def arriving(gradient: Tensor | None, *shape: int) -> Tensor:
        if gradient is None:
            return made.states.new_zeros(shape, dtype=torch.float32)
        return gradient.to(torch.float32, copy=True, memory_format=torch.contiguous_format)

    if d_vectors is None:
        d_vectors = made.vectors.new_zeros(batch, steps, width)
    d_vectors = d_vectors.transpose(0, 1).contiguous()  # (T, B, A)
    if d_alpha is not None:
        d_alpha = d_alpha.transpose(0, 1).contiguous()  # (T, B, S)
    found: dict[str, Tensor | None] = {
        "d_raw": _before_tanh(prepared, made, d_vectors, d_feed, product),
        "d_contexts": None, "d_top": None, "d_scores": None, "d_queries": None, "d_cell": None,
        "d_skip": new(batch, size) if call.residual else None,
        "d_shown": new(layers, steps, batch, size) if call.normed else None,
        "d_hidden": arriving(d_hidden, layers, batch, size),
        "d_gates": torch.empty_like(made.gates),
        "d_feed": None,
    }  # fmt: skip
    if made.cells is not None:
        found["d_cell"] = arriving(d_cell, layers, batch, size)
    if made.fed is not None:
        found["d_feed"] = new(batch, width)
    if prepared.keys is not None:
        queries = prepared.keys.size(2)
        found["d_contexts"] = torch.empty_like(made.contexts)
        found["d_top"] = new(batch, size)
        found["d_scores"] = torch.empty_like(made.alpha)
        kept = torch.float32 if prepared.query is None else product
        found["d_queries"] = new(steps, batch, queries, dtype=kept)
    if made.vectors.numel():
        backward_loop(call, prepared, made, d_vectors, d_alpha, found)
    elif d_feed is not None:
        found["d_feed"] = d_feed
    else:
        found["d_feed"] = None if made.fed is None else found["d_feed"].zero_()
    return _collect(call, prepared, made, found)


def _before_tanh(
    prepared: Prepared,
    made: Buffers,
    d_vectors: Tensor,
    d_feed: Tensor | None,
    product: torch.dtype,
) -> Tensor:
    """Gradients of the sums before tanh (T, B, A), as far as they are known before the loop: of the
    last step, or, without input feeding, of all."""
    d_raw = torch.empty_like(made.vectors, dtype=product)
    first = 0 if made.fed is None else max(0, len(d_raw) - 1)
    if not len(d_raw):
        return d_raw
    d = d_vectors[first:].to(torch.float32)
    if d_feed is not None:
        d = d + d_feed
    if prepared.output_mask is not None:
        mask = prepared.output_mask
        d = d * (mask[first:] if mask.size(0) > 1 else mask)
    y = made.raw[first:].to(torch.float32)
    d_raw[first:] = d * (1 - y * y)
    return d_raw


def _collect(
    call: Call, prepared: Prepared, made: Buffers, found: dict[str, Tensor | None]
) -> tuple[Tensor | None, ...]:
    """The products over all steps."""
    layers, steps, batch, _ = made.gates.shape
    product, kind = call.found.product, call.kind
    d_gates = found["d_gates"].flatten(1, 2)  # (L, T*B, C)
    embedded = call.inputs.transpose(0, 1).flatten(0, 1).to(product)  # (T*B, E)
    d_inputs = torch.mm(d_gates[0], prepared.static).unflatten(0, (steps, batch)).transpose(0, 1)
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
        flat += _norm_gradients(made, found["d_shown"], number)
    top = made.shown[-1].flatten(0, 1)  # (T*B, H)
    d_raw = found["d_raw"].flatten(0, 1)  # (T*B, A)
    if prepared.keys is None:
        d_output = torch.mm(d_raw.t(), top)
        d_memory = (None, None, None, None)
    else:
        seen = made.contexts.flatten(0, 1)  # (T*B, D)
        d_output = torch.cat([torch.mm(d_raw.t(), seen), torch.mm(d_raw.t(), top)], 1)
        d_memory = _memory_gradients(call, prepared, made, found, top)
    return (
        d_inputs, found["d_hidden"], found["d_cell"], found["d_feed"], *d_memory, d_output,
        *(None,) * 6, *flat,
    )  # fmt: skip


def _norm_gradients(
    made: Buffers, d_shown: Tensor | None, layer: int
) -> tuple[Tensor | None, Tensor | None]:
    if d_shown is None:
        return None, None
    mean, inverse = made.statistics[layer].split(1, 2)  # (T, B, 1)
    normal = (made.states[layer, 1:] - mean) * inverse  # (T, B, H)
    return (d_shown[layer] * normal).sum((0, 1)), d_shown[layer].sum((0, 1))


def _memory_gradients(
    call: Call, prepared: Prepared, made: Buffers, found: dict[str, Tensor | None], top: Tensor
) -> tuple[Tensor | None, ...]:
    """Of keys, values, query weight and score weight."""
    product = call.found.product
    alpha = made.alpha.permute(1, 2, 0).to(product)  # (B, S, T)
    d_values = torch.bmm(alpha, found["d_contexts"].transpose(0, 1))  # (B, S, D)
    d_query = d_score = None
    queries = made.queries
    if prepared.query is None:
        queries = made.shown[-1]  # (T, B, H)
    else:
        d_query = torch.mm(found["d_queries"].flatten(0, 1).t(), top)
    if prepared.score is None:
        scores = (found["d_scores"] * call.scale).permute(1, 2, 0).to(product)  # (B, S, T)
        d_keys = torch.bmm(scores, queries.transpose(0, 1).to(product))  # (B, S, Q)
    else:
        d_keys, d_score = _additive_keys(prepared, queries.contiguous(), found["d_scores"])
    return d_keys, d_values, d_query, d_score


def _additive_keys(prepared: Prepared, queries: Tensor, d_scores: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of the keys (B, S, Q) and of the score weight (Q,)."""
    steps, batch, width = queries.shape
    source = prepared.keys.size(1)
    rows, columns = 32, 64
    grid = (batch, triton.cdiv(source, rows), triton.cdiv(width, columns))
    d_keys = torch.empty_like(prepared.keys, dtype=torch.float32)
    d_score = queries.new_empty(batch, grid[1], width)
    if d_keys.numel():
        keys_backward_kernel[grid](
            queries, prepared.keys, prepared.score, d_scores,
            prepared.keys if prepared.lengths is None else prepared.lengths, d_keys, d_score,
            batch, steps, source,
            Q=width, RAGGED=prepared.lengths is not None, BS=rows, BQ=columns, num_warps=4,
        )  # fmt: skip
    return d_keys, d_score.sum((0, 1))
