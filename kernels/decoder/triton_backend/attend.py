"""Attention of one row at one step, forward and backward, and the keys' gradient over all steps.

A program takes a whole row: scores, softmax and context in one pass over the source (online
softmax), so that keys and values are read once, and nothing of size S x Q is kept. Keys past the
row's length are never read. A sentinel (kernels/decoder/sentinel.py) is where the online softmax
begins; a context gate is applied to the context before it leaves the registers.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def half_way(x):
    """1 / (1 + exp(2x)) = r, with which tanh(x) = 1 - 2r and its derivative is 4r(1 - r). An
    overflow of exp ends in r = 0. What counts here is the absolute error, which is float32's: the
    results are summed over the width."""
    return 1.0 / (1.0 + tl.exp(2.0 * x))


@triton.jit
def attend_row(
    query, keys, values, score, alpha, context, scale, length, sources,
    Q: tl.constexpr, D: tl.constexpr, ADDITIVE: tl.constexpr, BS: tl.constexpr,
    BQ: tl.constexpr, BD: tl.constexpr,
    beta=0, ungated=0, sentinel=0, sentinel_key=0, sentinel_alpha=0,
    G: tl.constexpr = 0, SENTINEL: tl.constexpr = False, SAVE: tl.constexpr = False,
):  # fmt: skip
    """All pointers at the row's beginning: query (Q,), keys (S, Q), values (S, D), alpha (S,) and
    context (D,), which are written; score (Q,).

    G > 0: beta (G,), one number or one a value, multiplies the context. SENTINEL: one more place,
    of value ``sentinel`` (D,) and key ``sentinel_key`` (Q,). SAVE: what only the backward pass
    reads, the context before its gate (D,) and the sentinel's weight (1,), is written."""
    j = tl.arange(0, BQ)
    i = tl.arange(0, BD)
    q = tl.load(query + j, mask=j < Q, other=0.0, cache_modifier=".cg").to(tl.float32)
    v = q
    if ADDITIVE:
        v = tl.load(score + j, mask=j < Q, other=0.0).to(tl.float32)
    highest = tl.full((), -float("inf"), tl.float32)
    total = tl.full((), 0.0, tl.float32)
    found = tl.zeros((BD,), tl.float32)
    if SENTINEL:  # exp(its score - highest) is the sum's first term, 1
        own = tl.load(sentinel_key + j, mask=j < Q, other=0.0, cache_modifier=".cg")
        if ADDITIVE:
            highest = tl.sum((1.0 - 2.0 * half_way(q + own)) * v, 0)
        else:
            highest = tl.sum(q * own, 0) * scale
        own_score = highest
        total = tl.full((), 1.0, tl.float32)
        found = tl.load(sentinel + i, mask=i < D, other=0.0, cache_modifier=".cg").to(tl.float32)
    for start in range(0, length, BS):
        s = start + tl.arange(0, BS)
        live = s < length
        k = tl.load(
            keys + s[:, None] * Q + j[None, :], mask=live[:, None] & (j < Q)[None, :], other=0.0
        ).to(tl.float32)
        x = tl.load(
            values + s[:, None] * D + i[None, :], mask=live[:, None] & (i < D)[None, :], other=0.0
        ).to(tl.float32)
        if ADDITIVE:
            scores = tl.sum((1.0 - 2.0 * half_way(q[None, :] + k)) * v[None, :], 1)
        else:
            scores = tl.sum(q[None, :] * k, 1) * scale
        scores = tl.where(live, scores, -float("inf"))
        higher = tl.maximum(highest, tl.max(scores, 0))
        parts = tl.exp(scores - higher)
        shrink = tl.exp(highest - higher)
        total = total * shrink + tl.sum(parts, 0)
        found = found * shrink + tl.sum(parts[:, None] * x, 0)
        tl.store(alpha + s, scores, mask=live)
        highest = higher
    whole = tl.where(total > 0, total, 1.0)  # a source of length 0: all is zero
    found = found / whole
    if SENTINEL:
        if SAVE:
            tl.store(sentinel_alpha, tl.exp(own_score - highest) / whole)
    if G > 0:
        if SAVE:
            tl.store(ungated + i, found.to(ungated.dtype.element_ty), mask=i < D)
        found *= tl.load(
            beta + (i if G > 1 else 0 * i), mask=i < D, other=0.0, cache_modifier=".cg"
        )
    tl.store(context + i, found.to(context.dtype.element_ty), mask=i < D)
    tl.debug_barrier()  # the scores are read by other threads than wrote them
    for start in range(0, sources, BS):
        s = start + tl.arange(0, BS)
        scores = tl.load(alpha + s, mask=s < length, other=0.0, cache_modifier=".cg")
        weights = tl.where(s < length, tl.exp(scores - highest) / whole, 0.0)
        tl.store(alpha + s, weights, mask=s < sources)


@triton.jit
def attend_row_backward(
    query, keys, values, score, alpha, d_context, d_alpha, d_scores, d_query, scale, length,
    sources,
    beta, ungated, d_beta, sentinel, sentinel_key, sentinel_alpha, d_sentinel_score,
    d_sentinel_key,
    Q: tl.constexpr, D: tl.constexpr, ADDITIVE: tl.constexpr, D_ALPHA: tl.constexpr,
    G: tl.constexpr, SENTINEL: tl.constexpr, BS: tl.constexpr, BQ: tl.constexpr,
    BD: tl.constexpr,
):  # fmt: skip
    """From d_context (D,), and d_alpha (S,) where the weights themselves have a gradient: writes
    d_scores (S,) and d_query (Q,).

    G > 0: ``d_context`` arrives for the gated context and is left for the one before the gate;
    writes d_beta (G,), of the gate's sums. SENTINEL: writes d_sentinel_score (1,) and
    d_sentinel_key (Q,); the gradient of its value is its weight times d_context.

    With w_s the derivative of score s by the query and r_s = alpha_s d_alpha_s, the gradient is
    sum_s (r_s - alpha_s sum r) w_s: two sums in one pass, so that keys and values are read once.
    """
    j = tl.arange(0, BQ)
    i = tl.arange(0, BD)
    q = tl.load(query + j, mask=j < Q, other=0.0, cache_modifier=".cg").to(tl.float32)
    d = tl.load(d_context + i, mask=i < D, other=0.0, cache_modifier=".cg").to(tl.float32)
    if G > 0:
        of_beta = d * tl.load(ungated + i, mask=i < D, other=0.0).to(tl.float32)
        opened = tl.load(beta + (i if G > 1 else 0 * i), mask=i < D, other=0.0)
        of_beta *= opened * (1.0 - opened)
        if G > 1:
            tl.store(d_beta + i, of_beta.to(d_beta.dtype.element_ty), mask=i < D)
        else:
            tl.store(d_beta, tl.sum(of_beta, 0).to(d_beta.dtype.element_ty))
        d *= opened
        # Threads may hold the same numbers, in the one layout or in the other: none may store
        # before all have loaded.
        tl.debug_barrier()
        tl.store(d_context + i, d.to(d_context.dtype.element_ty), mask=i < D)
    sum_r = tl.full((), 0.0, tl.float32)
    of_r = tl.zeros((BQ,), tl.float32)
    of_alpha = tl.zeros((BQ,), tl.float32)
    if SENTINEL:
        own = tl.load(sentinel_key + j, mask=j < Q, other=0.0)
        if ADDITIVE:
            own = half_way(q + own)
            own = 4.0 * own * (1.0 - own)
        own_alpha = tl.load(sentinel_alpha)
        value = tl.load(sentinel + i, mask=i < D, other=0.0).to(tl.float32)
        sum_r = own_alpha * tl.sum(d * value, 0)
        own_r = sum_r
        of_r = own_r * own
        of_alpha = own_alpha * own
    for start in range(0, length, BS):
        s = start + tl.arange(0, BS)
        live = s < length
        k = tl.load(
            keys + s[:, None] * Q + j[None, :], mask=live[:, None] & (j < Q)[None, :], other=0.0
        ).to(tl.float32)
        x = tl.load(
            values + s[:, None] * D + i[None, :], mask=live[:, None] & (i < D)[None, :], other=0.0
        ).to(tl.float32)
        a = tl.load(alpha + s, mask=live, other=0.0)
        r = tl.sum(d[None, :] * x, 1)
        if D_ALPHA:
            r += tl.load(d_alpha + s, mask=live, other=0.0).to(tl.float32)
        r *= a
        if ADDITIVE:
            half = half_way(q[None, :] + k)
            k = 4.0 * half * (1.0 - half)
        sum_r += tl.sum(r, 0)
        of_r += tl.sum(r[:, None] * k, 0)
        of_alpha += tl.sum(a[:, None] * k, 0)
        tl.store(d_scores + s, r, mask=live)
    gradient = of_r - sum_r * of_alpha
    if ADDITIVE:
        gradient *= tl.load(score + j, mask=j < Q, other=0.0).to(tl.float32)
    else:
        gradient *= scale
    if SENTINEL:
        of_score = own_r - own_alpha * sum_r
        tl.store(d_sentinel_score, of_score)
        if ADDITIVE:
            of_key = own * tl.load(score + j, mask=j < Q, other=0.0).to(tl.float32) * of_score
        else:
            of_key = q * (scale * of_score)
        tl.store(d_sentinel_key + j, of_key.to(d_sentinel_key.dtype.element_ty), mask=j < Q)
    tl.store(d_query + j, gradient.to(d_query.dtype.element_ty), mask=j < Q)
    tl.debug_barrier()  # read by other threads than wrote them
    for start in range(0, sources, BS):
        s = start + tl.arange(0, BS)
        r = tl.load(d_scores + s, mask=s < length, other=0.0, cache_modifier=".cg")
        a = tl.load(alpha + s, mask=s < length, other=0.0)
        tl.store(d_scores + s, r - a * sum_r, mask=s < sources)


@triton.jit(do_not_specialize=["batch", "steps", "sources"])
def keys_backward_kernel(
    queries,  # (T, B, Q)
    keys,  # (B, S, Q)
    score,  # (Q,)
    d_scores,  # (T, B, S) float32, zero past a length
    lengths,  # (B,) int32, RAGGED
    d_keys,  # (B, S, Q) -> sum over t of d_score v (1 - tanh^2)
    d_score,  # (B, S blocks, Q) float32 -> sums over t and the block of d_score tanh
    batch,
    steps,
    sources,
    Q: tl.constexpr,
    RAGGED: tl.constexpr,
    BS: tl.constexpr,
    BQ: tl.constexpr,
):
    """Additive scores, all steps at once: a program takes a row, BS positions and BQ units."""
    b = tl.program_id(0).to(tl.int64)
    s = tl.program_id(1) * BS + tl.arange(0, BS)
    j = tl.program_id(2) * BQ + tl.arange(0, BQ)
    length = sources
    if RAGGED:
        length = tl.minimum(tl.load(lengths + b), sources)
    own = (s < sources)[:, None] & (j < Q)[None, :]
    k = tl.load(
        keys + (b * sources + s)[:, None] * Q + j[None, :],
        mask=own & (s < length)[:, None],
        other=0.0,
    ).to(tl.float32)
    of_keys = tl.zeros((BS, BQ), tl.float32)
    of_score = tl.zeros((BS, BQ), tl.float32)
    for t in range(0, steps):
        row = t * batch.to(tl.int64) + b
        q = tl.load(queries + row * Q + j, mask=j < Q, other=0.0).to(tl.float32)
        d = tl.load(d_scores + row * sources + s, mask=s < length, other=0.0)
        half = half_way(q[None, :] + k)
        of_keys += d[:, None] * (half * (1.0 - half))
        of_score += d[:, None] * (1.0 - 2.0 * half)
    v = tl.load(score + j, mask=j < Q, other=0.0).to(tl.float32)
    tl.store(
        d_keys + (b * sources + s)[:, None] * Q + j[None, :],
        (4.0 * v[None, :] * of_keys).to(d_keys.dtype.element_ty),
        mask=own,
    )
    block = b * tl.num_programs(1) + tl.program_id(1)
    tl.store(d_score + block * Q + j, tl.sum(of_score, 0), mask=j < Q)
