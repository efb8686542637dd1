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

from kernels.common.chip import CHAIN, Chip

WARPS = 8  # of the decoder's programs in half precision
LOOP = 1024  # numbers of a tile up to which ``splits_of`` shares K out: in the loop over the steps
STEP = 512  # and in a step of search, where more spills


@triton.constexpr_function
def splits_of(rows, columns, block, width, most):
    """In how many parts the decoder's programs have a block of K, of operands of ``width`` bytes:
    one for each of eight warps, or all in one. In float32 there are no tensor cores and no chain.
    In a tile of more than ``most`` numbers the parts' way from warp to warp takes longer than
    the chain. A part holds the 16 of K of an instruction, in the loop two of them."""
    least = 32 * 8 if most > 512 else 16 * 8
    return 8 if width == 2 and rows * columns <= most and block >= least else 1


def chain_length(inner: int, block: int, parts: int) -> int:
    """Tensor-core instructions that follow one another in a product of half precision."""
    return -(-inner // block) * block // (16 * parts)


def tile_price(
    rows: int, columns: int, inner: int, block: int, width: int, most: int, chip: Chip
) -> float:
    """Microseconds of a tile's product once its operands are there: multiply-adds or the chain, and
    the parts' way from warp to warp, written and read in float32."""
    if width == 4:
        return rows * columns * inner / (chip.products / 16)
    parts = splits_of(rows, columns, block, width, most)
    exchange = 2 * 4 * parts * rows * columns / chip.on_chip if parts > 1 else 0.0
    multiplied = rows * columns * inner / chip.products
    return max(multiplied, chain_length(inner, block, parts) * CHAIN) + exchange


@triton.jit
def split_inner(k, KC: tl.constexpr, SPLITS: tl.constexpr):
    """Indices of the block of K that begins at ``k`` -> (SPLITS, KC/SPLITS)."""
    part: tl.constexpr = KC // SPLITS
    return k + tl.arange(0, SPLITS)[:, None] * part + tl.arange(0, part)[None, :]


@triton.jit
def no_sums(SPLITS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Zeros (SPLITS, ROWS, COLUMNS), or (ROWS, COLUMNS) where K is not split, to add to."""
    if SPLITS == 1:
        return tl.zeros((ROWS, COLUMNS), tl.float32)
    else:
        return tl.zeros((SPLITS, ROWS, COLUMNS), tl.float32)


@triton.jit
def add_splits(parts, SPLITS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """What ``no_sums`` began -> (ROWS, COLUMNS), added up in a fixed order; SPLITS 1, 2, 4 or 8."""
    if SPLITS == 1:
        return parts
    else:
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
