"""A product over rows of several buffers, for tiles of a few hypotheses.

A row is a hypothesis. State, keys, values and products each have their own dtype: what a product
reads is cast to its weight's on the way, sums are float32. What other programs of the same launch
have written is read past L1.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.common.split_product import (
    STEP,
    add_splits,
    no_sums,
    split_inner,
    splits_of,
)
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
