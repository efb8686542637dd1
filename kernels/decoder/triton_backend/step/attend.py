"""The phases ``attend`` and ``output`` of one step of search.

The K = ``beams`` hypotheses of a source lie side by side and read its keys and values where they
are.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.common.cells import tanh
from kernels.decoder.triton_backend.step.ask import sentinel_value
from kernels.decoder.triton_backend.step.products import multiply_joined


@triton.jit
def whole_scores(
    parts, padded, r, s, real, first, batch, sources,
    BLOCKS: tl.constexpr, NB: tl.constexpr, RAGGED: tl.constexpr, SENTINEL: tl.constexpr,
):  # fmt: skip
    """The scores of rows r at source positions s from their BLOCKS parts, always added up in the
    same order; -inf past the length. ``first``: of the source's positions in ``padded``."""
    block = tl.arange(0, NB)
    places = sources + SENTINEL
    here = s < places
    stride = batch.to(tl.int64) * places
    found = tl.load(
        parts + block[:, None, None] * stride + (r.to(tl.int64) * places)[None, :, None]
        + s[None, None, :],
        mask=(block < BLOCKS)[:, None, None] & real[None, :, None] & here[None, None, :],
        other=0.0,
        cache_modifier=".cg",
    )  # fmt: skip
    if RAGGED:
        real_word = tl.load(padded + first + s, mask=s < sources, other=1) == 0
        here = here & (real_word | (s >= sources))
    return tl.where(here[None, :], tl.sum(found, 0), -float("inf"))


@triton.jit
def value_columns(values, first, s, n, there, sources, WIDTH: tl.constexpr):
    """values[s, n] (BS, BN) of the source whose positions begin at ``first``."""
    return tl.load(
        values + (first + s)[:, None] * WIDTH + n[None, :],
        mask=(s < sources)[:, None] & there[None, :],
        other=0.0,
    ).to(tl.float32)


@triton.jit
def attend_tile(
    tile, parts, padded, values, sums, gates, alpha, contexts, vectors, opened, memory, batch,
    beams, sources,
    WIDTH: tl.constexpr, FOLDED: tl.constexpr, G: tl.constexpr, RAGGED: tl.constexpr,
    BLOCKS: tl.constexpr, NB: tl.constexpr, KB: tl.constexpr, BS: tl.constexpr, BN: tl.constexpr,
    SENTINEL: tl.constexpr, CELL: tl.constexpr,
):  # fmt: skip
    """BN columns for KB hypotheses of one source: softmax of the scores, made again by each program
    that needs it, and the weighted sum of values (B, S, WIDTH). FOLDED: the values went through the
    output's weight before, WIDTH is A, and the output is tanh(sums + what attention found); else
    the context goes to ``contexts``. The first column's program stores the weights.
    """
    across = tl.cdiv(WIDTH, BN)
    of_source = tl.cdiv(beams, KB)
    n = (tile % across) * BN + tl.arange(0, BN)
    there = n < WIDTH
    source = (tile // across) // of_source
    k = ((tile // across) % of_source) * KB + tl.arange(0, KB)
    real = k < beams
    r = source * beams + k
    first = source.to(tl.int64) * sources
    at = r[:, None] * WIDTH + n[None, :]
    active = real[:, None] & there[None, :]
    s = tl.arange(0, BS)
    x = value_columns(values, first, s, n, there, sources, WIDTH)  # they need not wait for scores
    scores = whole_scores(
        parts, padded, r, s, real, first, batch, sources, BLOCKS, NB, RAGGED, SENTINEL
    )
    if FOLDED:
        hidden = tl.load(sums + at, mask=active, other=0.0, cache_modifier=".cg")
    highest = tl.max(scores, 1)
    base = tl.where(highest == -float("inf"), 0.0, highest)  # nothing to attend to so far
    part = tl.exp(scores - base[:, None])
    total = tl.sum(part, 1)
    found = tl.sum(part[:, :, None] * x[None, :, :], 1)  # (KB, BN)
    last = tl.sum(tl.where((s == sources)[None, :], part, 0.0), 1)  # the sentinel's
    for start in range(BS, sources + SENTINEL, BS):
        x = value_columns(values, first, start + s, n, there, sources, WIDTH)
        more = whole_scores(
            parts, padded, r, start + s, real, first, batch, sources, BLOCKS, NB, RAGGED, SENTINEL
        )
        higher = tl.maximum(highest, tl.max(more, 1))
        base = tl.where(higher == -float("inf"), 0.0, higher)
        shrink = tl.exp(highest - base)
        part = tl.exp(more - base[:, None])
        total = total * shrink + tl.sum(part, 1)
        last = last * shrink + tl.sum(tl.where((start + s == sources)[None, :], part, 0.0), 1)
        found = found * shrink[:, None] + tl.sum(part[:, :, None] * x[None, :, :], 1)
        highest = higher
    whole = tl.where(total > 0, total, 1.0)  # a source of length 0: all is zero
    if SENTINEL:
        found += last[:, None] * sentinel_value(opened, memory, at, active, CELL)
    found = found / whole[:, None]
    if G == 1:
        found *= tl.load(gates + r, mask=real, other=0.0, cache_modifier=".cg")[:, None]
    elif G > 1:
        found *= tl.load(gates + at, mask=active, other=0.0, cache_modifier=".cg")
    if FOLDED:
        y = tanh(hidden + found)
        tl.store(vectors + at, y.to(vectors.dtype.element_ty), mask=active)
    else:
        tl.store(contexts + at, found, mask=active)
    if tile % across == 0:
        to = alpha + r.to(tl.int64)[:, None] * sources + s[None, :]
        for start in range(0, sources, BS):
            if start > 0:
                scores = whole_scores(
                    parts,
                    padded,
                    r,
                    start + s,
                    real,
                    first,
                    batch,
                    sources,
                    BLOCKS,
                    NB,
                    RAGGED,
                    SENTINEL,
                )
            weights = tl.exp(scores - base[:, None]) / whole[:, None]
            tl.store(
                to + start,
                weights.to(alpha.dtype.element_ty),
                mask=real[:, None] & (start + s < sources)[None, :],
            )


@triton.jit
def output_tile(
    tile, contexts, weight, sums, vectors, batch, D: tl.constexpr, A: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, STAGES: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """vectors = tanh(sums + contexts (N, D) weight (A, D)^T), where the values are not folded."""
    across = tl.cdiv(A, BN)
    b = (tile // across) * BM + tl.arange(0, BM)
    n = (tile % across) * BN + tl.arange(0, BN)
    live = b < batch
    at = b[:, None] * A + n[None, :]
    active = live[:, None] & (n < A)[None, :]
    total = tl.load(sums + at, mask=active, other=0.0, cache_modifier=".cg")
    total = multiply_joined(
        total, weight, n, n, n < A, contexts, b, contexts, contexts, b, live,
        0, 0, D, 0, False, BK, STAGES, PRECISION,
    )  # fmt: skip
    tl.store(vectors + at, tanh(total).to(vectors.dtype.element_ty), mask=active)
