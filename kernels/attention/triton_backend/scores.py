"""Tiles of scores as device functions, in base-2 logarithms: written once, used by both passes.

Additive scores are bound by the special-function unit and by the number of instructions, so that
tanh is not computed at all. With E = exp(2x), tanh(x) = 1 - 2/(1 + E); the softmax does not see the
1, which adds the sum of v to every score. Of E(q + k) = E(q) E(k) both factors are made once per
tile; what is left for each (t, s, h) is one multiply-add and a reciprocal, and four fractions of
different h are added before they are divided:

    v0/a0 + v1/a1 = (v0 a1 + v1 a0) / (a0 a1),    a = 1 + E(q) E(k)

Joining two fractions takes three instructions, another reciprocal and its sum two, but one of them
in the special-function unit, which is eight times slower: two to a reciprocal would leave it no
slack, eight would take no fewer instructions than four. The product of four a stays finite while
E <= 2^30. A tile in which a query and a key could be beyond that is computed again by the direct
formula, exp2 and a reciprocal for each element, which is right for any finite x.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.backend import interpreted

INTERPRETED = tl.constexpr(interpreted())
TWICE = tl.constexpr(2.8853900817779268)  # 2 / ln 2: exp(2x) = exp2(TWICE x)
LOG2E = tl.constexpr(1.4426950408889634)
LARGEST = tl.constexpr(1073741824.0)  # 2^30: four factors, (1 + 2^30)^4 < 2^127
FACTOR = tl.constexpr(1152921504606846976.0)  # 2^60: what the other factor may be when one is 0


@triton.jit
def load_columns(rows, row, there, h, HS: tl.constexpr, H: tl.constexpr):
    """(BH, rows) of a (rows, HS) matrix: columns h of ``row``; 0 where there is nothing."""
    return tl.load(
        rows + row[None, :] * HS + h[:, None], mask=there[None, :] & (h[:, None] < H), other=0.0
    ).to(tl.float32)


@triton.jit
def load_vector(vector, h, H: tl.constexpr):
    return tl.load(vector + h, mask=h < H, other=0.0).to(tl.float32)


@triton.jit
def load_queries(query, bias, t, there_t, h, HS: tl.constexpr, H: tl.constexpr, BIAS: tl.constexpr):
    """(BH, BT) of query + bias"""
    q = load_columns(query, t, there_t, h, HS, H)
    if BIAS:
        q += load_vector(bias, h, H)[:, None]
    return q


@triton.jit
def fast_additive(
    query, bias, keys, weight, t, there_t, s, there_s,
    H: tl.constexpr, HS: tl.constexpr, BIAS: tl.constexpr,
    BT: tl.constexpr, BS: tl.constexpr, BH: tl.constexpr,
):  # fmt: skip
    """-> sum_h v_h / (1 + E_h) as (BT, BS), and whether all of it is to be trusted."""
    total = tl.zeros((BT, BS), tl.float32)
    most_q = tl.zeros((BH, BT), tl.float32)
    most_k = tl.zeros((BH, BS), tl.float32)
    for start in range(0, H, 4 * BH):
        h0 = start + tl.arange(0, BH)
        h1, h2, h3 = h0 + BH, h0 + 2 * BH, h0 + 3 * BH
        k0 = tl.exp2(load_columns(keys, s, there_s, h0, HS, H) * TWICE)
        k1 = tl.exp2(load_columns(keys, s, there_s, h1, HS, H) * TWICE)
        k2 = tl.exp2(load_columns(keys, s, there_s, h2, HS, H) * TWICE)
        k3 = tl.exp2(load_columns(keys, s, there_s, h3, HS, H) * TWICE)
        q0 = tl.exp2(load_queries(query, bias, t, there_t, h0, HS, H, BIAS) * TWICE)
        q1 = tl.exp2(load_queries(query, bias, t, there_t, h1, HS, H, BIAS) * TWICE)
        q2 = tl.exp2(load_queries(query, bias, t, there_t, h2, HS, H, BIAS) * TWICE)
        q3 = tl.exp2(load_queries(query, bias, t, there_t, h3, HS, H, BIAS) * TWICE)
        most_k = tl.maximum(tl.maximum(k0, k1), tl.maximum(tl.maximum(k2, k3), most_k))
        most_q = tl.maximum(tl.maximum(q0, q1), tl.maximum(tl.maximum(q2, q3), most_q))
        v0 = load_vector(weight, h0, H)[:, None, None]
        v1 = load_vector(weight, h1, H)[:, None, None]
        v2 = load_vector(weight, h2, H)[:, None, None]
        v3 = load_vector(weight, h3, H)[:, None, None]
        a0 = q0[:, :, None] * k0[:, None, :] + 1.0  # (BH, BT, BS)
        a1 = q1[:, :, None] * k1[:, None, :] + 1.0
        a2 = q2[:, :, None] * k2[:, None, :] + 1.0
        a3 = q3[:, :, None] * k3[:, None, :] + 1.0
        low, high = a0 * a1, a2 * a3
        above = (v0 * a1 + v1 * a0) * high + (v2 * a3 + v3 * a2) * low
        total += tl.sum(above * reciprocal(low * high), 0)
    q, k = tl.max(most_q), tl.max(most_k)
    # A factor that fell to 0 is then multiplied by less than 2^60, and belongs there. NaN is false.
    return total, (q * k <= LARGEST) & (q <= FACTOR) & (k <= FACTOR)


@triton.jit
def safe_additive(
    query, bias, keys, weight, coverage_weight, covered, t, there_t, s, there_s,
    H: tl.constexpr, HS: tl.constexpr, BIAS: tl.constexpr, COVERED: tl.constexpr,
    BT: tl.constexpr, BS: tl.constexpr, BH: tl.constexpr,
):  # fmt: skip
    """-> sum_h v_h / (1 + E_h), and with COVERED the score's derivative by ``covered`` (BT, BS),
    which is added to q + k under a weight of its own."""
    total = tl.zeros((BT, BS), tl.float32)
    slope = tl.zeros((BT, BS), tl.float32)
    for start in range(0, H, BH):
        h = start + tl.arange(0, BH)
        q = load_queries(query, bias, t, there_t, h, HS, H, BIAS)
        k = load_columns(keys, s, there_s, h, HS, H)
        v = load_vector(weight, h, H)[:, None, None]
        x = q[:, :, None] + k[:, None, :]  # (BH, BT, BS)
        if COVERED:
            w = load_vector(coverage_weight, h, H)[:, None, None]
            x += w * covered[None, :, :]
        u = logistic(x)
        total += tl.sum(v * u, 0)
        if COVERED:
            slope += tl.sum(v * w * (u - u * u), 0)
    return total, 4.0 * slope  # d tanh = 4 u (1 - u)


@triton.jit
def logistic(x):
    """u = 1 / (1 + E(x)), from which tanh(x) = 1 - 2u; E stays finite."""
    return reciprocal(1.0 + tl.exp2(tl.minimum(x * TWICE, 125.0)))


@triton.jit
def reciprocal(x):
    """1 / x of float32 from 1 to 2^126 in one instruction, to one in the last place. A division
    takes another five, for numbers outside."""
    if INTERPRETED:  # which knows no assembly
        return 1.0 / x
    else:
        return tl.inline_asm_elementwise(
            "rcp.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )


@triton.jit
def additive_tile(
    query, bias, keys, weight, coverage_weight, covered, scale, t, there_t, s, there_s,
    H: tl.constexpr, HS: tl.constexpr, BIAS: tl.constexpr, COVERED: tl.constexpr,
    BT: tl.constexpr, BS: tl.constexpr, BH: tl.constexpr,
):  # fmt: skip
    """-> scale * v . tanh(q + bias + k [+ covered w]) but for a constant, in base 2, (BT, BS);
    and its derivative by ``covered``, not in base 2."""
    if COVERED:
        total, slope = safe_additive(
            query, bias, keys, weight, coverage_weight, covered, t, there_t, s, there_s,
            H, HS, BIAS, True, BT, BS, BH,
        )  # fmt: skip
    else:
        total, right = fast_additive(
            query, bias, keys, weight, t, there_t, s, there_s, H, HS, BIAS, BT, BS, BH
        )
        slope = total
        if not right:
            total, slope = safe_additive(
                query, bias, keys, weight, coverage_weight, covered, t, there_t, s, there_s,
                H, HS, BIAS, False, BT, BS, BH,
            )  # fmt: skip
    return total * (scale * -2.0) * LOG2E, slope * scale


@triton.jit
def dot_tile(
    query, keys, scale, t, there_t, s, there_s,
    H: tl.constexpr, HS: tl.constexpr, BT: tl.constexpr, BS: tl.constexpr, BK: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """-> scale * q . k in base 2, (BT, BS)"""
    total = tl.zeros((BT, BS), tl.float32)
    for start in range(0, H, BK):
        h = start + tl.arange(0, BK)
        q = tl.load(
            query + t[:, None] * HS + h[None, :],
            mask=there_t[:, None] & (h[None, :] < H),
            other=0.0,
        )
        k = tl.load(
            keys + s[None, :] * HS + h[:, None], mask=there_s[None, :] & (h[:, None] < H), other=0.0
        )
        total = tl.dot(q, k, total, input_precision=PRECISION)
    return total * scale * LOG2E


@triton.jit
def reach(lengths, centre, b, t, there_t, window, steps, sources,
          LENGTHS: tl.constexpr, WINDOW: tl.constexpr, BS: tl.constexpr):  # fmt: skip
    """The sources that queries t of row b can see, [first, last), and the centres of their windows
    (BT,); ``first`` is a multiple of BS."""
    first = sources * 0
    last = sources
    if LENGTHS:
        last = tl.load(lengths + b)
    place = t.to(tl.float32)
    if WINDOW:
        # Positions that no source can have still compare right after the clamp.
        limit = sources.to(tl.float32) + window + 2.0
        place = tl.load(centre + b * steps + t, mask=there_t, other=0.0).to(tl.float32)
        place = tl.minimum(tl.maximum(place, -window - 2.0), limit)
        left = tl.min(tl.where(there_t, place, limit)) - window
        right = tl.max(tl.where(there_t, place, -window - 2.0)) + window
        first = (tl.maximum(left, 0.0).to(tl.int32) // BS) * BS
        right = tl.minimum(right, sources.to(tl.float32))  # a window may reach past any int32
        last = tl.minimum(last, tl.maximum(right + 1.0, 0.0).to(tl.int32))
    return first, last, place


@triton.jit
def existing(mask, b, s, last, sources, MASKED: tl.constexpr):
    """Which sources are there at all, (BS,)."""
    there = s < last
    if MASKED:
        there &= tl.load(mask + b * sources + s, mask=there, other=0) != 0
    return there


@triton.jit
def through_window(there, s, place, window, WINDOW: tl.constexpr):
    """Which sources each query sees, (BT or 1, BS), and under which factor of the window."""
    seen = there[None, :]
    factor = tl.full((1, 1), 1.0, tl.float32)
    if WINDOW:
        apart = s.to(tl.float32)[None, :] - place[:, None]
        seen = seen & (tl.abs(apart) <= window)
        wide = 0.5 * window
        factor = tl.exp2(apart * apart * (-0.5 / (wide * wide)) * LOG2E)
    return seen, factor
