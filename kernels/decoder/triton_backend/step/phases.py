"""The phases of one step of search as device functions; ``kernel.py`` puts them in order.

A row is a hypothesis; the K = ``beams`` hypotheses of a source lie side by side and read its keys
and values where they are. State, keys, values and products each have their own dtype: what a
product reads is cast to its weight's on the way, sums and element-wise maths are float32. What
other programs of the same launch have written is read past L1.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.common.cells import (
    elman_forward,
    gru_forward,
    lstm_forward,
    sigmoid,
    tanh,
)
from kernels.common.split_product import STEP, add_splits, no_sums, split_inner, splits_of
from kernels.decoder.triton_backend.attend import half_way
from kernels.decoder.triton_backend.products import in_whole_copies

MOST = tl.constexpr(STEP)


@triton.jit
def row_block(rows, row, inner, there, live, STRIDE: tl.constexpr):
    """rows[row, inner] for the columns that are ``there``, else zero, past L1. ``row``, ``live``
    (BM, 1), ``inner``, ``there`` (1, BK); with K in parts (1, BM, 1), (PARTS, 1, BK/PARTS)."""
    return tl.load(rows + row * STRIDE + inner, mask=live & there, other=0.0, cache_modifier=".cg")


@triton.jit
def along_rows(k, BK: tl.constexpr, PARTS: tl.constexpr):
    """The inner side as the rows' last dimension: (1, BK), or (PARTS, 1, BK/PARTS)."""
    if PARTS == 1:
        return (k + tl.arange(0, BK))[None, :]
    else:
        return split_inner(k, BK, PARTS)[:, None, :]


@triton.jit
def along_columns(k, BK: tl.constexpr, PARTS: tl.constexpr):
    """And as the weight's: (BK, 1), or (PARTS, BK/PARTS, 1)."""
    if PARTS == 1:
        return (k + tl.arange(0, BK))[:, None]
    else:
        return split_inner(k, BK, PARTS)[:, :, None]


@triton.jit
def down(x, PARTS: tl.constexpr):
    """(BM,) as (BM, 1), or (1, BM, 1)."""
    if PARTS == 1:
        return x[:, None]
    else:
        return x[None, :, None]


@triton.jit
def across(x, PARTS: tl.constexpr):
    """(BN,) as (1, BN), or (1, 1, BN)."""
    if PARTS == 1:
        return x[None, :]
    else:
        return x[None, None, :]


@triton.jit
def multiply_joined(
    total, weight, place, gate, there, x, x_at, feed, hidden, at, live,
    X: tl.constexpr, F: tl.constexpr, H: tl.constexpr, FROM: tl.constexpr, SPLIT: tl.constexpr,
    BK: tl.constexpr, STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """total (BM, BN) + [x[x_at]; feed[at]; hidden[at]] weight[place]^T without the first FROM of
    the X + F + H columns, in one loop: each loop of its own would wait for its first block.

    SPLIT: a GRU's columns, of which gate 3 has no weight on x and feed, gate 2 none on hidden.

    Rows that are no multiple of 16 bytes are fetched a block ahead into registers, as in
    ``products.multiply``, and for its reasons; as they are, since the pipeline would take them back
    if an operation on them stood between.
    """
    BM: tl.constexpr = total.shape[0]
    BN: tl.constexpr = total.shape[1]
    OUTSIDE: tl.constexpr = X + F
    INNER: tl.constexpr = OUTSIDE + H
    dtype = weight.dtype.element_ty
    PARTS: tl.constexpr = splits_of(BM, BN, BK, dtype.primitive_bitwidth // 8, MOST)
    # All parts begin and end at a multiple of 16 bytes, in the narrowest of their dtypes.
    AHEAD: tl.constexpr = STAGES > 1 and not (
        in_whole_copies(X, x.dtype.element_ty)
        and in_whole_copies(F, feed.dtype.element_ty)
        and in_whole_copies(H, hidden.dtype.element_ty)
        and (X + F) % 8 == 0
        and FROM % 8 == 0
    )
    parts = total
    if PARTS > 1:
        parts = no_sums(PARTS, BM, BN)
    row, x_row, alive = down(at, PARTS), down(x_at, PARTS), down(live, PARTS)
    column, own, kind = across(place, PARTS), across(there, PARTS), across(gate, PARTS)
    if AHEAD:
        # Names of their own: the loop would carry ``inner``, which has two shapes in it.
        first = along_rows(FROM, BK, PARTS)
        of_hidden = row_block(
            hidden, row, first - OUTSIDE, (first >= OUTSIDE) & (first < INNER), alive, H
        )
        if X > FROM:
            of_x = row_block(x, x_row, first, first < X, alive, X)
        if F > 0:
            of_feed = row_block(feed, row, first - X, (first >= X) & (first < OUTSIDE), alive, F)
    for k in tl.range(FROM, INNER, BK, num_stages=STAGES):
        # AHEAD: of the next block, else of this one.
        inner = along_rows(k + (BK if AHEAD else 0), BK, PARTS)
        recurrent = (inner >= OUTSIDE) & (inner < INNER)
        new_hidden = row_block(hidden, row, inner - OUTSIDE, recurrent, alive, H)
        if X > FROM:
            new_x = row_block(x, x_row, inner, inner < X, alive, X)
        if F > 0:
            new_feed = row_block(feed, row, inner - X, (inner >= X) & (inner < OUTSIDE), alive, F)
        if not AHEAD:
            of_hidden = new_hidden
            if X > FROM:
                of_x = new_x
            if F > 0:
                of_feed = new_feed
        rows = of_hidden.to(dtype)
        if X > FROM:
            rows += of_x.to(dtype)
        if F > 0:
            rows += of_feed.to(dtype)
        inner = along_columns(k, BK, PARTS)
        recurrent = inner >= OUTSIDE
        used = own & (inner < INNER)
        if SPLIT:
            used = used & (((kind != 2) & recurrent) | ((kind != 3) & (inner < OUTSIDE)))
        w = tl.load(weight + column * INNER + inner, mask=used, other=0.0)
        parts = tl.dot(rows, w, parts, input_precision=PRECISION)
        if AHEAD:
            of_hidden = new_hidden
            if X > FROM:
                of_x = new_x
            if F > 0:
                of_feed = new_feed
    if PARTS > 1:
        parts = total + add_splits(parts, PARTS, BM, BN)
    return parts


@triton.jit
def layer_tile(
    tile, sums, bias, x, rows, feed, hidden, cell, weight, hidden_out, cell_out, shown, batch,
    KIND: tl.constexpr, X: tl.constexpr, F: tl.constexpr, H: tl.constexpr,
    SUMMED: tl.constexpr, GATHER: tl.constexpr, SHOWN: tl.constexpr, RESIDUAL: tl.constexpr,
    BM: tl.constexpr, BH: tl.constexpr, BK: tl.constexpr, STAGES: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """A layer's cell for BM rows and BH units; hidden, cell and what is written are the layer's.

    x (., X) is read at ``rows`` (N,) with GATHER. SUMMED: sums (., C) hold its share of the gates
    with the bias, and x is not read. SHOWN: the output goes to ``shown``, too, with x added where
    there is a RESIDUAL.
    """
    GATES: tl.constexpr = 4 if (KIND == "lstm" or KIND == "gru") else 1
    across = tl.cdiv(H, BH)
    unit = (tile % across) * BH
    b = (tile // across) * BM + tl.arange(0, BM)
    j = unit + tl.arange(0, BH)
    live = b < batch
    own = j < H
    active = live[:, None] & own[None, :]
    at = b[:, None] * H + j[None, :]
    x_at = b.to(tl.int64)
    if GATHER:
        x_at = tl.load(rows + b, mask=live, other=0).to(tl.int64)
    # What the cell reads is asked for before the product, so that it is there after it.
    before = tl.load(hidden + at, mask=active, other=0.0).to(tl.float32)
    if KIND == "lstm":
        old = tl.load(cell + at, mask=active, other=0.0).to(tl.float32)
    if SUMMED:
        of_sums = sums + x_at[:, None] * (GATES * H) + j[None, :]
        s0 = tl.load(of_sums, mask=active, other=0.0).to(tl.float32)
        if GATES > 1:
            s1 = tl.load(of_sums + H, mask=active, other=0.0).to(tl.float32)
            s2 = tl.load(of_sums + 2 * H, mask=active, other=0.0).to(tl.float32)
            s3 = tl.load(of_sums + 3 * H, mask=active, other=0.0).to(tl.float32)
    else:
        s0 = tl.load(bias + j, mask=own, other=0.0)[None, :]
        if GATES > 1:
            s1 = tl.load(bias + H + j, mask=own, other=0.0)[None, :]
            s2 = tl.load(bias + 2 * H + j, mask=own, other=0.0)[None, :]
            s3 = tl.load(bias + 3 * H + j, mask=own, other=0.0)[None, :]

    column = tl.arange(0, GATES * BH)  # alternates between the gates of a unit
    gate = column % GATES
    total = tl.zeros((BM, GATES * BH), tl.float32)
    total = multiply_joined(
        total, weight, gate * H + unit + column // GATES, gate, unit + column // GATES < H,
        x, x_at, feed, hidden, b, live, X, F, H, X if SUMMED else 0, KIND == "gru",
        BK, STAGES, PRECISION,
    )  # fmt: skip
    if GATES == 1:
        new = elman_forward(total + s0, KIND == "relu")
    else:
        even, odd = total.reshape(BM, BH, 2, 2).split()
        p0, p2 = even.split()
        p1, p3 = odd.split()
        if KIND == "lstm":
            _, _, _, opened, kept = lstm_forward(p0 + s0, p1 + s1, p3 + s3, p2 + s2, old)
            new = opened * tanh(kept)
            tl.store(cell_out + at, kept.to(cell_out.dtype.element_ty), mask=active)
        else:
            _, _, _, new = gru_forward(p0 + s0, p1 + s1, p2 + s2, p3 + s3, before)
    tl.store(hidden_out + at, new.to(hidden_out.dtype.element_ty), mask=active)
    if SHOWN:
        if RESIDUAL:
            new += tl.load(x + at, mask=active, other=0.0, cache_modifier=".cg").to(tl.float32)
        tl.store(shown + at, new, mask=active)


@triton.jit
def norm_row(
    b, x, hidden, gain, shift, shown, normed,
    H: tl.constexpr, RESIDUAL: tl.constexpr, BROW: tl.constexpr,
):  # fmt: skip
    """shown[b] = hidden[b], where ``normed`` its layer normalisation, (+ x[b])."""
    j = tl.arange(0, BROW)
    own = j < H
    h = tl.load(hidden + b * H + j, mask=own, other=0.0, cache_modifier=".cg").to(tl.float32)
    mean = tl.sum(h, 0) / H
    centred = tl.where(own, h - mean, 0.0)
    inverse = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / H + 1e-5)
    y = centred * inverse * tl.load(gain + j, mask=own, other=0.0)
    y += tl.load(shift + j, mask=own, other=0.0)
    y = tl.where(normed, y, h)
    if RESIDUAL:
        y += tl.load(x + b * H + j, mask=own, other=0.0, cache_modifier=".cg").to(tl.float32)
    tl.store(shown + b * H + j, y, mask=own)


@triton.jit
def sentinel_tile(
    tile, x, rows, feed, hidden, weight, bias, opened, batch,
    X: tl.constexpr, F: tl.constexpr, H: tl.constexpr, GATHER: tl.constexpr, BM: tl.constexpr,
    BN: tl.constexpr, BK: tl.constexpr, STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """opened (N, H) = sigmoid(weight (H, X + F + H) [x; feed; hidden] + bias): the sentinel's gate,
    of the top layer's input and hidden state before (kernels/decoder/sentinel.py, equation 9)."""
    across = tl.cdiv(H, BN)
    b = (tile // across) * BM + tl.arange(0, BM)
    n = (tile % across) * BN + tl.arange(0, BN)
    live = b < batch
    x_at = b.to(tl.int64)
    if GATHER:
        x_at = tl.load(rows + b, mask=live, other=0).to(tl.int64)
    total = tl.zeros((BM, BN), tl.float32)
    total = multiply_joined(
        total, weight, n, n, n < H, x, x_at, feed, hidden, b, live, X, F, H, 0, False,
        BK, STAGES, PRECISION,
    )  # fmt: skip
    total += tl.load(bias + n, mask=n < H, other=0.0)[None, :]
    tl.store(
        opened + b[:, None] * H + n[None, :], sigmoid(total), mask=live[:, None] & (n < H)[None, :]
    )


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
