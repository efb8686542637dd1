"""Forward: scores, softmax and context in one launch, a program for BT queries; or, where these are
fewer than the chip has processors, in two.

The first loop over the sources makes the scores, with a running maximum and a running sum; the
second weighs the values. In between the scores lie in memory, (B, N, T, S), which means the cache:
an accumulator of the context beside the first loop's tile would take the registers of a second
program, and bound D. Nothing of (B, T, S, H) leaves the registers. In two launches the first loop's
programs have PART sources each, the second's BD columns of the values, each with its own look at
all scores of its queries: nothing is combined out of order.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.attention.triton_backend.scores import (
    additive_tile,
    dot_tile,
    existing,
    reach,
    through_window,
)

# Specialising on these (equal to 1, divisible by 16) would compile again for another length.
VARYING = ["steps", "sources", "tiles", "scale", "window"]


@triton.jit
def score_blocks(
    query, bias, keys, weight, coverage, coverage_weight, mask, scores, scale, window,
    begin, end, last, steps, sources, b, t, there_t, place, at, most, sums,
    H: tl.constexpr, HS: tl.constexpr, ADDITIVE: tl.constexpr, BIAS: tl.constexpr,
    COVERED: tl.constexpr, WINDOW: tl.constexpr, MASKED: tl.constexpr,
    BT: tl.constexpr, BS: tl.constexpr, BH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Writes the scores of the sources [begin, end) -> highest scores and sums, these included."""
    for start in range(begin, end, BS):
        s = start + tl.arange(0, BS)
        there = existing(mask, b, s, last, sources, MASKED)
        seen, _ = through_window(there, s, place, window, WINDOW)
        if ADDITIVE:
            covered = tl.zeros((BT, BS), tl.float32)
            if COVERED:
                covered = tl.load(
                    coverage + (b * steps + t)[:, None] * sources + s[None, :],
                    mask=there_t[:, None] & there[None, :],
                    other=0.0,
                ).to(tl.float32)
            score, _ = additive_tile(
                query, bias, keys, weight, coverage_weight, covered, scale, t, there_t, s, there,
                H, HS, BIAS, COVERED, BT, BS, BH,
            )  # fmt: skip
        else:
            score = dot_tile(query, keys, scale, t, there_t, s, there, H, HS, BT, BS, BH, PRECISION)
        score = tl.where(seen, score, float("-inf"))
        tl.store(scores + at + s[None, :], score, mask=there_t[:, None] & (s < last)[None, :])
        most, sums = joined(most, sums, score)
    return most, sums


@triton.jit
def joined(most, sums, score):
    """The highest score and the sum of 2^(score - highest) of each query, with another block."""
    higher = tl.maximum(most, tl.max(score, 1))
    level = tl.where(higher == float("-inf"), 0.0, higher)  # nothing seen yet
    return higher, sums * tl.exp2(most - level) + tl.sum(tl.exp2(score - level[:, None]), 1)


@triton.jit(do_not_specialize=VARYING)
def forward_kernel(
    query,  # (B, T, N*H)
    keys,  # (B, S, N*H)
    values,  # (B, S, N*D)
    weight,  # (N*H,) float32, ADDITIVE
    bias,  # (N*H,), BIAS
    coverage,  # (B, T, S), COVERED
    coverage_weight,  # (N*H,), COVERED
    centre,  # (B, T), WINDOW
    lengths,  # (B,) int32, LENGTHS
    mask,  # (B, S) uint8, MASKED
    context,  # (B, T, N*D)
    scores,  # (B, N, T, S) float32, in between
    weights,  # (B, N, T, S), WEIGHTS; ``scores`` where the dtype is the same
    statistics,  # (B, N, T, 2) float32: the highest score m, and the sum of 2^(score - m)
    scale,
    window,
    steps,  # T
    sources,  # S
    tiles,  # of queries, in a row
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
    NS: tl.constexpr,  # sources of the narrowest block, at the end; BS: all are whole
    PART: tl.constexpr,  # sources of a program of SCORES alone; 0: all
    SCORES: tl.constexpr,  # the first loop is in this launch
    CONTEXT: tl.constexpr,  # what follows is
    BD: tl.constexpr,
    PRECISION: tl.constexpr,
):
    row = tl.program_id(0) // tiles
    t = (tl.program_id(0) % tiles) * BT + tl.arange(0, BT)
    b = (row // N).to(tl.int64)
    n = row % N
    there_t = t < steps
    query += b * steps * (N * H) + n * H
    keys += b * sources * (N * H) + n * H
    values += b * sources * (N * D) + n * D
    weight += n * H
    bias += n * H
    coverage_weight += n * H
    at = ((row.to(tl.int64) * steps) + t)[:, None] * sources  # rows of scores and weights

    first, last, place = reach(
        lengths, centre, b, t, there_t, window, steps, sources, LENGTHS, WINDOW, BS
    )
    most = tl.full((BT,), float("-inf"), tl.float32)
    sums = tl.zeros((BT,), tl.float32)
    if SCORES:
        begin = first
        if PART > 0:
            begin = tl.maximum(first, tl.program_id(1) * PART)
            last = tl.minimum(last, tl.program_id(1) * PART + PART)
        end = last
        if NS < BS:  # whole blocks, and narrower ones for a small rest (``blocks`` in schedule.py)
            small: tl.constexpr = min(5 * NS, BS - NS)
            end = begin + tl.maximum(last - begin + BS - small - 1, 0) // BS * BS
        most, sums = score_blocks(
            query, bias, keys, weight, coverage, coverage_weight, mask, scores, scale, window,
            begin, end, last, steps, sources, b, t, there_t, place, at, most, sums,
            H, N * H, ADDITIVE, BIAS, COVERED, WINDOW, MASKED, BT, BS, BH, PRECISION,
        )  # fmt: skip
        if 4 * NS < BS:
            begin = end
            end += tl.maximum(last - end + 2 * NS - 1, 0) // (4 * NS) * (4 * NS)
            most, sums = score_blocks(
                query, bias, keys, weight, coverage, coverage_weight, mask, scores, scale, window,
                begin, end, last, steps, sources, b, t, there_t, place, at, most, sums,
                H, N * H, ADDITIVE, BIAS, COVERED, WINDOW, MASKED, BT, 4 * NS, BH, PRECISION,
            )  # fmt: skip
        if NS < BS:
            begin = end
            most, sums = score_blocks(
                query, bias, keys, weight, coverage, coverage_weight, mask, scores, scale, window,
                begin, last, last, steps, sources, b, t, there_t, place, at, most, sums,
                H, N * H, ADDITIVE, BIAS, COVERED, WINDOW, MASKED, BT, NS, 4 * BH, PRECISION,
            )  # fmt: skip
    else:
        for start in range(first, last, BS):
            s = start + tl.arange(0, BS)
            inside = there_t[:, None] & (s < last)[None, :]
            score = tl.load(scores + at + s[None, :], mask=inside, other=float("-inf"))
            most, sums = joined(most, sums, score)
    if CONTEXT:
        finish(
            context, scores, values, weights, statistics, mask, most, sums, window, row, b, n, t,
            there_t, place, at, first, last, steps, sources,
            N, D, WINDOW, MASKED, WEIGHTS, SCORES, BT, BS, BD, PRECISION,
        )  # fmt: skip


@triton.jit
def finish(
    context, scores, values, weights, statistics, mask, most, sums, window, row, b, n, t,
    there_t, place, at, first, last, steps, sources,
    N: tl.constexpr, D: tl.constexpr, WINDOW: tl.constexpr, MASKED: tl.constexpr,
    WEIGHTS: tl.constexpr, ALONE: tl.constexpr, BT: tl.constexpr, BS: tl.constexpr,
    BD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Writes statistics, context and weights from the scores in memory. ALONE: all columns of the
    values are this program's; else BD of them, and the first program has the rest."""
    level = tl.where(most == float("-inf"), 0.0, most)
    sums = tl.where(sums == 0.0, 1.0, sums)  # no source at all: context 0
    from_column = 0
    to_column = D
    others = tl.full((BT,), 0, tl.int32)  # of them this program writes
    if ALONE:
        tl.debug_barrier()  # the scores of all threads are written
    else:
        from_column = tl.program_id(1) * BD
        to_column = from_column + BD
        others += tl.program_id(1)
    own = there_t & (others == 0)
    to = statistics + 2 * (row.to(tl.int64) * steps + t)
    tl.store(to, level, mask=own)
    tl.store(to + 1, sums, mask=own)

    for column in range(from_column, to_column, BD):
        d = column + tl.arange(0, BD)
        found = tl.zeros((BT, BD), tl.float32)
        for start in range(first, last, BS):
            s = start + tl.arange(0, BS)
            there = existing(mask, b, s, last, sources, MASKED)
            inside = there_t[:, None] & (s < last)[None, :]
            score = tl.load(scores + at + s[None, :], mask=inside, other=float("-inf"))
            _, factor = through_window(there, s, place, window, WINDOW)
            share = tl.exp2(score - level[:, None]) * factor  # (BT, BS)
            v = tl.load(
                values + s[:, None] * (N * D) + d[None, :],
                mask=there[:, None] & (d[None, :] < D),
                other=0.0,
            )
            found = tl.dot(share.to(v.dtype), v, found, input_precision=PRECISION)
        tl.store(
            context + (b * steps + t)[:, None] * (N * D) + n * D + d[None, :],
            (found / sums[:, None]).to(context.dtype.element_ty),
            mask=there_t[:, None] & (d[None, :] < D),
        )

    if WEIGHTS:
        tl.debug_barrier()  # nobody reads scores where weights are to be
        for start in range(0, sources, BS):
            s = start + tl.arange(0, BS)
            inside = there_t[:, None] & ((s >= first) & (s < last))[None, :]
            score = tl.load(scores + at + s[None, :], mask=inside, other=float("-inf"))
            _, factor = through_window(s < last, s, place, window, WINDOW)
            share = tl.exp2(score - level[:, None]) / sums[:, None] * factor
            tl.store(
                weights + at + s[None, :],
                share.to(weights.dtype.element_ty),
                mask=own[:, None] & (s < sources)[None, :],
            )
