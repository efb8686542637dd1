"""Which schedule and which tiles run a decoder loop: a cost model over what fits the chip.

A phase costs a wait (a barrier, or a launch), a chain of latencies, and what its programs read from
L2; the tiles of the two kinds of products, a layer's and the others, are priced apart. The same
prices are the predictions where no GPU is at hand. Chips and rates are those of
``kernels.recurrence.schedule``.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

from kernels.common.chip import BARRIER, HOST, LATENCY, LAUNCH, Chip, power_of_two
from kernels.common.split_product import LOOP, WARPS, tile_price

NAMES = ("step", "persistent")
ROW_ELEMENTS = 8192  # of a block of keys or values in registers; more spills at eight warps
EXPONENTIALS = 1.36e4  # tanh a microsecond and processor: 16 lanes, exp and reciprocal each


class Problem(NamedTuple):
    kind: str
    batch: int
    size: int  # H
    width: int  # A
    values: int  # D; 0: no attention
    queries: int  # Q; 0: the hidden state is the query, or no attention
    source: int  # S
    layers: int
    fed: bool
    bytes: int  # of an element of a product
    backward: bool
    steps: int
    gate: int = 0  # G, columns of the context gate; 0: none
    sentinel: bool = False


class Tiles(NamedTuple):
    schedule: str  # of NAMES
    programs: int  # of the persistent schedule
    cell_rows: int  # of the forward layer phase
    cell_units: int
    rows: int  # of the other products
    columns: int
    inner: int  # block of the products' inner side
    stages: int  # of those blocks in flight
    row_block: int  # source positions at once
    warps: int = WARPS


class Product(NamedTuple):
    """A phase's product: (rows, inner) by (inner, columns)."""

    columns: int
    inner: int


def pick(problem: Problem, chip: Chip, asked: str = "") -> Tiles:
    """The cheapest tiles that fit. ``asked``: what ``use_schedule`` asks for; without it
    "persistent", also of a single step: a wait is priced lower than a launch, in a CUDA graph, too,
    and far lower than a launch by Python.

    Raises RuntimeError for a schedule that the decoder does not have.
    """
    name = asked.split()[0] if asked else "persistent"
    if name not in NAMES:
        raise RuntimeError(
            f"attention_decoder: schedule {name!r} is the recurrence's alone; "
            f"expected one of {', '.join(NAMES)}"
        )
    half = problem.bytes == 2
    inner, stages = block_of(problem, name), 1
    if half:  # three blocks in flight, where there is room
        stages = 3 if chip.shared_memory > 200 * 1024 else 2
    widest = max(16, power_of_two(problem.batch))
    rows = [r for r in (16, 32, 64) if r <= widest]
    slots = _slots(problem)

    most = 4096 if half else 512  # numbers of a tile that eight warps hold without a spill
    if problem.sentinel and problem.backward:  # beside what its products need
        most = min(most, 1024)

    def fits(tile_rows: int, columns: int) -> bool:
        blocks = stages * (tile_rows + columns) * inner * problem.bytes
        return blocks + 4 * tile_rows * columns <= chip.shared_memory * 3 // 4 and (
            tile_rows * columns <= most
        )

    def cheapest(
        spent: Callable[[int, int], float], choices: list[tuple[int, int]], per: int = 1
    ) -> tuple[int, int]:
        fitting = [(r, c) for r, c in choices if fits(r, c * per)]
        return min(fitting, key=lambda t: (spent(*t), t))

    units = (8, 16, 32) if slots == 4 else (16, 32, 64)
    cell = cheapest(lambda r, c: _layers(problem, chip, r, c), list(product(rows, units)), slots)
    other = cheapest(lambda r, c: _others(problem, chip, r, c), list(product(rows, (16, 32, 64))))
    if stages == 2 and problem.backward and other[0] * other[1] > 1024:
        # Of sm_80: a wide tile with blocks of 256 spills 48 bytes, with 128 it parks 16. (With
        # three stages, sm_90, it is the other way round.)
        inner = min(inner, 128)
    widest_row = max(16, power_of_two(max(problem.values, key_width(problem))))
    # In float32 the forward kernel's assembler stops at 128 registers of eight warps and spills.
    warps = WARPS if half or problem.backward else WARPS // 2
    room = ROW_ELEMENTS * warps // WARPS
    if problem.sentinel and widest_row >= 1024:
        # Else, beside its products, 48 bytes of a thread spill forward under Triton 3.7.1, with
        # half of it none; backward 40 of a GRU's under 3.6.0, with half of it 24.
        room //= 2
    block = max(1, min(16, room // widest_row))
    return Tiles(name, chip.processors, *cell, *other, inner, stages, block, warps)


def block_of(problem: Problem, schedule: str = "persistent") -> int:
    """How much of a product's inner dimension is loaded at once.

    256 numbers of a row in half precision, in parts for eight warps, are 64 bytes a warp; with
    shorter parts the number of requests would limit the loads, not the bytes. With blocks of 256
    the single kernel of all phases spills where rows are wide, and so does any kernel beside a wide
    sentinel (sm_100). Blocks of 128 are multiplied whole.
    """
    if problem.bytes > 2:
        return 32
    wide = max(problem.size, problem.width, problem.values, problem.queries) > 512
    crowded = problem.sentinel and problem.size >= 1024
    return 128 if crowded or (wide and schedule == "persistent") else 256


def key_width(problem: Problem) -> int:
    return problem.queries or problem.size


def _slots(problem: Problem) -> int:
    return 1 if problem.kind in ("tanh", "relu") else 4


def layer_products(problem: Problem) -> list[Product]:
    """The products of a forward step, one for each layer."""
    size, gates = problem.size, _slots(problem) * problem.size
    first = Product(gates, size + (problem.width if problem.fed else 0))
    return [first] + [Product(gates, 2 * size)] * (problem.layers - 1)


def query_products(problem: Problem) -> list[Product]:
    """The products of a forward step's query phase; programs share all of their tiles."""
    columns = (problem.queries, key_width(problem) if problem.sentinel else 0, problem.gate)
    return [Product(each, problem.size) for each in columns if each]


def other_phases(problem: Problem) -> list[list[Product]]:
    """Products of a forward or a backward step, but the forward one's layers, by phase."""
    size, width, values = problem.size, problem.width, problem.values
    if not problem.backward:
        asked = query_products(problem)
        return [*([asked] if asked else []), [Product(width, values + size)]]
    found = [[Product(values + size, width)]]
    # Here a tile does all of them, one after the other.
    inner = problem.queries + problem.gate + (key_width(problem) if problem.sentinel else 0)
    found += [[Product(size, inner)]] if inner else []
    layers = [Product(one.inner, one.columns) for one in layer_products(problem)]
    if problem.sentinel:
        layers[-1] = Product(layers[-1].columns, layers[-1].inner + size)
    return found + [[one] for one in layers]


def cost(problem: Problem, chip: Chip, product: Product, rows: int, columns: int) -> float:
    """Microseconds that a product spends beyond waits and latencies."""
    return phase_cost(problem, chip, [product], rows, columns)


def phase_cost(
    problem: Problem, chip: Chip, products: list[Product], rows: int, columns: int
) -> float:
    """The same for products whose tiles are shared out together."""
    across = sum(-(-one.columns // columns) for one in products)
    rounds = -(-(-(-problem.batch // rows) * across) // chip.processors)
    inner = max(one.inner for one in products)
    read = (rows + columns) * inner * problem.bytes
    block = block_of(problem)
    tile = tile_price(rows, columns, inner, block, problem.bytes, LOOP, chip)
    return rounds * max(read * chip.processors / chip.l2, tile)


def _layers(problem: Problem, chip: Chip, rows: int, units: int) -> float:
    """The forward layer phases of a step; above the top one the sentinel's gate."""
    products, columns = layer_products(problem), units * _slots(problem)
    total = sum(cost(problem, chip, one, rows, columns) for one in products)
    if problem.sentinel:
        total += cost(problem, chip, Product(problem.size, products[-1].inner), rows, units)
    return total


def _others(problem: Problem, chip: Chip, rows: int, columns: int) -> float:
    return sum(phase_cost(problem, chip, one, rows, columns) for one in other_phases(problem))


def price(tiles: Tiles, problem: Problem, chip: Chip, graph: bool = False) -> float:
    """Predicted microseconds of a step, launches included; ``graph``: replayed from a CUDA graph.
    Not measured."""
    phases = len(other_phases(problem))
    total = _others(problem, chip, tiles.rows, tiles.columns)
    if not problem.backward:
        total += _layers(problem, chip, tiles.cell_rows, tiles.cell_units)
        phases += problem.layers
    if problem.values:
        rounds = -(-problem.batch // chip.processors)
        keys, read = key_width(problem), problem.values + key_width(problem)
        places = problem.source + problem.sentinel
        reading = places * read * problem.bytes * chip.processors / chip.l2
        total += rounds * (reading + places * keys / EXPONENTIALS)
        # Going back there is a query phase also where it holds no product.
        phases += 1 + (
            problem.backward and not (problem.queries or problem.gate or problem.sentinel)
        )
    total += phases * LATENCY
    first = (LAUNCH if graph else HOST) / problem.steps  # nothing hides the first launch
    if tiles.schedule == "persistent":
        return total + phases * BARRIER + first
    total += phases * LAUNCH + first
    return total if graph else max(total, phases * HOST)
