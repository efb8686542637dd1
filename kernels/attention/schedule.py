"""Which tiles the Triton kernels of attention take: a rule over sizes and chip.

The kernels of additive scores are bound by the number of instructions, counted in the compiled code
of the tiles that are offered here: for each column h of a block of queries and sources, loading
included, for each block beside, and for each block of values. Padding counts as work.
``use_tiles`` overrides the rule.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import NamedTuple

from kernels.attention.arguments import Problem
from kernels.common.chip import LAUNCH, Chip, power_of_two
from kernels.common.compiling import constant_result

CLOCK = 1700.0  # cycles in a microsecond
REGISTERS = 65536  # of a processor
LANES = 128  # instructions of threads that a processor issues in a cycle


class Tile(NamedTuple):
    steps: int  # BT
    sources: int  # BS
    size: int  # BH: columns at once; of additive scores, in each of four groups
    width: int  # BD: columns of the values at once
    warps: int
    narrow: int = 0  # NS: sources of the narrowest block, for the rest; 0: all blocks are whole
    part: int = 0  # sources of a program, where a second launch makes the context; 0: one launch


class Columns(NamedTuple):
    """Settings of the backward kernel that owns columns of query and keys."""

    steps: int  # loaded at once
    sources: int  # even ones of a block, and as many odd ones
    size: int
    warps: int


class Tiles(NamedTuple):
    forward: Tile
    scores: Tile  # the backward pass, first kernel
    columns: Columns  # and second


class Cost(NamedTuple):
    """Instructions of a thread, from the compiled code (sm_90, bfloat16, Triton 3.9.0)."""

    columns: tuple[float, ...]  # for a column h of a block, of each width of ``widths``
    block: int  # for a block, beside
    registers: int
    values: int = 0  # for a block of BS sources and BD columns of the values
    narrow: int = 0  # NS of the forward tile


ADDITIVE = {  # (BT, BS, BH, warps) of additive scores
    (1, 64, 16, 4): Cost((8.5,), 260, 161, 205),
    (2, 32, 16, 2): Cost((11.7,), 310, 229, 200),
    (4, 16, 16, 2): Cost((7.4,), 290, 178, 110),
    (8, 16, 8, 2): Cost((12.4,), 240, 161, 102),
    (16, 16, 8, 4): Cost((11.5,), 180, 176, 70),
    (16, 32, 8, 4): Cost((21.0, 11.5, 4.0), 260, 226, 128, 4),
    (32, 32, 4, 4): Cost((39.5,), 370, 240, 110),
}
SPLIT = {  # the same where a program has one block, and leaves the context to a second launch
    (1, 16, 64, 4): Cost((2.15,), 120, 159, 105),
    (2, 16, 32, 4): Cost((3.65,), 120, 128, 105),
    (4, 16, 16, 4): Cost((6.7,), 120, 123, 105),
}
COVERED = 12.0  # for each (t, s, h) of the formula without shared factors, with coverage
COLUMNS = {  # (BT, BS) of the second backward kernel; for each (t, s, h)
    (1, 16): Cost((8.85,), 490, 168),
    (2, 8): Cost((9.2,), 250, 128),
    (4, 4): Cost((10.1,), 140, 80),
}
COLUMNS_COVERED = {(2, 4): Cost((23.3,), 200, 90)}

_chosen: ContextVar[str] = ContextVar("kernels_attention_tiles", default="")
_seen_by_compile = ""  # the same as a plain global, on which torch.compile can guard


@contextlib.contextmanager
def use_tiles(tiles: Tiles) -> Iterator[None]:
    """Inside the ``with`` block, Triton attention takes these tiles. The backward pass takes those
    its forward pass was asked to, inside the block or not. All numbers are powers of two, but for
    ``narrow`` and ``part``, which may be 0."""
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


@constant_result
def _read(seen: str) -> str:
    """``seen`` is there for torch.compile, which traces no further than this."""
    return _chosen.get()


def chunk(problem: Problem) -> int:
    """Queries whose scores, with gradients and weights, take about as much room as query, keys and
    values in float32 do."""
    room = problem.heads * (problem.steps + problem.sources) * max(problem.size, problem.width)
    return max(16, room // max(1, 2 * problem.heads * problem.sources) // 16 * 16)


def keeps_scores(problem: Problem) -> bool:
    """Whether the forward pass keeps its scores for the backward pass: where they cost a tanh for
    each (t, s, h) to compute again, and take no more room than the arguments in float32.

    Coverage needs the slope of every tanh beside the score: it makes both again.
    """
    steps, sources, size = problem.steps, problem.sources, problem.size
    room = steps * size + sources * (size + problem.width)
    in_one = steps <= chunk(problem)
    return problem.additive and not problem.covered and in_one and steps * sources <= room


def widths(tile: Tile) -> list[int]:
    """Sources of the blocks of a forward program."""
    if not tile.narrow:
        return [tile.sources]
    middle = [4 * tile.narrow] if 4 * tile.narrow < tile.sources else []
    return [tile.sources, *middle, tile.narrow]


def blocks(tile: Tile, sources: int) -> list[int]:
    """How many of each width: a small rest is left to narrower ones, which cost more a source."""
    if not tile.narrow:
        return [-(-sources // tile.sources)]
    found = []
    small = (min(5 * tile.narrow, tile.sources - tile.narrow), 2 * tile.narrow, 0)
    for width, rest in zip(widths(tile)[:-1], small, strict=False):
        found.append(max(0, sources + width - rest - 1) // width)
        sources -= found[-1] * width
    return [*found, max(0, -(-sources // tile.narrow))]


def pick(problem: Problem, chip: Chip, asked: str = "", kept: bool = False) -> Tiles:
    """The tiles for a problem, or those that are asked for (``asked_tiles``); ``kept``: the
    backward pass has the scores."""
    if asked:
        numbers = [int(word) for word in asked.split()]
        own = len(Tile._fields)
        forward, scores = Tile(*numbers[:own]), Tile(*numbers[own : 2 * own])
        return Tiles(forward, scores, Columns(*numbers[2 * own :]))
    narrow = max(16, power_of_two(problem.width))
    widest = min(128 if problem.bytes == 2 else 64, narrow)
    if problem.additive and not kept:
        again = _additive_tile(problem, chip, widest, backward=True)
    else:
        again = _again_tile(problem, chip) if kept else _dot_tile(problem, chip)
    return Tiles(
        _additive_tile(problem, chip, widest) if problem.additive else again._replace(width=widest),
        again._replace(width=min(64 if problem.bytes == 2 else 32, narrow)),
        min(columns_tiles(problem), key=lambda c: (columns_price(c, problem, chip), -c.size, c)),
    )


def additive_tiles(width: int, chip: Chip) -> list[Tile]:
    """What is offered for the forward pass of additive scores."""
    whole = [
        Tile(t, s, h, width, warps, cost.narrow if chip.narrow else 0)
        for (t, s, h, warps), cost in ADDITIVE.items()
    ]
    return whole + [Tile(t, s, h, width, warps, part=s) for t, s, h, warps in SPLIT]


def _additive_tile(problem: Problem, chip: Chip, width: int, backward: bool = False) -> Tile:
    """The cheapest; the backward pass has whole blocks, in one launch."""
    found = additive_tiles(width, chip)
    if backward:
        found = [tile._replace(narrow=0) for tile in found if not tile.part]
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


def _again_tile(problem: Problem, chip: Chip) -> Tile:
    """A product, and little else (32 queries would spill registers on sm_80)."""
    found = [Tile(16, 32, 16, 64, 4), Tile(64, 32, 16, 64, 8)]
    return min(found, key=lambda tile: (again_price(tile, problem, chip), tile))


def columns_tiles(problem: Problem) -> list[Columns]:
    """What is offered for the second backward kernel: a thread for each column."""
    costs = COLUMNS_COVERED if problem.covered else COLUMNS
    sizes = [size for size in (32, 64, 128) if size == 32 or size < 2 * problem.size]
    return [Columns(t, s, size, size // 32) for t, s in costs for size in sizes]


def forward_price(tile: Tile, problem: Problem, chip: Chip) -> float:
    """Predicted microseconds of additive attention: issued instructions, padding included."""
    programs = problem.batch * problem.heads * -(-problem.steps // tile.steps)
    costs = SPLIT if tile.part else ADDITIVE
    cost = costs[tile.steps, tile.sources, tile.size, tile.warps]
    columns = -(-problem.width // tile.width)
    rows = -(-problem.sources // tile.sources)
    if not tile.part:
        scores = _scores_instructions(tile, cost, problem, problem.sources)
        values = columns * (rows * cost.values + 100)
        return _microseconds(scores + values, cost.registers, programs, tile.warps, chip)
    scores = _scores_instructions(tile, cost, problem, tile.part)
    parts = -(-problem.sources // tile.part)
    first = _microseconds(scores, cost.registers, programs * parts, tile.warps, chip)
    second = _microseconds(rows * cost.values, 64, programs * columns, tile.warps, chip)
    return first + LAUNCH + second


def _scores_instructions(tile: Tile, cost: Cost, problem: Problem, sources: int) -> float:
    """Instructions of a thread for the scores of this many sources."""
    total = 0.0
    each = zip(widths(tile), blocks(tile, sources), cost.columns, strict=False)
    for width, count, column in each:
        size = tile.size * (16 if width == tile.narrow else 4)
        if problem.covered:
            column, size = COVERED * tile.steps * width / (32 * tile.warps), tile.size
        total += count * (column * _up(problem.size, size) + cost.block)
    return total


def again_price(tile: Tile, problem: Problem, chip: Chip) -> float:
    """The same of the first backward kernel, where the scores were kept: its product, and what it
    moves through L2."""
    programs = problem.batch * problem.heads * -(-problem.steps // tile.steps)
    rate = chip.products if problem.bytes == 2 else chip.products / 16
    product = tile.steps * _up(problem.sources, tile.sources) * problem.width / rate
    rows = programs * (tile.steps + problem.sources) * problem.width * problem.bytes
    square = 5 * 4 * programs * tile.steps * problem.sources  # scores; weights, gradients twice
    return -(-programs // chip.processors) * product + (rows + square) / chip.l2


def columns_price(tile: Columns, problem: Problem, chip: Chip) -> float:
    """The same of the second backward kernel."""
    cost = (COLUMNS_COVERED if problem.covered else COLUMNS)[tile.steps, tile.sources]
    steps, width = _up(problem.steps, tile.steps), 2 * tile.sources
    blocks = -(-problem.sources // width)
    walk = blocks * (steps * width * cost.columns[0] + cost.block)
    limits = 7.3 * (problem.steps + problem.sources)  # looked for before
    programs = problem.batch * problem.heads * -(-problem.size // tile.size)
    return _microseconds(walk + limits, cost.registers, programs, tile.warps, chip)


def backward_price(tiles: Tiles, problem: Problem, chip: Chip, kept: bool) -> float:
    """Both kernels of the backward pass."""
    price = again_price if kept else forward_price
    return price(tiles.scores, problem, chip) + columns_price(tiles.columns, problem, chip)


def _microseconds(
    instructions: float, registers: int, programs: int, warps: int, chip: Chip
) -> float:
    rounds = -(-programs // chip.processors)  # programs that one processor runs
    resident = REGISTERS // (_up(registers, 8) * 32 * warps)  # at once
    # Share of the schedulers' issue slots that are filled: an assumption until a GPU measures it.
    filled = min(1.0, 0.25 + 0.3 * min(rounds, resident) * warps / 4)
    return rounds * instructions * 32 * warps / (LANES * CLOCK) / filled


def _up(number: int, block: int) -> int:
    return -(-number // block) * block
