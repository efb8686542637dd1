"""Products of a tile, the building block of every phase of the loop."""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.common.barrier import wait_for_group
from kernels.common.split_product import LOOP, add_splits, no_sums, split_inner, splits_of

MOST = tl.constexpr(LOOP)


@triton.jit
def multiply(
    total, rows, b, weight, column, there, batch,
    WIDTH: tl.constexpr, STRIDE: tl.constexpr, BY_COLUMN: tl.constexpr, BY_INNER: tl.constexpr,
    BK: tl.constexpr, STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """total (BM, BN) + rows[b, :WIDTH] W, where ``rows`` has STRIDE numbers a row and W[k, n] lies
    at weight + column[n] * BY_COLUMN + k * BY_INNER, for the columns that are ``there``.

    The rows may have been written by other programs of this launch: they are read past L1.
    """
    live = b < batch
    BM: tl.constexpr = total.shape[0]
    BN: tl.constexpr = total.shape[1]
    BYTES: tl.constexpr = weight.dtype.element_ty.primitive_bitwidth // 8
    SPLITS: tl.constexpr = splits_of(BM, BN, BK, BYTES, MOST)
    parts = total
    if SPLITS > 1:
        parts = no_sums(SPLITS, BM, BN)
    for k in tl.range(0, WIDTH, BK, num_stages=STAGES):
        if SPLITS == 1:
            inner = k + tl.arange(0, BK)
            x = tl.load(
                rows + b[:, None] * STRIDE + inner[None, :],
                mask=live[:, None] & (inner < WIDTH)[None, :],
                other=0.0,
                cache_modifier=".cg",
            )
            w = tl.load(
                weight + column[None, :] * BY_COLUMN + inner[:, None] * BY_INNER,
                mask=there[None, :] & (inner < WIDTH)[:, None],
                other=0.0,
            )
        else:
            inner = split_inner(k, BK, SPLITS)
            x = tl.load(
                rows + b[None, :, None] * STRIDE + inner[:, None, :],
                mask=live[None, :, None] & (inner < WIDTH)[:, None, :],
                other=0.0,
                cache_modifier=".cg",
            )
            w = tl.load(
                weight + column[None, None, :] * BY_COLUMN + inner[:, :, None] * BY_INNER,
                mask=there[None, None, :] & (inner < WIDTH)[:, :, None],
                other=0.0,
            )
        parts = tl.dot(x, w, parts, input_precision=PRECISION)
    if SPLITS > 1:
        parts = total + add_splits(parts, SPLITS, BM, BN)
    return parts


@triton.jit
def next_phase(passed, counter, programs, status, WAIT: tl.constexpr, MAX_SPIN: tl.constexpr):
    """Between two phases of a launch that does them all, its programs wait for each other.
    ``passed``: phases begun so far -> one more."""
    if WAIT:
        if passed > 0:
            wait_for_group(counter, passed * programs, status, MAX_SPIN)
    return passed + 1
