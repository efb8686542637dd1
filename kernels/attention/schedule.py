"""Which tiles the Triton kernels of attention take: a rule over sizes and chip.

The kernels of additive scores are bound by the number of instructions, counted in the compiled code
of the tiles that are offered here: a fixed part for each (t, s, h) and a part for each query
and key that is loaded, which a larger tile shares out over more pairs. Padding counts as work.
``use_tiles`` overrides the rule.
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


class Cost(NamedTuple):
    """From the compiled code (sm_90, bfloat16, python -m kernels.compile)."""

    instructions: float  # of a thread for each (t, s, h), loading included
    resident: int  # programs whose registers fit a processor at once


ADDITIVE = {  # (BT, BS, BH, warps) of additive scores
    (1, 64, 16, 4): Cost(17.3, 3),
    (2, 32, 16, 2): Cost(12.0, 4),
    (4, 16, 16, 2): Cost(7.6, 6),
    (8, 16, 8, 2): Cost(6.4, 6),
    (16, 16, 8, 4): Cost(6.0, 3),
    (16, 32, 8, 4): Cost(5.5, 2),
    (32, 32, 4, 4): Cost(5.2, 2),
}
DIRECT = Cost(12.0, 2)  # of the formula without shared factors, as under coverage
COLUMNS = Cost(11.3, 4)  # of the second backward kernel

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
    tile = _scores_tile(problem, chip)
    narrow = max(16, power_of_two(problem.width))
    return Tiles(
        tile._replace(width=min(128 if problem.bytes == 2 else 64, narrow)),
        tile._replace(width=min(64 if problem.bytes == 2 else 32, narrow)),
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
    return Tile(steps, 32, inner, 0, 8 if steps == 64 else 4)  # or registers spill (sm_80)


def _columns(problem: Problem, chip: Chip) -> Columns:
    rows = problem.batch * problem.heads
    size = 128
    while size > 32 and (
        size >= 2 * problem.size or rows * -(-problem.size // size) < chip.processors
    ):
        size //= 2
    steps = 8 if problem.steps > 4 and not problem.covered else 4  # or registers spill
    return Columns(steps, 4, size, size // 32)  # a thread for each column


def forward_price(tile: Tile, problem: Problem, chip: Chip) -> float:
    """Predicted microseconds of additive scores: issued instructions, padding included."""
    cost = ADDITIVE.get((tile.steps, tile.sources, tile.size, tile.warps), DIRECT)
    padded = _up(problem.sources, tile.sources) * _up(problem.size, 4 * tile.size) * tile.steps
    programs = problem.batch * problem.heads * -(-problem.steps // tile.steps)
    if problem.covered:
        cost = Cost(max(cost.instructions, DIRECT.instructions), DIRECT.resident)
    return _microseconds(cost, padded, programs, tile.warps, chip)


def columns_price(tile: Columns, problem: Problem, chip: Chip) -> float:
    """The same of the second backward kernel."""
    padded = _up(problem.sources, 2 * tile.sources) * _up(problem.steps, tile.steps) * tile.size
    programs = problem.batch * problem.heads * -(-problem.size // tile.size)
    return _microseconds(COLUMNS, padded, programs, tile.warps, chip)


def _microseconds(cost: Cost, elements: int, programs: int, warps: int, chip: Chip) -> float:
    rounds = -(-programs // chip.processors)  # programs that one processor runs
    # Of the four schedulers' slots; an assumption, until a GPU has shown how well they are filled.
    filled = min(1.0, 0.25 + 0.3 * min(rounds, cost.resident) * warps / 4)
    return rounds * elements * cost.instructions / (LANES * CLOCK) / filled


def _up(number: int, block: int) -> int:
    return -(-number // block) * block
