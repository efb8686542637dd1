"""Backward: everything is computed again from the inputs and the statistics of the softmax, but for
additive scores that the forward pass could keep.

First, a program for BT queries has the scores, makes from them the weights, and the gradients of
the scores; both go to memory as (B, N, T, S), from where products make the gradients of the values
and, of dot scores, of query and keys. For additive scores a program then owns BH columns of one row
of the batch, with all its queries and sources, and makes tanh: a thread holds a column of a block
of sources and walks over the queries, so that every sum stays inside a thread. Sums over the batch
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
    reciprocal,
    through_window,
)


@triton.jit(do_not_specialize=[*VARYING, "rows"])
def scores_kernel(
    query, keys, values, weight, bias, coverage, coverage_weight, centre, lengths, mask,
    statistics,  # as in the forward kernel
    scores,  # (B, N, T, S) float32 of the forward pass, KEPT
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
    KEPT: tl.constexpr,
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
        if KEPT:
            score = tl.load(
                scores + at_t[:, None] * sources + s[None, :], mask=inside, other=float("-inf")
            )
        elif ADDITIVE:
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
def highest(rows, shift, mask, b, h, last, count, HS: tl.constexpr, H: tl.constexpr,
            MASKED: tl.constexpr):  # fmt: skip
    """The largest of (count, HS) rows' columns h before ``last``, and of 0, plus the shift."""
    most = tl.zeros((16, shift.shape[0]), tl.float32)
    offset = tl.arange(0, 16)
    for start in range(0, last, 16):
        there = existing(mask, b, start + offset, last, count, MASKED)
        own = (rows + start * HS + h)[None, :] + (offset * HS)[:, None]
        found = tl.load(own, mask=there[:, None] & (h < H)[None, :], other=0.0).to(tl.float32)
        most = tl.maximum(most, found + shift[None, :])
    return tl.max(most, 0) * TWICE


@triton.jit
def columns_walk(
    query, keys, shift, coverage, coverage_weight, centre, lengths, mask, d_scores,
    d_query, d_keys, gain, window, b, h, steps, sources, width,
    HS: tl.constexpr, H: tl.constexpr, COVERED: tl.constexpr, WINDOW: tl.constexpr,
    LENGTHS: tl.constexpr, MASKED: tl.constexpr, FAST: tl.constexpr,
    BT: tl.constexpr, BS: tl.constexpr,
):  # fmt: skip
    """Adds to d_query and d_keys of the columns h -> sums over queries and sources of d_score * u
    and, under coverage, of d_score * d tanh / 4 * coverage, (BS, BH) each. Even and odd sources
    share their reciprocals."""
    slant = tl.zeros((BS, shift.shape[0]), tl.float32)
    of_cover = tl.zeros_like(slant)
    w = load_vector(coverage_weight, h, H) if COVERED else shift
    last = sources
    if LENGTHS:
        last = tl.load(lengths + b)
    inside = h < H
    even = 2 * tl.arange(0, BS)
    # Offsets that are constants come last, which leaves them to the instructions.
    for begin in range(0, last, 2 * BS):
        s = begin + even
        there0 = existing(mask, b, s, last, sources, MASKED)
        there1 = existing(mask, b, s + 1, last, sources, MASKED)
        in0 = there0[:, None] & inside[None, :]
        in1 = there1[:, None] & inside[None, :]
        own_keys = (keys + begin * HS + h)[None, :] + (even * HS)[:, None]
        own_sums = (d_keys + begin * HS + h)[None, :] + (even * HS)[:, None]
        k0 = tl.load(own_keys, mask=in0, other=0.0).to(tl.float32)
        k1 = tl.load(own_keys + HS, mask=in1, other=0.0).to(tl.float32)
        if FAST:
            k0 = tl.exp2(k0 * TWICE)
            k1 = tl.exp2(k1 * TWICE)
        d_k0 = tl.zeros_like(slant)
        d_k1 = tl.zeros_like(slant)
        for start in range(0, steps, BT):
            near = True
            if WINDOW:
                t = start + tl.arange(0, BT)
                first, stop, _ = reach(
                    lengths, centre, b, t, t < steps, window, steps, sources, LENGTHS, True, 1
                )
                near = (begin < stop) & (begin + 2 * BS > first)
            if near:
                slant, of_cover, d_k0, d_k1 = columns_step(
                    query + start * HS + h, d_query + start * HS + h,
                    d_scores + start * (width // 2) + begin // 2, coverage, k0, k1, w, shift, gain,
                    slant, of_cover, d_k0, d_k1, inside, there0, there1, s, start, steps, sources,
                    width, HS, COVERED, FAST, BT, BS,
                )  # fmt: skip
        add_to(own_sums, gain[None, :] * d_k0, in0)
        add_to(own_sums + HS, gain[None, :] * d_k1, in1)
        tl.debug_barrier()  # the next sources' turn adds to what all threads wrote of d_query
    return slant, of_cover


@triton.jit
def columns_step(
    query, d_query, d_scores, coverage, k0, k1, w, shift, gain,
    slant, of_cover, d_k0, d_k1, inside, there0, there1, s, start, steps, sources,
    width, HS: tl.constexpr, COVERED: tl.constexpr, FAST: tl.constexpr,
    BT: tl.constexpr, BS: tl.constexpr,
):  # fmt: skip
    """BT queries with one block of sources. With factored sums, k0 and k1 are E(k)."""
    # All loads before the stores, past which none of them moves.
    found = ()  # type: tuple
    for i in tl.static_range(BT):
        # (A scalar comparison is no mask in the interpreter.)
        there = inside & (tl.full(inside.shape, start + i, tl.int32) < steps)
        q = tl.load(query + i * HS, mask=there, other=0.0).to(tl.float32)
        # Padded with zeros to whole blocks, and two neighbours at once: half the loads.
        pairs = tl.load(d_scores + i * (width // 2) + tl.arange(0, BS))
        old = tl.load(d_query + i * HS, mask=there, other=0.0)
        found = found + ((there, q + shift, pairs, old),)
    for i in tl.static_range(BT):
        there, q, pairs, old = found[i]
        d0 = pairs.to(tl.int32).to(tl.float32, bitcast=True)[:, None]
        d1 = (pairs >> 32).to(tl.int32).to(tl.float32, bitcast=True)[:, None]
        if FAST:
            q = tl.exp2(q * TWICE)
            a0 = q[None, :] * k0 + 1.0  # (BS, BH)
            a1 = q[None, :] * k1 + 1.0
            one = reciprocal(a0 * a1)
            u0 = a1 * one
            u1 = a0 * one
        else:
            x0 = q[None, :] + k0
            x1 = q[None, :] + k1
            if COVERED:
                own = coverage + tl.minimum(start + i, steps - 1) * sources + s
                c0 = tl.load(own, mask=there0, other=0.0).to(tl.float32)[:, None]
                c1 = tl.load(own + 1, mask=there1, other=0.0).to(tl.float32)[:, None]
                x0 += w[None, :] * c0
                x1 += w[None, :] * c1
            u0 = logistic(x0)
            u1 = logistic(x1)
        slant = tl.fma(d1, u1, tl.fma(d0, u0, slant))
        z0 = u0 - u0 * u0  # d tanh is 4 u (1 - u)
        z1 = u1 - u1 * u1
        if COVERED:
            of_cover += d0 * z0 * c0 + d1 * z1 * c1
        d_k0 = tl.fma(d0, z0, d_k0)
        d_k1 = tl.fma(d1, z1, d_k1)
        d_q = tl.sum(d0 * z0, 0) + tl.sum(d1 * z1, 0)
        tl.store(d_query + i * HS, old + gain * d_q, mask=there)
    return slant, of_cover, d_k0, d_k1


@triton.jit
def add_to(sums, extra, inside):
    """Adds to float32 sums that nobody else touches."""
    # Loads and stores may be shared out over the threads in two ways: none before the last store
    # of all threads, and none of these stores before the loads.
    tl.debug_barrier()
    total = tl.load(sums, mask=inside, other=0.0) + extra
    tl.debug_barrier()
    tl.store(sums, total, mask=inside)


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
    d_scores,  # (B, N, rows, width / 2) int64: pairs of float32, 0 where nothing is
    d_query,  # (B, T, N*H) float32, added to, as are the next three
    d_keys,  # (B, S, N*H) float32
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
    # Said to be scattered, or loads would give a thread neighbouring columns of a row.
    h = tl.max_contiguous(tl.program_id(1) * BH + tl.arange(0, BH), 1)
    HS: tl.constexpr = N * H
    query += b * steps * HS + n * H
    keys += b * sources * HS + n * H
    coverage += b * steps * sources
    width = tl.multiple_of(width, 16)
    d_scores += row.to(tl.int64) * rows * (width // 2)
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
        tl.store(own, tl.load(own, mask=h < H, other=0.0) + gain * tl.sum(of_cover, 0), mask=h < H)
    else:
        last = sources
        if LENGTHS:
            last = tl.load(lengths + b)
        most_q = highest(query, shift, mask, b, h, steps, steps, HS, H, False)
        most_k = highest(keys, tl.zeros_like(shift), mask, b, h, last, sources, HS, H, MASKED)
        # E(q) E(k) is right, and the product of two of 1 + E(q) E(k) finite.
        right = (most_q + most_k <= 62.0) & (most_q <= 60.0) & (most_k <= 60.0)
        if tl.min(right.to(tl.int32)) == 1:
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
    tl.store(own, tl.load(own, mask=h < H, other=0.0) - 2.0 * scale * tl.sum(slant, 0), mask=h < H)
