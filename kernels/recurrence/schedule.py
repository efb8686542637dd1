"""Which schedule and which tile run a recurrence: a cost model over what fits the chip.

    step        one launch a step, weights from L2: any size, and the decoding path
    resident    one program has all units: weights and state stay on chip, nobody waits
    persistent  programs share the units, weights stay on chip, a barrier per step

Every candidate that fits is priced in microseconds a step, and the cheapest is taken. The same
prices are the project's predictions where no GPU is at hand. ``use_schedule`` overrides them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import NamedTuple

from kernels.common.chip import (
    BARRIER,
    CHAIN,
    HOST,
    LATENCY,
    LAUNCH,
    NORMALISING,
    RELOAD,
    RESIDENT_LATENCY,
    Chip,
    power_of_two,
)
from kernels.common.compiling import constant_result
from kernels.common.gates import GATES

NAMES = ("step", "resident", "persistent")
# Prices this near to the cheapest say nothing: what reads least from L2 is taken, then the shortest
# chain.
NEAR = 1.03


class Schedule(NamedTuple):
    name: str  # of NAMES
    sequences: int  # BB of a program's tile
    units: int  # BH
    inner: int  # KC, block of the product's inner side
    warps: int
    splits: int = 1  # parts of a block of the inner side, each with sums of its own
    ahead: int = 0  # persistent: blocks of states loaded before the first is multiplied

    def programs(self, batch: int, size: int, directions: int) -> int:
        return directions * -(-batch // self.sequences) * -(-size // self.units)


class Problem(NamedTuple):
    kind: str
    batch: int
    size: int  # H
    directions: int
    bytes: int  # of an element of a product
    backward: bool
    steps: int = 2  # T; what matters is whether it is a single one, as in decoding
    norm: bool = False  # layer normalisation
    graph: bool = False  # the launches are replayed from a CUDA graph, not made by Python

    @property
    def slots(self) -> int:
        """Columns of a unit in the product: the forward tile pads the GRU's gates to four."""
        gates = GATES[self.kind]
        return gates if self.backward or gates == 1 else 4

    @property
    def inner(self) -> int:
        """Length of the product's inner side."""
        return self.size * (GATES[self.kind] if self.backward else 1)


_chosen: ContextVar[str] = ContextVar("kernels_schedule", default="")
_seen_by_compile = ""  # the same as a plain global, on which torch.compile can guard


@contextlib.contextmanager
def use_schedule(schedule: str | Schedule) -> Iterator[None]:
    """Inside the ``with`` block, Triton recurrences run by this schedule.

    A name of ``NAMES`` leaves the tile to the rule, a ``Schedule`` fixes all of it. The backward
    pass runs as its forward pass was asked to, inside the block or not.

    Raises ValueError for an unknown name. A schedule that does not fit the sizes or the chip
    raises RuntimeError when a recurrence is called.
    """
    name = schedule if isinstance(schedule, str) else schedule.name
    if name not in NAMES:
        raise ValueError(f"use_schedule: found {name!r}; expected one of {', '.join(NAMES)}")
    global _seen_by_compile
    token = _chosen.set(" ".join(map(str, schedule)) if name is not schedule else name)
    _seen_by_compile = _chosen.get()
    try:
        yield
    finally:
        _chosen.reset(token)
        _seen_by_compile = _chosen.get()


def asked_schedule() -> str:
    """What ``use_schedule`` asks for, as the operator carries it from forward to backward pass,
    which may run in another thread: "", a name, or a whole schedule in words."""
    return _read(_seen_by_compile)


@constant_result
def _read(seen: str) -> str:
    """``seen`` is there for torch.compile, which traces no further than this."""
    return _chosen.get()


def pick(problem: Problem, chip: Chip, asked: str = "") -> Schedule:
    """The cheapest schedule that fits (within 3%: ``NEAR``), or the one that is asked for
    (``asked_schedule``)."""
    if problem.norm and asked.startswith("persistent"):
        raise RuntimeError(
            "schedule 'persistent': found layer normalisation, which needs all units of a "
            "sequence in one program; leave the choice to the rule, or use 'step'"
        )
    if " " in asked:
        name, *numbers = asked.split()
        return Schedule(name, *map(int, numbers))
    if not asked and problem.steps == 1:  # nothing to keep on chip, nobody to wait for
        asked = "step"
    # Another length is no reason to compile another kernel, but for very short ones.
    problem = problem._replace(steps=min(64, power_of_two(problem.steps)))
    found = [s for s in candidates(problem, chip) if asked in ("", s.name)]
    if not found:
        raise RuntimeError(
            f"schedule {asked!r} does not fit {problem.kind} with hidden size {problem.size} and "
            f"batch {problem.batch} on {chip.processors} processors with {chip.shared_memory} "
            "bytes of shared memory each; leave the choice to the rule, or use 'step'"
        )
    prices = {s: price(s, problem, chip) for s in found}
    near = [s for s in found if prices[s] <= NEAR * min(prices.values())]
    return min(near, key=lambda s: (l2_bytes(s, problem), chain(s, problem), prices[s], s))


def candidates(problem: Problem, chip: Chip) -> list[Schedule]:
    """All tiles that the chip holds; of the step schedule there is always one."""
    found = []
    padded = power_of_two(problem.size)
    if problem.norm:
        found.append(_row(problem))
    widest = power_of_two(problem.batch)
    for sequences in (16, 32, 64, 128):
        if sequences > max(16, widest):
            continue
        for units in (8, 16, 32, 64):
            if units <= max(16, padded) and not problem.norm:
                for name in ("step", "persistent"):
                    whole = _tile(name, problem, chip, sequences, units)
                    found += [whole, *_split(whole, problem, chip)]
        if padded <= _widest_resident(problem):
            found.append(_tile("resident", problem, chip, sequences, max(16, padded)))
    return [s for s in found if by_rows(s, problem) or _fits(s, problem, chip)]


def _widest_resident(problem: Problem) -> int:
    """The most units that a program's registers hold all at once; the compile report shows it."""
    gated, crowded = problem.slots > 1, problem.norm and problem.backward
    if problem.bytes == 4:  # products without tensor cores keep both operands in registers
        if problem.norm and problem.kind == "lstm":
            return 16 if problem.backward else 32
        return 32 if crowded and gated else 64
    # An Elman's weights end up in registers in the backward pass (see ``backward.py``); so do an
    # LSTM's gates with what normalises them.
    alone = problem.backward and not gated
    return 64 if alone or (crowded and problem.kind == "lstm") else 256


def _row(problem: Problem) -> Schedule:
    """The step schedule of layer normalisation: a program for a sequence, the product apart."""
    padded = power_of_two(problem.size)
    return Schedule("step", 1, padded, padded, min(16, max(1, padded // 128)))


def by_rows(schedule: Schedule, problem: Problem) -> bool:
    """Whether it is that one."""
    return problem.norm and schedule.name == "step"


def _tile(name: str, problem: Problem, chip: Chip, sequences: int, units: int) -> Schedule:
    padded = max(16, power_of_two(problem.size))
    ahead = 0
    if name == "resident":
        inner = padded
    else:
        inner = min(padded, max(32, (16384 // problem.bytes) // sequences))
        if name == "step":
            in_flight = chip.shared_memory // 4  # of a weight block; there are three
            inner = min(inner, max(32, in_flight // (problem.bytes * problem.slots * units)))
            # More, and addresses and masks of the blocks in flight do not fit the registers.
            inner = min(inner, 64 if sequences >= 64 else 256)
        if problem.backward and sequences > 16:  # more is in flight than registers hold
            inner = min(inner, 128)
        if problem.bytes == 4:  # products without tensor cores unroll the block
            inner = min(inner, 32)
        elif name == "persistent" and sequences == 64:
            # Hopper's asynchronous products wait for each block before the next begins: small ones,
            # of which two are on their way meanwhile.
            inner, ahead = min(inner, 64), 2
        inner = 1 << (inner.bit_length() - 1)  # a power of two, as Triton's blocks are
        while inner > 64 and _up(problem.size, inner // 2) < _up(problem.size, inner):
            inner //= 2  # 768 is three blocks of 256, but two of 512
    columns = units if problem.backward else problem.slots * units
    # More than that in a tile, and four warps spill (python -m kernels.compile shows it).
    most = 512 if problem.backward else 4096
    warps = 8 if problem.bytes == 4 or sequences * columns > most else 4
    return Schedule(name, sequences, units, inner, warps, ahead=ahead)


def _split(schedule: Schedule, problem: Problem, chip: Chip) -> list[Schedule]:
    """The same with the product's inner side shared out over the warps, where that shortens a chain
    of tensor-core instructions: narrow tiles in half precision."""
    numbers = schedule.sequences * _columns(schedule, problem)
    if problem.bytes == 4 or numbers > 2048:  # the sums of a whole tile are in every warp
        return []
    found = []
    for splits in (4, 8):
        if schedule.inner < 16 * splits:  # less than an instruction's
            continue
        one = schedule._replace(warps=splits, splits=splits)
        if one.name == "persistent":
            # Blocks being loaded may take 64 registers of a thread, or 32 beside a large tile.
            in_flight = (8192 if numbers <= 1024 else 4096) * splits
            most = in_flight // (one.sequences * one.inner * problem.bytes)
            ahead = max(1, min(_blocks(one, problem), most))
            while ahead > 1 and not _fits(one._replace(ahead=ahead), problem, chip):
                ahead -= 1
            one = one._replace(ahead=ahead)
        found.append(one)
    return found


def _columns(schedule: Schedule, problem: Problem) -> int:
    """Columns of a program's product."""
    return schedule.units if problem.backward else problem.slots * schedule.units


def _blocks(schedule: Schedule, problem: Problem) -> int:
    """Blocks of the product's inner side; a block does not cross from gate to gate."""
    return -(-problem.size // schedule.inner) * (problem.inner // problem.size)


def _up(size: int, block: int) -> int:
    return -(-size // block) * block


def shared_bytes(schedule: Schedule, problem: Problem) -> int:
    """About what a program keeps in shared memory: its weights, the blocks of states in flight, the
    product on its way from one layout to another. The compile report checks it."""
    columns, blocks = _columns(schedule, problem), _blocks(schedule, problem)
    weights = blocks * schedule.inner * columns * problem.bytes
    if schedule.name == "step":
        weights = 3 * schedule.inner * columns * problem.bytes
    staged = min(schedule.ahead + 1, blocks)
    staging = staged * schedule.sequences * schedule.inner * problem.bytes
    return weights + max(staging, 4 * schedule.splits * schedule.sequences * columns)


def _fits(schedule: Schedule, problem: Problem, chip: Chip) -> bool:
    columns = _columns(schedule, problem)
    if columns < 16 or shared_bytes(schedule, problem) > chip.shared_memory:
        return False
    # Held in registers: what a tile of the backward pass works on; Hopper's asynchronous products,
    # which begin at 64 sequences, keep too much in flight when unrolled over all gates.
    if problem.backward and (schedule.sequences > 32 or schedule.sequences * columns > 2048):
        return False
    # Half of the registers of eight warps for the sums; the cells work in the rest.
    if not problem.backward and schedule.sequences * columns > 16384:
        return False
    return schedule.name != "persistent" or sharing(schedule, problem.size) <= chip.processors


def sharing(schedule: Schedule, size: int) -> int:
    """P, the programs that together hold all units of a group of sequences."""
    return -(-size // schedule.units)


def groups_at_once(schedule: Schedule, size: int, chip: Chip) -> int:
    """Groups of the persistent schedule whose programs fit on the GPU together, in one launch."""
    return chip.processors // sharing(schedule, size)


def chain(schedule: Schedule, problem: Problem) -> int:
    """Tensor-core instructions of a step that must follow one another; the compile report counts
    them in the compiled code."""
    if problem.bytes == 4 or by_rows(schedule, problem):
        return 0
    return -(-_blocks(schedule, problem) * schedule.inner // (16 * schedule.splits))


def l2_bytes(schedule: Schedule, problem: Problem) -> int:
    """What all programs read from L2 for the product of a step."""
    if schedule.name == "resident" or by_rows(schedule, problem):
        return 0
    read = schedule.sequences
    if schedule.name == "step":  # the weights each time
        read += _columns(schedule, problem)
    programs = schedule.programs(problem.batch, problem.size, problem.directions)
    return programs * read * problem.inner * problem.bytes


def price(schedule: Schedule, problem: Problem, chip: Chip) -> float:
    """Predicted microseconds of a step. Not measured: rates of the chip, counted bytes."""
    if by_rows(schedule, problem):
        return _price_of_rows(problem, chip)
    programs = schedule.programs(problem.batch, problem.size, problem.directions)
    rounds = -(-programs // chip.processors)
    products = _product_price(schedule, problem, chip)
    states = schedule.sequences * problem.inner * problem.bytes  # that a program reads
    if schedule.name == "resident":
        reductions = NORMALISING * (2 if problem.kind == "lstm" else 1) * problem.norm
        return _host(1, problem) + rounds * (RESIDENT_LATENCY + products + reductions)
    if schedule.name == "persistent":
        share = sharing(schedule, problem.size)
        launches = -(-(programs // share) // groups_at_once(schedule, problem.size, chip))
        reading = programs / launches * states / chip.l2
        return _host(launches, problem) + launches * (BARRIER + LATENCY + products + reading)
    weights = problem.inner * _columns(schedule, problem) * problem.bytes
    reading = rounds * chip.processors * (states + weights) / chip.l2
    return _launches(1, LATENCY + max(products * rounds, reading), problem)


def _product_price(schedule: Schedule, problem: Problem, chip: Chip) -> float:
    """The recurrent product of a program: the slowest of multiply-adds, operands on their way from
    shared memory, and the chain; before it the states' way into shared memory, and another wait for
    L2 where not all are loaded at once; after it the parts' way from warp to warp."""
    columns = _columns(schedule, problem)
    rate = chip.products if problem.bytes == 2 else chip.products / 16
    numbers = schedule.sequences * columns
    weights = problem.inner * columns * problem.bytes
    states = schedule.sequences * problem.inner * problem.bytes
    tall = schedule.sequences >= 64  # Hopper's asynchronous products
    # Warps side by side read the same rows; with K shared out each reads its own part.
    alone = schedule.splits > 1 or tall
    readers = 1 if alone else max(1, schedule.warps * 16 // schedule.sequences)
    slowest = max(
        numbers * problem.inner / rate,
        (weights * max(1, schedule.sequences // 64) + states * readers) / chip.on_chip,
        chain(schedule, problem) * CHAIN,
    )
    if schedule.name == "resident":  # states are there, and a product is one block
        return slowest
    moved = states + (2 * 4 * schedule.splits * numbers if schedule.splits > 1 else 0)
    waits = 0
    if schedule.name == "persistent":  # the step schedule's blocks are loaded in a pipeline
        waits = -(-_blocks(schedule, problem) // max(1, schedule.ahead)) - 1
    return slowest + moved / chip.on_chip + waits * RELOAD


def _host(launches: int, problem: Problem) -> float:
    """Python's time a step: that of all launches of a sequence, divided by its steps."""
    return launches * (LAUNCH if problem.graph else HOST) / problem.steps


def _launches(count: int, working: float, problem: Problem) -> float:
    """A step that is ``count`` launches and works that long: while it works, Python prepares the
    next ones. A single step costs every schedule the same."""
    if problem.steps == 1:
        return working + (count - 1) * LAUNCH
    working += count * LAUNCH
    return working if problem.graph else max(working, count * HOST)


def _price_of_rows(problem: Problem, chip: Chip) -> float:
    """A product and a kernel over whole rows: two launches a step, and what they move."""
    sums = GATES[problem.kind] * problem.size
    rate = chip.products if problem.bytes == 2 else chip.products / 16
    work = problem.directions * problem.batch * problem.size * sums
    weights = problem.directions * sums * problem.size * problem.bytes
    product = max(work / (rate * chip.processors), weights / chip.l2)
    # Moved for each gate: sums, product, gates forward; gates, product, two gradients backward.
    moved = 3 if not problem.backward else 4
    rows = problem.directions * problem.batch * sums * moved * problem.bytes / chip.l2
    return _launches(2, LATENCY + product + rows, problem)
