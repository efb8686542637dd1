"""Which schedule and which tiles run a step of search: a cost model, as for the loop.

A phase costs a wait (a barrier, or a launch), a chain of latencies, what its programs read from L2
and, where it makes additive scores, their tanh. The prices are those of
``decoder.triton_backend.tiles``; none is measured.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from kernels.common.chip import BARRIER, HOST, LATENCY, REPLAYED, Chip, power_of_two
from kernels.common.split_product import STEP, WARPS, tile_price
from kernels.decoder.triton_backend.tiles import EXPONENTIALS, NAMES

ELEMENTS = 8192  # of a block of three dimensions that eight warps hold in registers
WHOLE = 32768  # bytes of a weight that eight warps hold in registers
MOST_ROWS = 32  # of a product's tile: from 64 on another instruction might add up another way


class Problem(NamedTuple):
    kind: str
    rows: int  # N
    beams: int  # K
    source: int  # S
    size: int  # H
    width: int  # A
    values: int  # D
    keys: int  # Q; 0: no attention
    asks: bool  # whether the query is a product
    gate: int  # G; 0: no context gate
    additive: bool
    layers: int
    embedding: int  # columns of layer 0 that are read: E, or 0 where they are summed
    feed: int  # A, or 0
    folded: bool  # values went through the output's weight
    normed: bool
    sentinel: bool
    bytes: int  # of an element of a product
    state_bytes: int  # and of the state


class Tiles(NamedTuple):
    schedule: str  # of NAMES
    programs: int  # at most, of the persistent schedule
    cell_rows: int
    cell_units: int
    cell_stages: int
    rows: int  # of the other products
    columns: int
    stages: int
    there: int  # of the rows: what can be there
    inner: int
    attended: int  # columns of values
    beams: int  # hypotheses of a source at once
    scores: int  # source positions at once, ask
    positions: int  # attend
    whole: int  # inner side of ask's product, where each program reads its weight early; else 0
    warps: int


def pick(problem: Problem, chip: Chip, asked: str = "") -> Tiles:
    """The cheapest that fits. ``asked``: what ``use_schedule`` asks for; without it "persistent",
    in which a wait costs no more than a launch does even in a CUDA graph.

    Sources end and hypotheses with them, and each other choice of tiles is another kernel to
    compile: the choice is that of the next larger of a few numbers of rows and positions.

    Raises RuntimeError for a schedule that a step does not have.
    """
    name = asked.split()[0] if asked else "persistent"
    if name not in NAMES:
        raise RuntimeError(
            f"prepared_step: schedule {name!r} is the recurrence's alone; "
            f"expected one of {', '.join(NAMES)}"
        )
    return _pick(_rounded(problem), chip, name)


def _rounded(problem: Problem) -> Problem:
    rows = next((n for n in (1, 4, 16) if problem.rows <= n), power_of_two(problem.rows))
    source = next((n for n in (16, 64) if problem.source <= n), 128)
    return problem._replace(rows=rows, source=source, beams=power_of_two(problem.beams))


@functools.lru_cache(maxsize=256)  # asked at every step
def _pick(problem: Problem, chip: Chip, name: str) -> Tiles:
    half = problem.bytes == 2
    heights = [n for n in (16, MOST_ROWS) if n <= max(16, problem.rows)]
    slots = 4 if problem.kind in ("lstm", "gru") else 1
    most = 4096 if half else 512  # numbers of a product's tile that eight warps hold
    cells = [(r, u) for r, u in product(heights, (16 // slots, 8, 16, 32, 64)) if u * slots >= 16]
    cell_rows, cell_units = min(
        ((r, u) for r, u in cells if r * u * slots <= most),
        key=lambda t: (_layers(problem, chip, *t), t),
    )
    others = [t for t in product(heights, (16, 32, 64)) if t[0] * t[1] <= most]
    widths = (8, 16, 32, 64, 128)
    rows, columns, attended = min(
        ((*t, w) for t, w in product(others, widths)),
        key=lambda t: (_ask(problem, chip, name, *t[:2]) + _attend(problem, chip, *t), t),
    )
    there, beams = min(rows, problem.rows), min(16, problem.beams)
    blocks = power_of_two(-(-max(1, problem.keys) // columns))
    # In float32 the assembler stops at 128 registers of eight warps and spills.
    warps = WARPS if half else WARPS // 2
    elements = ELEMENTS * warps // WARPS
    inner = block_of(problem)
    return Tiles(
        name, chip.processors, cell_rows, cell_units,
        _stages(problem, chip, inner, _parts(problem) * cell_rows, cell_units * slots),
        rows, columns, _stages(problem, chip, inner, rows, columns), there, inner, attended, beams,
        _block(elements // (there * columns), problem.source),
        _block(elements // (beams * max(blocks, attended)), problem.source),
        _whole(problem, chip, columns), warps,
    )  # fmt: skip


def block_of(problem: Problem) -> int:
    """How much of a product's inner dimension is loaded at once."""
    return 128 if problem.bytes == 2 else 32


def _block(most: int, longest: int) -> int:
    return max(1, min(longest, most))


def _parts(problem: Problem) -> int:
    """Tensors that a row of a layer's product is read from."""
    return max(2, 1 + (problem.embedding > 0) + (problem.feed > 0))


def _stages(problem: Problem, chip: Chip, inner: int, rows: int, columns: int) -> int:
    """Blocks in flight: enough bytes to keep L2 busy, within shared memory."""
    if problem.bytes == 4:
        return 1
    stage = inner * (problem.state_bytes * rows + problem.bytes * columns)
    return max(2, min(5, chip.shared_memory * 3 // 4 // stage))


def _whole(problem: Problem, chip: Chip, columns: int) -> int:
    """Width of the inner block of phase ask for a single row, if each program has at most one tile
    and registers hold its weight; else 0. The program then reads the weight, which does not depend
    on the layers, while it waits for them."""
    inner = max(16, power_of_two(problem.size))
    alone = (
        problem.rows == 1
        and not problem.sentinel
        and sum(_tiles_across(problem, columns)) <= chip.processors
    )
    return inner if alone and inner * columns * problem.bytes <= WHOLE else 0


def blocks_of(problem: Problem, tiles: Tiles) -> int:
    """Parts that a score is made in."""
    return -(-problem.keys // tiles.columns)


def folds(
    batch: int, source: int, values: int, width: int, width_in_bytes: int, chip: Chip
) -> bool:
    """Whether values (B, S, D) are better multiplied once with the output's weight (A, D): a step
    then reads (B, S, A) of them and has a phase and a product less."""
    more = batch * source * (width - values) * width_in_bytes / chip.l2
    return more <= BARRIER + LATENCY + width * values * width_in_bytes / chip.l2


def _layers(problem: Problem, chip: Chip, rows: int, units: int) -> float:
    slots = 4 if problem.kind in ("lstm", "gru") else 1
    size, gates = problem.size, problem.size * slots
    inner = problem.embedding + problem.feed + size
    first = _product(problem, chip, gates, inner, rows, units * slots)
    deep = _product(problem, chip, gates, 2 * size, rows, units * slots)
    return first + (problem.layers - 1) * deep


def _ask(problem: Problem, chip: Chip, schedule: str, rows: int, columns: int) -> float:
    read = sum(_tiles_across(problem, columns)) * columns
    if not problem.asks:
        read -= _tiles_across(problem, columns)[0] * columns
    found = _product(problem, chip, read, problem.size, rows, columns)
    if schedule == "persistent" and _whole(problem, chip, columns):
        found = max(0.0, found - BARRIER)  # while waiting
    if problem.sentinel:
        found += _product(problem, chip, problem.keys, problem.size, rows, columns)
    if problem.keys:
        tiles = -(-problem.rows // rows) * _tiles_across(problem, columns)[0]
        height = min(rows, problem.rows)
        read_once = -(-height // problem.beams) * problem.source * columns * problem.bytes
        each = read_once * chip.processors / chip.l2
        if problem.additive:
            each += height * problem.source * columns / EXPONENTIALS
        found += -(-tiles // chip.processors) * each
    return found


def _tiles_across(problem: Problem, columns: int) -> tuple[int, int, int]:
    """Tiles of the score, the output and the gate."""
    return (
        -(-problem.keys // columns), -(-problem.width // columns), -(-problem.gate // columns)
    )  # fmt: skip


def _attend(problem: Problem, chip: Chip, rows: int, columns: int, attended: int) -> float:
    """With the output's product where the values are not folded."""
    if not problem.keys:
        return 0.0
    beams = min(16, power_of_two(problem.beams))
    groups = problem.rows // problem.beams * -(-problem.beams // beams)
    width = problem.width if problem.folded else problem.values
    rounds = -(-groups * -(-width // attended) // chip.processors)
    blocks = -(-problem.keys // columns)
    parts = 4 * blocks * min(beams, problem.beams) * problem.source
    read = parts + problem.source * attended * problem.bytes
    block = _block(ELEMENTS // (beams * max(power_of_two(blocks), attended)), 128)
    chains = -(-problem.source // block) - 1  # blocks beyond the first wait for their own reading
    found = rounds * (read * chip.processors / chip.l2 + chains * LATENCY)
    if not problem.folded:
        found += _product(problem, chip, problem.width, problem.values, rows, columns)
    return found


def _product(
    problem: Problem, chip: Chip, columns: int, inner: int, tile_rows: int, tile_columns: int
) -> float:
    """Microseconds beyond waits and latencies of a product (rows, inner) by (inner, columns)."""
    tiles = -(-problem.rows // tile_rows) * -(-columns // tile_columns)
    rounds = -(-tiles // chip.processors)
    height = min(tile_rows, problem.rows)
    read = (height + tile_columns) * inner * problem.bytes
    tile = tile_price(tile_rows, tile_columns, inner, block_of(problem), problem.bytes, STEP, chip)
    return rounds * max(read * chip.processors / chip.l2, tile)


def phases(problem: Problem, tiles: Tiles) -> Iterator[tuple[str, int, int]]:
    """Name, layer (0 where there is none to tell) and number of tiles, in their order."""
    row_tiles = -(-problem.rows // tiles.rows)
    cells = -(-problem.rows // tiles.cell_rows) * -(-problem.size // tiles.cell_units)
    for layer in range(problem.layers):
        yield "layer", layer, cells
        if problem.normed:
            yield "norm", layer, problem.rows
    yield "ask", 0, row_tiles * sum(_tiles_across(problem, tiles.columns))
    if problem.keys:
        width = problem.width if problem.folded else problem.values
        groups = problem.rows // problem.beams * -(-problem.beams // tiles.beams)
        yield "attend", 0, groups * -(-width // tiles.attended)
        if not problem.folded:
            yield "output", 0, row_tiles * -(-problem.width // tiles.columns)


def price(tiles: Tiles, problem: Problem, chip: Chip, graph: bool = True) -> float:
    """Predicted microseconds of a step, launches included; ``graph``: replayed in a CUDA graph.
    Not measured."""
    count = len(list(phases(problem, tiles)))
    launch = REPLAYED if graph else HOST  # a step of search waits for the one before
    waits = launch + (count - 1) * BARRIER if tiles.schedule == "persistent" else count * launch
    return (
        waits
        + count * LATENCY
        + _layers(problem, chip, tiles.cell_rows, tiles.cell_units)
        + _ask(problem, chip, tiles.schedule, tiles.rows, tiles.columns)
        + _attend(problem, chip, tiles.rows, tiles.columns, tiles.attended)
    )
