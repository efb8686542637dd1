"""The phase ``ask`` of one step of search: query, context gate and the sentinel's key, and the part
of every score that a block of the query's columns gives.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.common.cells import sigmoid, tanh
from kernels.decoder.triton_backend.attend import half_way
from kernels.decoder.triton_backend.step.products import multiply_joined


@triton.jit
def sentinel_value(opened, memory, at, mask, CELL: tl.constexpr):
    """The sentinel (equation 10): its gate times tanh of the LSTM's cell, or the hidden state."""
    own = tl.load(memory + at, mask=mask, other=0.0, cache_modifier=".cg").to(tl.float32)
    if CELL:
        own = tanh(own)
    return own * tl.load(opened + at, mask=mask, other=0.0, cache_modifier=".cg")


@triton.jit
def sentinel_keys(
    opened, memory, weight, n, there, b, live,
    H: tl.constexpr, CELL: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Columns n of the sentinels' keys, of rows b: weight (Q, H) times the sentinel -> (BM, BN)."""
    total = tl.zeros((BM, BN), tl.float32)
    for k in range(0, H, BK):
        inner = k + tl.arange(0, BK)
        own = sentinel_value(
            opened, memory, b[:, None] * H + inner[None, :],
            live[:, None] & (inner < H)[None, :], CELL,
        )  # fmt: skip
        w = tl.load(
            weight + n[None, :] * H + inner[:, None],
            mask=there[None, :] & (inner < H)[:, None],
            other=0.0,
        )
        total = tl.dot(own.to(w.dtype), w, total, input_precision=PRECISION)
    return total


@triton.jit
def there_alone(total, BM: tl.constexpr, BN: tl.constexpr, ROWS: tl.constexpr):
    """The first ROWS of BM rows, past which all is zero: adding them up takes them out."""
    if ROWS < BM:
        total = tl.sum(tl.reshape(total, (BM // ROWS, ROWS, BN)), 0)
    return total


@triton.jit
def ask_columns(tile, A: tl.constexpr, Q: tl.constexpr, G: tl.constexpr, QUERY: tl.constexpr,
                BN: tl.constexpr):  # fmt: skip
    """Which columns a tile of ``ask_tile`` has: its block of all; numbers within the query, the
    output or the gate; how many of the weight's rows come before those, and how many there are."""
    SCORED: tl.constexpr = (Q + BN - 1) // BN
    ASKED: tl.constexpr = Q if QUERY else 0
    OUT: tl.constexpr = (A + BN - 1) // BN
    block = tile % (SCORED + OUT + (G + BN - 1) // BN)
    begin = block
    base = 0
    limit = ASKED
    if block >= SCORED + OUT:
        begin = block - SCORED - OUT
        base = ASKED + A
        limit = G
    elif block >= SCORED:
        begin = block - SCORED
        base = ASKED
        limit = A
    return block, begin * BN + tl.arange(0, BN), base, limit


@triton.jit
def ask_weight(
    tile, tiles, weight, H: tl.constexpr, A: tl.constexpr, Q: tl.constexpr, G: tl.constexpr,
    QUERY: tl.constexpr, BN: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """All of a tile's weight, (WHOLE, BN): read while others have not arrived yet."""
    _, n, base, limit = ask_columns(tile, A, Q, G, QUERY, BN)
    limit = tl.where(tile < tiles, limit, 0)
    inner = tl.arange(0, WHOLE)
    return tl.load(
        weight + (base + n)[None, :] * H + inner[:, None],
        mask=(n < limit)[None, :] & (inner < H)[:, None],
        other=0.0,
    )


@triton.jit
def score_rows(
    query, r, n, live, own, score, keys, parts, beams, sources, places, scale,
    Q: tl.constexpr, ADDITIVE: tl.constexpr, BS: tl.constexpr,
):  # fmt: skip
    """Columns n of the queries of rows r (ROWS, BN), and keys (B, S, Q) -> their part of every
    score, at parts (N, places), places S or more. Additive scores lack the sum of v, which is the
    same in all: with tanh(x) = 1 - 2 half_way(x) the softmax does not see the 1."""
    used = live[:, None, None] & own[None, None, :]
    if ADDITIVE:
        factor = -2.0 * tl.load(score + n, mask=own, other=0.0)[None, None, :]
    else:
        query = query * scale
    source = (r // beams).to(tl.int64) * sources
    for start in range(0, sources, BS):
        s = start + tl.arange(0, BS)
        k = tl.load(
            keys + (source[:, None] + s[None, :])[:, :, None] * Q + n[None, None, :],
            mask=used & (s < sources)[None, :, None],
            other=0.0,
        ).to(tl.float32)
        if ADDITIVE:
            part = tl.sum(half_way(query[:, None, :] + k) * factor, 2)
        else:
            part = tl.sum(query[:, None, :] * k, 2)
        tl.store(
            parts + r.to(tl.int64)[:, None] * places + s[None, :],
            part,
            mask=live[:, None] & (s < sources)[None, :],
        )


@triton.jit
def ask_tile(
    tile, early, top, weight, score, keys, gate_bias, parts, sums, gates, vectors, opened, memory,
    sentinel_key, batch, beams, sources, scale,
    H: tl.constexpr, A: tl.constexpr, Q: tl.constexpr, G: tl.constexpr, QUERY: tl.constexpr,
    ADDITIVE: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, ROWS: tl.constexpr,
    BS: tl.constexpr, WHOLE: tl.constexpr, BK: tl.constexpr, STAGES: tl.constexpr,
    PRECISION: tl.constexpr, SENTINEL: tl.constexpr, CELL: tl.constexpr,
):  # fmt: skip
    """All that reads the top layer's output (N, H) for BM rows: BN columns of the query, whose part
    of every score goes to ``parts`` at once; or of the output's share of it, to ``sums``; or of
    the context gate. weight (Q + A + G, H), without the Q rows where ``top`` is the query itself.
    Q 0: no attention, and the output is done: tanh to ``vectors``. WHOLE, for a single row (BM 1):
    ``early`` is ``ask_weight``; else it is not used. SENTINEL (1, else 0): one more place to attend
    to, S, with a key of its own for each row.

    A score is a sum over the query's columns, so each program adds up those it has just made,
    and whoever needs the score adds up the parts: one wait less than with whole queries.
    """
    SCORED: tl.constexpr = (Q + BN - 1) // BN
    OUT: tl.constexpr = (A + BN - 1) // BN
    block, n, base, limit = ask_columns(tile, A, Q, G, QUERY, BN)
    first = (tile // (SCORED + OUT + (G + BN - 1) // BN)) * BM
    b = first + tl.arange(0, BM)
    live = b < batch
    total = tl.zeros((BM, BN), tl.float32)
    if WHOLE > 0:
        inner = tl.arange(0, WHOLE)
        row = tl.load(top + first * H + inner, mask=inner < H, other=0.0, cache_modifier=".cg")
        row = row.to(weight.dtype.element_ty).to(tl.float32)  # as a product's operands are
        total += tl.sum(row[:, None] * early.to(tl.float32), 0)[None, :]
    else:
        if QUERY or block >= SCORED:
            total = multiply_joined(
                total, weight, base + n, n, n < limit, top, b, top, top, b, live,
                0, 0, H, 0, False, BK, STAGES, PRECISION,
            )  # fmt: skip
    if block < SCORED:
        r = first + tl.arange(0, ROWS)
        if QUERY:
            query = there_alone(total, BM, BN, ROWS)
        else:
            query = tl.load(
                top + r[:, None] * H + n[None, :],
                mask=(r < batch)[:, None] & (n < Q)[None, :],
                other=0.0,
                cache_modifier=".cg",
            ).to(tl.float32)
        places = sources + SENTINEL
        to = parts + block * batch.to(tl.int64) * places
        score_rows(
            query, r, n, r < batch, n < Q, score, keys, to, beams, sources, places, scale,
            Q, ADDITIVE, BS,
        )  # fmt: skip
        if SENTINEL:
            key = sentinel_keys(
                opened, memory, sentinel_key, n, n < Q, b, live, H, CELL, BM, BN, BK, PRECISION
            )
            key = there_alone(key, BM, BN, ROWS)
            if ADDITIVE:
                v = tl.load(score + n, mask=n < Q, other=0.0)[None, :]
                own = tl.sum(half_way(query + key) * (-2.0 * v), 1)
            else:
                own = tl.sum(query * key, 1) * scale
            tl.store(to + r.to(tl.int64) * places + sources, own, mask=r < batch)
    elif block < SCORED + OUT:
        at = b[:, None] * A + n[None, :]
        active = live[:, None] & (n < A)[None, :]
        if Q > 0:
            tl.store(sums + at, total, mask=active)
        else:
            tl.store(vectors + at, tanh(total).to(vectors.dtype.element_ty), mask=active)
    else:
        total += tl.load(gate_bias + n, mask=n < G, other=0.0)[None, :]
        active = live[:, None] & (n < G)[None, :]
        tl.store(gates + b[:, None] * G + n[None, :], sigmoid(total), mask=active)
