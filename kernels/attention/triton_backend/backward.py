"""Backward: everything is made again from the inputs and the statistics of the softmax.

First, a program for BT queries makes the scores, from them the weights, and the gradients of the
scores; both go to memory as (B, N, T, S), from where products make the gradients of the values and,
of dot scores, of query and keys. For additive scores a program then owns BH columns of one row
of the batch, with all its queries and sources, and makes tanh once more: a thread holds a column
with a patch of queries and sources, so that every sum stays inside a thread. Sums over the batch
are left to the caller. No atomics: the results are the same bits from run to run.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.attention.triton_backend.forward import VARYING
from kernels.attention.triton_backend.scores import (
    TWICE,
    additive_tile,
    dot_tile,
    existing,
    load_vector,
    logistic,
    reach,
    through_window,
)


@triton.jit(do_not_specialize=[*VARYING, "rows"])
def scores_kernel(
    query, keys, values, weight, bias, coverage, coverage_weight, centre, lengths, mask,
    statistics,  # as in the forward kernel
    d_context,  # (B, T, N*D)
    d_weights,  # (B, N, T, S), WEIGHTS
    shares,  # (B, N, rows, width) float32, zeros, as are the next two: the weights
    d_scores,
    d_coverage,  # COVERED
    d_centre,  # (B, N, T) float32, WINDOW
    scale,
    window,
    steps,
    sources,
    tiles,
    width,  # from a row of ``shares`` to the next
    rows,  # of ``shares``
    N: tl.constexpr,
    H: tl.constexpr,
    D: tl.constexpr,
    ADDITIVE: tl.constexpr,
    BIAS: tl.constexpr,
    COVERED: tl.constexpr,
    WINDOW: tl.constexpr,
    LENGTHS: tl.constexpr,
    MASKED: tl.constexpr,
    WEIGHTS: tl.constexpr,
    BT: tl.constexpr,
    BS: tl.constexpr,
    BH: tl.constexpr,
    BD: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) // tiles
    t = (tl.program_id(0) % tiles) * BT + tl.arange(0, BT)
    b = (row // N).to(tl.int64)
    n = row % N
    there_t = t < steps
    query += b * steps * (N * H) + n * H
    keys += b * sources * (N * H) + n * H
    values += b * sources * (N * D) + n * D
    d_context += b * steps * (N * D) + n * D
    weight += n * H
    bias += n * H
    coverage_weight += n * H
    at = (row.to(tl.int64) * rows + t)[:, None] * width

    first, last, place = reach(
        lengths, centre, b, t, there_t, window, steps, sources, LENGTHS, WINDOW, BS
    )
    at_t = row.to(tl.int64) * steps + t
    level = tl.load(statistics + 2 * at_t, mask=there_t, other=0.0)
    whole = tl.load(statistics + 2 * at_t + 1, mask=there_t, other=1.0)
    dot_sum = tl.zeros((BT,), tl.float32)  # of weights and their gradients
    pull = tl.zeros((BT,), tl.float32)  # gradient of the centre
    for start in range(first, last, BS):
        s = start + tl.arange(0, BS)
        there = existing(mask, b, s, last, sources, MASKED)
        seen, factor = through_window(there, s, place, window, WINDOW)
        inside = there_t[:, None] & there[None, :]
        within = there_t[:, None] & (s < last)[None, :]
        if ADDITIVE:
            covered = tl.zeros((BT, BS), tl.float32)
            if COVERED:
                covered = tl.load(
                    coverage + (b * steps + t)[:, None] * sources + s[None, :],
                    mask=inside,
                    other=0.0,
                ).to(tl.float32)
            score, slope = additive_tile(
                query, bias, keys, weight, coverage_weight, covered, scale, t, there_t, s, there,
                H, N * H, BIAS, COVERED, BT, BS, BH,
            )  # fmt: skip
            if COVERED:
                tl.store(d_coverage + at + s[None, :], slope, mask=inside)
        else:
            score = dot_tile(
                query, keys, scale, t, there_t, s, there, H, N * H, BT, BS, BH, PRECISION
            )
        share = tl.where(seen, tl.exp2(score - level[:, None]) / whole[:, None], 0.0)  # (BT, BS)
        d_share = tl.zeros((BT, BS), tl.float32)
        for column in range(0, D, BD):
            d = column + tl.arange(0, BD)
            d_c = tl.load(
                d_context + t[:, None] * (N * D) + d[None, :],
                mask=there_t[:, None] & (d[None, :] < D),
                other=0.0,
            )
            v = tl.load(
                values + s[None, :] * (N * D) + d[:, None],
                mask=there[None, :] & (d[:, None] < D),
                other=0.0,
            )
            d_share = tl.dot(d_c.to(v.dtype), v, d_share, input_precision=PRECISION)
        if WEIGHTS:
            d_share += tl.load(
                d_weights + at_t[:, None] * sources + s[None, :], mask=inside, other=0.0
            ).to(tl.float32)
        if WINDOW:
            wide = 0.5 * window
            apart = s.to(tl.float32)[None, :] - place[:, None]
            pull += tl.sum(share * factor * d_share * apart, 1) / (wide * wide)
            d_share *= factor
        dot_sum += tl.sum(share * d_share, 1)
        tl.store(shares + at + s[None, :], share, mask=within)
        tl.store(d_scores + at + s[None, :], d_share, mask=within)
    if WINDOW:
        tl.store(d_centre + at_t, pull, mask=there_t)

    tl.debug_barrier()  # what all threads wrote is read again
    for start in range(first, last, BS):
        s = start + tl.arange(0, BS)
        inside = there_t[:, None] & (s < last)[None, :]
        to = at + s[None, :]
        share = tl.load(shares + to, mask=inside, other=0.0)
        d_score = share * (tl.load(d_scores + to, mask=inside, other=0.0) - dot_sum[:, None])
        tl.store(d_scores + to, d_score, mask=inside)
        if COVERED:
            there = existing(mask, b, s, last, sources, MASKED)
            slope = tl.load(d_coverage + to, mask=inside & there[None, :], other=0.0)
            tl.store(d_coverage + to, slope * d_score, mask=inside)
        if WINDOW:
            _, factor = through_window(s < last, s, place, window, True)
            tl.store(shares + to, share * factor, mask=inside)


@triton.jit
def load_rows(rows, row, there, h, HS: tl.constexpr, H: tl.constexpr):
    """(rows, BH) of a (rows, HS) matrix; 0 where there is nothing."""
    return tl.load(
        rows + row[:, None] * HS + h[None, :], mask=there[:, None] & (h[None, :] < H), other=0.0
    ).to(tl.float32)


@triton.jit
def add_to(sums, row, there, h, extra, HS: tl.constexpr, H: tl.constexpr):
    """Adds (rows, BH) to float32 sums that no other program touches."""
    to = sums + row[:, None] * HS + h[None, :]
    inside = there[:, None] & (h[None, :] < H)
    tl.store(to, tl.load(to, mask=inside, other=0.0) + extra, mask=inside)


@triton.jit
def load_square(square, t, there_t, s, there_s, sources):
    """(BT, BS, 1) of a (T, S) matrix; 0 where there is nothing."""
    found = tl.load(
        square + t[:, None] * sources + s[None, :],
        mask=there_t[:, None] & there_s[None, :],
        other=0.0,
    )
    return found.to(tl.float32)[:, :, None]


@triton.jit
def small_enough(
    query, keys, shift, mask, lengths, b, h, steps, sources,
    HS: tl.constexpr, H: tl.constexpr, LENGTHS: tl.constexpr, MASKED: tl.constexpr,
    BT: tl.constexpr, BS: tl.constexpr,
):  # fmt: skip
    """Whether E(q) E(k) is right, and the product of two of 1 + E(q) E(k) finite, for all queries
    and sources of these columns."""
    last = sources
    if LENGTHS:
        last = tl.load(lengths + b)
    most_q = tl.zeros_like(shift)
    most_k = tl.zeros_like(shift)
    for start in range(0, steps, BT):
        t = start + tl.arange(0, BT)
        q = load_rows(query, t, t < steps, h, HS, H) + shift[None, :]
        most_q = tl.maximum(most_q, tl.max(q, 0))
    for start in range(0, last, BS):
        s = start + tl.arange(0, BS)
        there = existing(mask, b, s, last, sources, MASKED)
        most_k = tl.maximum(most_k, tl.max(load_rows(keys, s, there, h, HS, H), 0))
    most_q = most_q * TWICE
    most_k = most_k * TWICE
    right = (most_q + most_k <= 62.0) & (most_q <= 60.0) & (most_k <= 60.0)
    return tl.min(right.to(tl.int32)) == 1


@triton.jit
def columns_walk(
    query, keys, shift, coverage, coverage_weight, centre, lengths, mask, d_scores,
    d_query, d_keys, gain, window, b, h, steps, sources, width,
    HS: tl.constexpr, H: tl.constexpr, COVERED: tl.constexpr, WINDOW: tl.constexpr,
    LENGTHS: tl.constexpr, MASKED: tl.constexpr, FAST: tl.constexpr,
    BT: tl.constexpr, BS: tl.constexpr,
):  # fmt: skip
    """Writes d_query and d_keys of the columns h -> sums over queries and sources of d_score * u
    and, under coverage, of d_score * d tanh / 4 * coverage. Sources go in pairs of blocks, whose
    reciprocals are shared."""
    slant = tl.zeros_like(shift)
    of_cover = tl.zeros_like(shift)
    if COVERED:
        w = load_vector(coverage_weight, h, H)[None, None, :]
    for start in range(0, steps, BT):
        t = start + tl.arange(0, BT)
        there_t = t < steps
        q = load_rows(query, t, there_t, h, HS, H) + shift[None, :]
        if FAST:
            q = tl.exp2(q * TWICE)
        d_q = tl.zeros_like(q)
        first, last, _ = reach(
            lengths, centre, b, t, there_t, window, steps, sources, LENGTHS, WINDOW, BS
        )
        for begin in range(first, last, 2 * BS):
            s0 = begin + tl.arange(0, BS)
            s1 = s0 + BS
            there0 = existing(mask, b, s0, last, sources, MASKED)
            there1 = existing(mask, b, s1, last, sources, MASKED)
            k0 = load_rows(keys, s0, there0, h, HS, H)
            k1 = load_rows(keys, s1, there1, h, HS, H)
            # Padded with zeros to whole blocks: every thread reads all of it, without masks.
            d0 = tl.load(d_scores + t[:, None] * width + s0[None, :])[:, :, None]
            d1 = tl.load(d_scores + t[:, None] * width + s1[None, :])[:, :, None]
            if FAST:
                a0 = q[:, None, :] * tl.exp2(k0 * TWICE)[None, :, :] + 1.0  # (BT, BS, BH)
                a1 = q[:, None, :] * tl.exp2(k1 * TWICE)[None, :, :] + 1.0
                root = tl.rsqrt(a0 * a1)
                one = root * root
                u0 = a1 * one
                u1 = a0 * one
            else:
                x0 = q[:, None, :] + k0[None, :, :]
                x1 = q[:, None, :] + k1[None, :, :]
                if COVERED:
                    c0 = load_square(coverage, t, there_t, s0, there0, sources)
                    c1 = load_square(coverage, t, there_t, s1, there1, sources)
                    x0 += w * c0
                    x1 += w * c1
                u0 = logistic(x0)
                u1 = logistic(x1)
            g0 = d0 * u0
            g1 = d1 * u1
            slant += tl.sum(tl.sum(g0 + g1, 0), 0)
            z0 = g0 - g0 * u0  # d tanh is 4 u (1 - u)
            z1 = g1 - g1 * u1
            if COVERED:
                of_cover += tl.sum(tl.sum(z0 * c0 + z1 * c1, 0), 0)
            d_q += tl.sum(z0 + z1, 1)
            add_to(d_keys, s0, there0, h, gain[None, :] * tl.sum(z0, 0), HS, H)
            add_to(d_keys, s1, there1, h, gain[None, :] * tl.sum(z1, 0), HS, H)
        tl.store(
            d_query + t[:, None] * HS + h[None, :],
            (gain[None, :] * d_q).to(d_query.dtype.element_ty),
            mask=there_t[:, None] & (h[None, :] < H),
        )
    return slant, of_cover


@triton.jit(do_not_specialize=[*VARYING, "rows"])
def columns_kernel(
    query,  # (B, T, N*H)
    keys,  # (B, S, N*H)
    weight,  # (N*H,) float32
    bias,
    coverage,
    coverage_weight,
    centre,
    lengths,
    mask,
    d_scores,  # (B, N, rows, width) float32, 0 where nothing is
    d_query,  # (B, T, N*H)
    d_keys,  # (B, S, N*H) float32, added to, as are the next two
    d_weight,  # (B, N*H) float32
    d_coverage_weight,  # (B, N*H) float32
    scale,
    window,
    steps,
    sources,
    width,  # from a row of d_scores to the next
    rows,  # of d_scores
    N: tl.constexpr,
    H: tl.constexpr,
    BIAS: tl.constexpr,
    COVERED: tl.constexpr,
    WINDOW: tl.constexpr,
    LENGTHS: tl.constexpr,
    MASKED: tl.constexpr,
    BT: tl.constexpr,
    BS: tl.constexpr,
    BH: tl.constexpr,
):
    row = tl.program_id(0)
    b = (row // N).to(tl.int64)
    n = row % N
    h = tl.program_id(1) * BH + tl.arange(0, BH)
    HS: tl.constexpr = N * H
    query += b * steps * HS + n * H
    keys += b * sources * HS + n * H
    coverage += b * steps * sources
    width = tl.multiple_of(width, 16)
    d_scores += row.to(tl.int64) * rows * width
    d_query += b * steps * HS + n * H
    d_keys += b * sources * HS + n * H
    coverage_weight += n * H
    v = load_vector(weight + n * H, h, H)
    shift = tl.zeros((BH,), tl.float32)
    if BIAS:
        shift = load_vector(bias + n * H, h, H)
    gain = 4.0 * scale * v
    if COVERED:
        slant, of_cover = columns_walk(
            query, keys, shift, coverage, coverage_weight, centre, lengths, mask, d_scores,
            d_query, d_keys, gain, window, b, h, steps, sources, width,
            HS, H, True, WINDOW, LENGTHS, MASKED, False, BT, BS,
        )  # fmt: skip
        own = d_coverage_weight + b * HS + n * H + h
        tl.store(own, tl.load(own, mask=h < H, other=0.0) + gain * of_cover, mask=h < H)
    else:
        right = small_enough(
            query, keys, shift, mask, lengths, b, h, steps, sources, HS, H, LENGTHS, MASKED, BT, BS
        )
        if right:
            slant, of_cover = columns_walk(
                query, keys, shift, coverage, coverage_weight, centre, lengths, mask, d_scores,
                d_query, d_keys, gain, window, b, h, steps, sources, width,
                HS, H, False, WINDOW, LENGTHS, MASKED, True, BT, BS,
            )  # fmt: skip
        else:
            slant, of_cover = columns_walk(
                query, keys, shift, coverage, coverage_weight, centre, lengths, mask, d_scores,
                d_query, d_keys, gain, window, b, h, steps, sources, width,
                HS, H, False, WINDOW, LENGTHS, MASKED, False, BT, BS,
            )  # fmt: skip
    # tanh is 1 - 2u, and the gradients of a softmax's scores sum to 0, which drops the 1.
    own = d_weight + b * HS + n * H + h
    tl.store(own, tl.load(own, mask=h < H, other=0.0) - 2.0 * scale * slant, mask=h < H)
