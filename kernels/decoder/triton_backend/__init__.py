"""The attention decoder on NVIDIA GPUs: the loop as kernels, the rest as products around it.

Before the loop: the embedding's share of the gates, all steps in one product. After the backward
loop: every weight's gradient as one product over all steps, the keys' gradient by one kernel. The
loop keeps, for the backward pass, gates, states, queries, weights and contexts of all steps;
nothing of size (B, T, S, Q).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kernels.decoder.call import Call
from kernels.decoder.triton_backend.gradients import collect
from kernels.decoder.triton_backend.launch import backward_loop, forward_loop
from kernels.decoder.triton_backend.prepare import (
    Buffers,
    Prepared,
    buffers,
    kept,
    prepare,
    restored,
)

__all__ = ["backward", "forward"]


def forward(call: Call, keep: bool, dry: bool) -> tuple[tuple[Tensor | None, ...], list[Tensor]]:
    """-> vectors (B, T, A), final hidden, cell, feed, attention weights (B, T, S), and what the
    backward pass needs. ``dry``: nothing is launched, the shapes are right.

    Raises RuntimeError for what has no kernel: values without columns.
    """
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
) -> tuple[Tensor | None, ...]:
    """Gradients of the differentiable places of ``call.flatten``, in their order."""
    return _gradients(call, prepare(call), restored(call, saved), grads)


def results(call: Call, made: Buffers) -> tuple[Tensor | None, ...]:
    """vectors (B, T, A), final hidden, cell, feed, attention weights (B, T, S)."""
    output = call.dtypes.output
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
    """Gradients of the tensors of ``flatten``, in their order."""
    d_vectors, d_hidden, d_cell, d_feed, d_alpha = grads
    layers, steps, batch, _ = made.gates.shape
    size, width = made.states.size(3), made.vectors.size(2)
    product = call.dtypes.product

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
    found: dict[str, Any] = {
        "d_raw": _before_tanh(prepared, made, d_vectors, d_feed, product),
        "d_contexts": None, "d_top": None, "d_scores": None, "d_queries": None, "d_cell": None,
        "d_betas": None, "d_sentinel_gates": None, "d_sentinel_keys": None,
        "d_sentinel_scores": None,
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
        assert made.contexts is not None and made.alpha is not None  # with memory
        queries = prepared.keys.size(2)
        found["d_contexts"] = torch.empty_like(made.contexts)
        found["d_top"] = new(batch, size)
        found["d_scores"] = torch.empty_like(made.alpha)
        kept = torch.float32 if prepared.query is None else product
        found["d_queries"] = new(steps, batch, queries, dtype=kept)
        if made.betas is not None:
            found["d_betas"] = torch.empty_like(made.betas, dtype=product)
        if made.sentinels is not None:
            assert made.sentinel_keys is not None and made.sentinel_alpha is not None
            found["d_sentinel_gates"] = torch.empty_like(made.sentinels)
            found["d_sentinel_keys"] = torch.empty_like(made.sentinel_keys, dtype=product)
            found["d_sentinel_scores"] = torch.empty_like(made.sentinel_alpha)
    if made.vectors.numel():
        backward_loop(call, prepared, made, d_vectors, d_alpha, found)
    elif d_feed is not None:
        found["d_feed"] = d_feed
    else:
        found["d_feed"] = None if made.fed is None else found["d_feed"].zero_()
    return collect(call, prepared, made, found)


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
