"""Products whose inner side is shared out over the warps of a program.

A product of few rows and columns has few sums, and each would be one long chain of tensor-core
instructions that wait for one another: K/16 of them in half precision. With SPLITS sums for each
element, each over its part of K, Triton gives the parts to different warps (a dot of three
dimensions), the chain is K/16/SPLITS long, and no warp reads what another one has read.

The parts are added by ``tl.split``, not by ``tl.sum``. For a split Triton brings the parts of an
element into one thread, by one exchange through shared memory. For a sum over warps it shuffles,
goes through shared memory twice, one number at a time, and leaves the whole result in every warp:
a tile of 16 x 64 on four warps then takes 158 registers in place of 72.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def split_inner(k, KC: tl.constexpr, SPLITS: tl.constexpr):
    """Indices of the block of K that begins at ``k`` -> (SPLITS, KC/SPLITS)."""
    part: tl.constexpr = KC // SPLITS
    return k + tl.arange(0, SPLITS)[:, None] * part + tl.arange(0, part)[None, :]


@triton.jit
def add_splits(parts, SPLITS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """(SPLITS, ROWS, COLUMNS) -> their sum (ROWS, COLUMNS), in a fixed order; SPLITS 2, 4 or 8."""
    last = tl.permute(parts, (1, 2, 0))
    if SPLITS == 2:
        a, b = tl.split(last)
        return a + b
    elif SPLITS == 4:
        a, b = tl.split(tl.reshape(last, (ROWS, COLUMNS, 2, 2)))
        return _add_pairs(a, b)
    else:
        a, b = tl.split(tl.reshape(last, (ROWS, COLUMNS, 2, 2, 2)))
        a0, a1 = tl.split(a)
        b0, b1 = tl.split(b)
        return _add_pairs(a0, a1) + _add_pairs(b0, b1)


@triton.jit
def _add_pairs(a, b):
    a0, a1 = tl.split(a)
    b0, b1 = tl.split(b)
    return (a0 + a1) + (b0 + b1)
