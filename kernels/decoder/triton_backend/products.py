"""Products of a tile, the building block of every phase of the loop."""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.common.barrier import wait_for_group
from kernels.common.split_product import LOOP, add_splits, no_sums, split_inner, splits_of

MOST = tl.constexpr(LOOP)


@triton.constexpr_function
def in_whole_copies(columns, element):
    """Whether rows of so many numbers of type ``element`` are made of pieces of 16 bytes, the only
    ones that ``cp.async`` copies past L1."""
    return columns * element.primitive_bitwidth % 128 == 0


@triton.jit
def row_block(
    rows, b, k, batch, WIDTH: tl.constexpr, STRIDE: tl.constexpr, BK: tl.constexpr,
    SPLITS: tl.constexpr,
):  # fmt: skip
    """rows[b, k : k + BK], zero past WIDTH: (BM, BK) or (SPLITS, BM, BK/SPLITS), past L1."""
    if SPLITS == 1:
        inner = k + tl.arange(0, BK)
        return tl.load(
            rows + b[:, None] * STRIDE + inner[None, :],
            mask=(b < batch)[:, None] & (inner < WIDTH)[None, :],
            other=0.0,
            cache_modifier=".cg",
        )
    else:
        inner = split_inner(k, BK, SPLITS)
        return tl.load(
            rows + b[None, :, None] * STRIDE + inner[:, None, :],
            mask=(b < batch)[None, :, None] & (inner < WIDTH)[:, None, :],
            other=0.0,
            cache_modifier=".cg",
        )


@triton.jit
def weight_block(
    weight, column, there, k, WIDTH: tl.constexpr, BY_COLUMN: tl.constexpr, BY_INNER: tl.constexpr,
    BK: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """W[k : k + BK, column], zero past WIDTH: (BK, BN) or (SPLITS, BK/SPLITS, BN)."""
    if SPLITS == 1:
        inner = k + tl.arange(0, BK)
        return tl.load(
            weight + column[None, :] * BY_COLUMN + inner[:, None] * BY_INNER,
            mask=there[None, :] & (inner < WIDTH)[:, None],
            other=0.0,
        )
    else:
        inner = split_inner(k, BK, SPLITS)
        return tl.load(
            weight + column[None, None, :] * BY_COLUMN + inner[:, :, None] * BY_INNER,
            mask=there[None, None, :] & (inner < WIDTH)[:, :, None],
            other=0.0,
        )


@triton.jit
def multiply(
    total, rows, b, weight, column, there, batch,
    WIDTH: tl.constexpr, STRIDE: tl.constexpr, BY_COLUMN: tl.constexpr, BY_INNER: tl.constexpr,
    BK: tl.constexpr, STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """total (BM, BN) + rows[b, :WIDTH] W, where ``rows`` has STRIDE numbers a row and W[k, n] lies
    at weight + column[n] * BY_COLUMN + k * BY_INNER, for the columns that are ``there``.

    The rows may have been written by other programs of this launch: they are read past L1. Where
    the compiler's pipeline would take them through L1, in copies below 16 bytes, they are fetched a
    block ahead into registers, which it leaves alone; the weight is pipelined all the same. (It
    pipelines nothing in a loop that carries a value over two rounds, as two blocks ahead would.)
    """
    BM: tl.constexpr = total.shape[0]
    BN: tl.constexpr = total.shape[1]
    BYTES: tl.constexpr = weight.dtype.element_ty.primitive_bitwidth // 8
    SPLITS: tl.constexpr = splits_of(BM, BN, BK, BYTES, MOST)
    AHEAD: tl.constexpr = STAGES > 1 and not (
        in_whole_copies(WIDTH, rows.dtype.element_ty)
        and in_whole_copies(STRIDE, rows.dtype.element_ty)
    )
    parts = total
    if SPLITS > 1:
        parts = no_sums(SPLITS, BM, BN)
    if AHEAD:
        x = row_block(rows, b, 0, batch, WIDTH, STRIDE, BK, SPLITS)
    for k in tl.range(0, WIDTH, BK, num_stages=STAGES):
        if not AHEAD:
            x = row_block(rows, b, k, batch, WIDTH, STRIDE, BK, SPLITS)
        w = weight_block(weight, column, there, k, WIDTH, BY_COLUMN, BY_INNER, BK, SPLITS)
        if AHEAD:
            following = row_block(rows, b, k + BK, batch, WIDTH, STRIDE, BK, SPLITS)
        parts = tl.dot(x, w, parts, input_precision=PRECISION)
        if AHEAD:
            x = following
    if SPLITS > 1:
        parts = total + add_splits(parts, SPLITS, BM, BN)
    return parts


@triton.jit
def next_phase(
    passed, counter, programs, status, WAIT: tl.constexpr, MAX_SPIN: tl.constexpr,
    BEGINS: tl.constexpr = False,
):  # fmt: skip
    """Between two phases of a launch that does them all, its programs wait for each other.
    ``passed``: phases begun so far -> one more. BEGINS: a launch may begin with this phase."""
    if WAIT:
        if BEGINS:
            if passed > 0:
                wait_for_group(counter, passed * programs, status, MAX_SPIN)
        else:
            wait_for_group(counter, passed * programs, status, MAX_SPIN)
    return passed + 1
