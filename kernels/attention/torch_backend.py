"""Attention for CPU, and where no kernel exists, without an autograd tape.

Additive scores hold one bounded block of pairs of queries and keys at a time, small enough for the
cache (``kernels.common.additive``), and make it again in the backward pass; only the inputs and the
weights (B, N, T, S) are kept.
Dot scores are batched products. Several heads are rows of a larger batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from kernels.attention.arguments import Arguments, Options, by_head, product_precision
from kernels.common.additive import factors, pair, remainders, slopes_
from kernels.common.masking import (
    in_window,
    missing,
    softmax_of_seen,
    window_factor,
    without_padding,
)
from kernels.common.precision import Precision

_BLOCK = 1 << 18  # elements of all pairs held at once; 1 MiB in float32, a part of L2


def forward(arguments: Arguments, options: Options, dtypes: Precision) -> tuple[Tensor, Tensor]:
    """-> context (B, T, N*D), weights (B, N, T, S) in the dtype of the state"""
    rows = _rows(arguments, options, dtypes)
    weights = softmax_of_seen(_scores(rows, options, dtypes), rows.hidden)  # (B*N, T, S)
    if rows.factor is not None:
        weights = weights * rows.factor
    context = torch.bmm(weights.to(rows.values.dtype), rows.values)  # (B*N, T, D)
    return _joined(context, options.heads).to(dtypes.output), _apart(weights, options.heads)


def backward(
    arguments: Arguments,
    options: Options,
    dtypes: Precision,
    weights: Tensor,
    d_context: Tensor | None,
    d_weights: Tensor | None,
) -> tuple[Tensor | None, ...]:
    """Gradients of all arguments; of those that are None, None."""
    rows = _rows(arguments, options, dtypes)
    heads, product = options.heads, rows.values.dtype
    weights = weights.flatten(0, 1).to(dtypes.state)  # (B*N, T, S)
    d_alpha = torch.zeros_like(weights) if d_weights is None else d_weights.flatten(0, 1)
    d_values = None
    if d_context is not None:
        d_context = by_head(d_context.to(product), heads).flatten(0, 1)  # (B*N, T, D)
        products = torch.bmm(d_context, rows.values.transpose(1, 2)).to(dtypes.state)
        d_alpha = products if d_weights is None else products + d_alpha  # (B*N, T, S)
        d_values = torch.bmm(weights.to(product).transpose(1, 2), d_context)
        d_values = _joined(d_values, heads)  # (B, S, N*D)
    weighted = weights * d_alpha.to(dtypes.state)  # (B*N, T, S)
    d_centre = None
    if rows.factor is not None:
        assert arguments.centre is not None  # with a window
        places = torch.arange(weights.size(2), device=weights.device)
        apart = places - arguments.centre.to(dtypes.state)[:, :, None]  # (B, T, S)
        pull = _apart(weighted, heads).sum(1) * apart  # (B, T, S)
        d_centre = pull.sum(2) / (0.5 * options.window) ** 2
        # The softmax itself: the weights are the softmax times the factor of the window.
        whole = torch.where(rows.factor > 0, weights / rows.factor, 0)
        d_scores = weighted - whole * weighted.sum(2, keepdim=True)
    else:
        d_scores = weighted - weights * weighted.sum(2, keepdim=True)
    if options.scale != 1:
        d_scores = d_scores * options.scale
    if arguments.weight is None:
        d_scores = d_scores.to(product)
        d_query = _joined(torch.bmm(d_scores, rows.keys), heads)
        d_keys = _joined(torch.bmm(d_scores.transpose(1, 2), rows.query), heads)
        return d_query, d_keys, d_values, None, None, None, None, d_centre
    d_query, d_keys, d_vector, d_coverage, d_cover_weight = _additive_backward(rows, d_scores)
    sums = (
        None if vectors is None else _apart(vectors, heads)
        for vectors in (d_vector, d_cover_weight)
    )
    d_weight, d_coverage_weight = (None if s is None else s.sum(0).flatten() for s in sums)
    d_query = _joined(d_query, heads)
    d_bias = None if arguments.bias is None else d_query.sum((0, 1))
    if d_coverage is not None:
        d_coverage = _apart(d_coverage, heads).sum(1)
    return (
        d_query, _joined(d_keys, heads), d_values, d_weight, d_bias, d_coverage,
        d_coverage_weight, d_centre,
    )  # fmt: skip


class _Rows(NamedTuple):
    """The arguments with a row for each head of each sequence, and bias and padding seen to."""

    query: Tensor  # (B*N, T, H)
    keys: Tensor  # (B*N, S, H)
    values: Tensor  # (B*N, S, D)
    vector: Tensor | None  # (B*N, H) of additive scores; (1, H) of a single head
    coverage: Tensor | None  # (B*N, T, S)
    coverage_weight: Tensor | None  # as vector
    hidden: Tensor | None  # (B*N, 1 or T, S)
    factor: Tensor | None  # (B*N, T, S)


def _rows(arguments: Arguments, options: Options, dtypes: Precision) -> _Rows:
    query, keys, values, weight, bias, coverage, coverage_weight, centre = arguments
    heads, batch, additive = options.heads, query.size(0), weight is not None
    padded = missing(options.lengths, options.mask, keys)
    kind = dtypes.state if additive else product_precision(dtypes, additive)
    if kind == torch.float16:  # scores beyond 65504 would be infinite
        kind = dtypes.state

    def rows(tensor: Tensor) -> Tensor:
        return by_head(tensor.to(kind), heads).flatten(0, 1)

    def repeated(tensor: Tensor) -> Tensor:
        """(B, ...) -> (B*N, ...)"""
        return tensor if heads == 1 else tensor.repeat_interleave(heads, 0)

    def vectors(tensor: Tensor | None) -> Tensor | None:
        if tensor is None:
            return None
        tensor = tensor.to(kind).view(heads, -1)
        return tensor if heads == 1 else tensor.repeat(batch, 1)

    if bias is not None:
        query = query.to(kind) + bias.to(kind)
    hidden = None if padded is None else padded[:, None]  # (B, 1, S)
    factor = None
    if centre is not None:
        centre = centre.to(dtypes.state)
        outside = ~in_window(centre, options.window, keys.size(1))  # (B, T, S)
        hidden = outside if hidden is None else hidden | outside
        factor = repeated(window_factor(centre, options.window, keys.size(1)))
    if coverage is not None:
        coverage = repeated(without_padding(coverage.to(kind).mT, padded).mT)
    return _Rows(
        rows(query),
        rows(without_padding(keys, padded)),
        rows(without_padding(values, padded)),
        vectors(weight),
        coverage,
        vectors(coverage_weight),
        None if hidden is None else repeated(hidden),
        factor,
    )


def _joined(tensor: Tensor, heads: int) -> Tensor:
    """(B*N, T, D) -> (B, T, N*D)"""
    return tensor if heads == 1 else _apart(tensor, heads).transpose(1, 2).flatten(2)


def _apart(tensor: Tensor, heads: int) -> Tensor:
    """(B*N, ...) -> (B, N, ...)"""
    return tensor.unflatten(0, (len(tensor) // heads, heads))


def _scores(rows: _Rows, options: Options, dtypes: Precision) -> Tensor:
    """(B*N, T, S)"""
    if rows.vector is None:
        scores = torch.bmm(rows.query, rows.keys.transpose(1, 2)).to(dtypes.state)
    else:
        shape = (*rows.query.shape[:2], rows.keys.size(1))
        scores = rows.query.new_empty(shape)
        doubled = -2 * rows.vector
        for b, t, r in _blocks(rows):  # v . tanh = v . (1 - 2r)
            if len(doubled) == 1:
                scores[b, t] = r @ doubled[0]
            else:
                scores[b, t] = (r @ doubled[b, None, :, None])[..., 0]
        scores += rows.vector.sum(1)[:, None, None]
    return scores if options.scale == 1 else scores * options.scale


class _Covered(NamedTuple):
    """Coverage and its weight as in ``_Rows``, with room for their gradients."""

    coverage: Tensor
    weight: Tensor
    d_coverage: Tensor
    d_weight: Tensor


def _additive_backward(
    rows: _Rows, d_scores: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """Gradients of query (B*N, T, H), keys (B*N, S, H), weight (B*N, H), and of coverage
    (B*N, T, S) and its weight (B*N, H)."""
    # All that is needed of the large tensor are sums of d_scores * r and of d_scores * (r - r^2).
    query, keys, vector = rows.query, rows.keys, rows.vector
    assert vector is not None  # additive scores
    d_query, d_keys = torch.empty_like(query), torch.zeros_like(keys)
    sums = torch.zeros_like(vector)  # of d_scores * r
    covered = None
    if rows.coverage is not None and rows.coverage_weight is not None:
        found = torch.empty_like(d_scores), torch.zeros_like(vector)
        covered = _Covered(rows.coverage, rows.coverage_weight, *found)
    slope = 4 * vector  # (B*N or 1, H): of r - r^2, that of the score
    for b, t, r in _blocks(rows):
        part = d_scores[b, t]  # (b, t, S)
        flat = r.flatten(1, 2)  # (b, t*S, H)
        _add_products(sums, b, part, flat)
        slopes_(r)
        d_query[b, t] = (part[:, :, None] @ r).squeeze(2)  # (b, t, H)
        if covered is not None:
            gain = _of(slope * covered.weight, b)  # (b or 1, H)
            covered.d_coverage[b, t] = part * (flat @ gain[:, :, None])[:, :, 0].view_as(part)
            _add_products(covered.d_weight, b, part * covered.coverage[b, t], flat)
        if r.size(1) == 1:
            d_keys[b].addcmul_(r[:, 0], part[:, 0, :, None])
        else:
            d_keys[b] += r.mul_(part[..., None]).sum(1)
    every = d_scores.sum() if len(vector) == 1 else d_scores.sum((1, 2))[:, None]
    d_vector = every - 2 * sums
    d_query *= slope[:, None]
    d_keys *= slope[:, None]
    if covered is None:
        return d_query, d_keys, d_vector, None, None
    return d_query, d_keys, d_vector, covered.d_coverage, covered.d_weight.mul_(slope)


def _of(vectors: Tensor, b: slice) -> Tensor:
    return vectors if len(vectors) == 1 else vectors[b]


def _add_products(sums: Tensor, b: slice, part: Tensor, flat: Tensor) -> None:
    """To sums (B*N, H), or (1, H) over the batch, adds those over t and S of part * flat."""
    if len(sums) == 1:
        sums[0].addmv_(flat.flatten(0, 1).t(), part.flatten())
    else:
        sums[b] += (part.flatten(1)[:, None] @ flat)[:, 0]


def _blocks(rows: _Rows) -> Iterator[tuple[slice, slice, Tensor]]:
    """r = (1 - tanh(q + k)) / 2 of all pairs, block by block: rows, steps, and (b, t, S, H), which
    the next block overwrites."""
    pairs = None
    if rows.coverage is None:
        pairs = pair(rows.query, rows.keys, factors(rows.keys))
    query, keys = (rows.query, rows.keys) if pairs is None else pairs[:2]
    batch, steps, size = query.shape
    source = keys.size(1)
    step = max(1, source * size)  # elements of one query's pairs
    count = max(1, min(batch, _BLOCK // step))
    length = max(1, _BLOCK // (step * count)) if count == batch else 1
    buffer = query.new_empty(count * min(length, max(1, steps)) * source * size)
    for b in range(0, batch, count):
        for t in range(0, steps, length):
            here = slice(b, b + count), slice(t, t + length)
            q = query[here][:, :, None]  # (b, t, 1, H)
            k = keys[here[0], None]  # (b, 1, S, H)
            shape = (q.size(0), q.size(1), source, size)
            r = buffer[: q.size(0) * q.size(1) * source * size].view(shape)
            if pairs is None:
                assert rows.coverage is not None and rows.coverage_weight is not None
                weight = _of(rows.coverage_weight, here[0])[:, None, None]  # (b, 1, 1, H)
                torch.add(q, k, out=r).addcmul_(rows.coverage[here][..., None], weight)
                yield *here, r.mul_(-2).sigmoid_()
            else:
                yield *here, remainders(q, k, pairs.ones, r)
