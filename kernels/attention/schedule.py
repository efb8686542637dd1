"""Which tiles the Triton kernels of attention take: a rule over sizes and chip.

Both kernels are bound by the number of instructions, counted in the compiled code of the tiles that
are offered here: a fixed part for each (t, s, h) and a part for each query and key that is
loaded, which a larger tile shares out over more pairs. Padding counts as work. ``use_tiles``
overrides the rule.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import NamedTuple

import torch

from kernels.attention.arguments import Problem
from kernels.recurrence.schedule import Chip, power_of_two

CLOCK = 1700.0  # cycles in a microsecond
LANES = 128  # instructions of threads that a processor issues in a cycle


class Tile(NamedTuple):
    steps: int  # BT
    sources: int  # BS
    size: int  # BH: columns at once; of additive scores, in each of four groups
    width: int  # BD: columns of the values at once
    warps: int


class Columns(NamedTuple):
    """Of the backward kernel that owns columns of query and keys."""

    steps: int
    sources: int  # in each of two blocks
    size: int
    warps: int


class Tiles(NamedTuple):
    forward: Tile
    scores: Tile  # the backward pass, first kernel
    columns: Columns  # and second


# (BT, BS, BH, warps) of additive scores -> instructions of a thread for each (t, s, h), and the
# part of them that is spent on loading queries and keys is in it. From the compiled code.
ADDITIVE = {
    (1, 32, 32, 4): 9.0,
    (2, 32, 16, 4): 7.5,
    (4, 16, 16, 2): 7.5,
    (8, 16, 8, 2): 6.5,
    (16, 16, 8, 4): 6.1,
    (16, 32, 8, 4): 5.5,
    (32, 32, 4, 4): 5.3,
}
DIRECT = 9.0  # of the formula without shared factors, as under coverage
COLUMNS = 11.0  # of the second backward kernel

_chosen: ContextVar[str] = ContextVar("kernels_attention_tiles", default="")
_seen_by_compile = ""  # the same as a plain global, on which torch.compile can guard


@contextlib.contextmanager
def use_tiles(tiles: Tiles) -> Iterator[None]:
    """Inside the ``with`` block, Triton attention takes these tiles. The backward pass takes those
    its forward pass was asked to, inside the block or not. All numbers are powers of two."""
    global _seen_by_compile
    token = _chosen.set(" ".join(str(number) for tile in tiles for number in tile))
    _seen_by_compile = _chosen.get()
    try:
        yield
    finally:
        _chosen.reset(token)
        _seen_by_compile = _chosen.get()


def asked_tiles() -> str:
    """What ``use_tiles`` asks for, as the operator carries it to the backward pass; "": nothing."""
    return _read(_seen_by_compile)


@torch.compiler.assume_constant_result
def _read(seen: str) -> str:
    """``seen`` is there for torch.compile, which traces no further than this."""
    return _chosen.get()


def pick(problem: Problem, chip: Chip, asked: str = "") -> Tiles:
    """The tiles for a problem, or those that are asked for (``asked_tiles``)."""
    if asked:
        numbers = [int(word) for word in asked.split()]
        return Tiles(Tile(*numbers[:5]), Tile(*numbers[5:10]), Columns(*numbers[10:]))
    scores = _scores_tile(problem, chip)
    context = _context_block(problem, scores)
    return Tiles(
        scores._replace(width=context),
        scores._replace(width=min(64, max(16, power_of_two(problem.width)))),
        _columns(problem, chip),
    )


def _scores_tile(problem: Problem, chip: Chip) -> Tile:
    if not problem.additive:
        return _dot_tile(problem, chip)
    found = [Tile(t, s, h, 0, warps) for t, s, h, warps in ADDITIVE]
    return min(found, key=lambda tile: (forward_price(tile, problem, chip), tile))


def _dot_tile(problem: Problem, chip: Chip) -> Tile:
    """Products on tensor cores: as many queries as there are, up to 64, but a program for each
    processor before that."""
    steps = min(64, max(16, power_of_two(problem.steps)))
    rows = problem.batch * problem.heads
    while steps > 16 and rows * -(-problem.steps // steps) < chip.processors:
        steps //= 2
    inner = min(64 if problem.bytes == 2 else 32, max(16, power_of_two(problem.size)))
    return Tile(steps, 32, inner, 0, 4)


def _context_block(problem: Problem, tile: Tile) -> int:
    """All columns of the values, so that the scores are made once, while the accumulator
    (BT, BD) fits the registers beside all else; beyond, programs share the columns."""
    most = 1 << 13 if problem.bytes == 2 else 1 << 12
    return min(max(16, power_of_two(problem.width)), max(64, most // max(8, tile.steps)))


def _columns(problem: Problem, chip: Chip) -> Columns:
    rows = problem.batch * problem.heads
    size = 128
    while size > 32 and (
        size >= 2 * problem.size or rows * -(-problem.size // size) < chip.processors
    ):
        size //= 2
    steps = 8 if problem.steps > 4 else 4
    return Columns(steps, 2, size, size // 64 if size > 64 else 1)


def forward_price(tile: Tile, problem: Problem, chip: Chip) -> float:
    """Predicted microseconds of additive scores: issued instructions, as if nothing were waited
    for. A processor runs the programs it is given side by side."""
    each = DIRECT if problem.covered else ADDITIVE[tile.steps, tile.sources, tile.size, tile.warps]
    padded = -(-problem.sources // tile.sources) * tile.sources
    padded *= -(-problem.size // (4 * tile.size)) * 4 * tile.size * tile.steps
    programs = problem.batch * problem.heads * -(-problem.steps // tile.steps)
    # One program alone keeps a processor busy only as far as it has warps: four issue at once.
    rounds = max(-(-programs // chip.processors), 4 / tile.warps)
    return rounds * padded * each / (LANES * CLOCK)


def columns_price(tile: Columns, problem: Problem, chip: Chip) -> float:
    """The same of the second backward kernel."""
    block = 2 * tile.sources
    padded = -(-problem.sources // block) * block * -(-problem.steps // tile.steps) * tile.steps
    programs = problem.batch * problem.heads * -(-problem.size // tile.size)
    rounds = max(-(-programs // chip.processors), 4 / tile.warps)
    return rounds * padded * tile.size * COLUMNS / (LANES * CLOCK)
