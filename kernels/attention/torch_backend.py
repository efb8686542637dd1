"""Attention for CPU, and where no kernel exists.

Additive scores hold one bounded block of tanh(q + k) at a time, small enough for the cache,
and make it again in the backward pass; only the inputs and the weights (B, T, S) are kept.
Dot scores are two batched products, which autograd handles well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from kernels.attention import reference
from kernels.attention.masking import masked_softmax, padding, without_padding
from kernels.precision import precision

_BLOCK = 1 << 18  # elements of tanh(q + k) held at once; 1 MiB in float32, a part of L2


def additive_attention(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """-> context (B, T, D), weights (B, T, S)"""
    return _Additive.apply(query, keys, values, weight, bias, lengths)


def dot_attention(
    query: Tensor, keys: Tensor, values: Tensor, scale: float, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """-> context (B, T, D), weights (B, T, S)"""
    found = precision(query)
    padded = padding(lengths, keys.size(0), keys.size(1), keys.device)
    with torch.autocast(query.device.type, enabled=False):
        query, keys, values = (tensor.to(found.product) for tensor in (query, keys, values))
        keys, values = without_padding(keys, padded), without_padding(values, padded)
        scores = torch.bmm(query, keys.transpose(1, 2)).to(found.state) * scale  # (B, T, S)
        weights = masked_softmax(scores, padded)
        context = torch.bmm(weights.to(found.product), values)  # (B, T, D)
    return context.to(found.output), weights.to(found.output)


class _Additive(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        lengths: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        found = precision(query)
        padded = padding(lengths, keys.size(0), keys.size(1), keys.device)
        with torch.autocast(query.device.type, enabled=False):
            projected = _with_bias(query.to(found.state), bias)
            shown = without_padding(keys.to(found.state), padded)
            vector = weight.to(found.state)
            scores = projected.new_empty(*query.shape[:2], keys.size(1))  # (B, T, S)
            for rows, steps, hidden in _blocks(projected, shown):
                scores[rows, steps] = hidden @ vector
            weights = masked_softmax(scores, padded)
            context = torch.bmm(weights, without_padding(values.to(found.state), padded))
        ctx.save_for_backward(query, keys, values, weight, bias, lengths, weights)
        ctx.set_materialize_grads(False)
        return context.to(found.output), weights.to(found.output)

    @staticmethod
    def backward(
        ctx: Any, d_context: Tensor | None, d_weights: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        *inputs, lengths, weights = ctx.saved_tensors
        if d_context is None and d_weights is None:
            return (None,) * 6
        if torch.is_grad_enabled():  # create_graph: these gradients are differentiated again
            grads = _differentiable_backward(
                inputs, lengths, (d_context, d_weights), ctx.needs_input_grad
            )
        else:
            with torch.autocast(weights.device.type, enabled=False):
                grads = _additive_backward(inputs, lengths, weights, d_context, d_weights)
        return tuple(
            grad.to(argument.dtype) if grad is not None and want else None
            for grad, argument, want in zip(
                (*grads, None), (*inputs, None), ctx.needs_input_grad, strict=True
            )
        )


def _additive_backward(
    inputs: list[Tensor | None],
    lengths: Tensor | None,
    weights: Tensor,
    d_context: Tensor | None,
    d_weights: Tensor | None,
) -> tuple[Tensor | None, ...]:
    """Gradients of query, keys, values, weight and bias, in the dtype of ``weights``."""
    query, keys, values, weight, bias = inputs
    state = weights.dtype
    padded = padding(lengths, keys.size(0), keys.size(1), keys.device)
    projected = _with_bias(query.to(state), bias)
    shown, vector = without_padding(keys.to(state), padded), weight.to(state)
    d_alpha = torch.zeros_like(weights) if d_weights is None else d_weights.to(state)
    d_values = None
    if d_context is not None:
        d_context = d_context.to(state)
        clean = without_padding(values.to(state), padded)
        d_alpha = torch.baddbmm(d_alpha, d_context, clean.transpose(1, 2))  # (B, T, S)
        d_values = torch.bmm(weights.transpose(1, 2), d_context)  # (B, S, D)
    d_scores = weights * (d_alpha - (weights * d_alpha).sum(-1, keepdim=True))  # (B, T, S)

    # d tanh = 1 - tanh^2. The 1 drops out of d_query, since d_scores sums to 0 over S, and is
    # a plain sum in d_keys; so both need only the sums of d_scores * tanh^2.
    d_query, d_vector = torch.empty_like(projected), torch.zeros_like(vector)
    squares = torch.zeros_like(shown)  # (B, S, H) sum over T of d_scores * tanh^2
    for rows, steps, hidden in _blocks(projected, shown):
        part = d_scores[rows, steps]  # (b, t, S)
        d_vector.addmv_(hidden.flatten(0, 2).t(), part.flatten())
        hidden.mul_(hidden)
        d_query[rows, steps] = (part[:, :, None] @ hidden).squeeze(2)  # (b, t, H)
        if hidden.size(1) == 1:
            squares[rows].addcmul_(hidden[:, 0], part[:, 0, :, None])
        else:
            squares[rows] += hidden.mul_(part[..., None]).sum(1)
    d_query.mul_(-vector)
    d_keys = squares.neg_().add_(d_scores.sum(1)[:, :, None]).mul_(vector)
    d_bias = None if bias is None else d_query.sum((0, 1))
    return d_query, d_keys, d_values, d_vector, d_bias


def _with_bias(query: Tensor, bias: Tensor | None) -> Tensor:
    return query if bias is None else query + bias.to(query.dtype)


def _blocks(query: Tensor, keys: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """tanh(q + k) of all pairs, block by block: rows, steps, and (b, t, S, H), which the next
    block overwrites."""
    batch, steps, size = query.shape
    source = keys.size(1)
    pair = max(1, source * size)
    rows = max(1, min(batch, _BLOCK // pair))
    length = max(1, _BLOCK // (pair * rows)) if rows == batch else 1
    buffer = query.new_empty(rows * min(length, max(1, steps)) * source * size)
    for b in range(0, batch, rows):
        for t in range(0, steps, length):
            q = query[b : b + rows, t : t + length, None]  # (b, t, 1, H)
            k = keys[b : b + rows, None]  # (b, 1, S, H)
            shape = (q.size(0), q.size(1), source, size)
            hidden = buffer[: q.size(0) * q.size(1) * source * size].view(shape)
            torch.add(q, k, out=hidden)
            yield slice(b, b + rows), slice(t, t + length), hidden.tanh_()


def _differentiable_backward(
    inputs: list[Tensor | None],
    lengths: Tensor | None,
    grads: tuple[Tensor | None, Tensor | None],
    wanted: tuple[bool, ...],
) -> tuple[Tensor | None, ...]:
    """The same gradients by autograd through the reference, so that they have gradients too."""
    results = reference.additive_attention(*inputs, lengths)
    pairs = [(r, g.to(r.dtype)) for r, g in zip(results, grads, strict=True) if g is not None]
    found = iter(
        torch.autograd.grad(
            [result for result, _ in pairs],
            [tensor for tensor, want in zip(inputs, wanted, strict=False) if want],
            [grad for _, grad in pairs],
            create_graph=True,
            allow_unused=True,
        )
    )
    return tuple(next(found) if want else None for want in wanted[:5])
