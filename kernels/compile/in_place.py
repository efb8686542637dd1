"""Tiles that a kernel reads and writes in place, where other threads may hold the same numbers.

A tile is loaded, and later stored at the same addresses. That is in order for a thread's own
numbers. But the compiler may load a tile twice, each time as another operation wants it laid out
over the threads, and where a tile has fewer numbers than there are threads several load the same
one. Then a thread may store before another has loaded: the other takes the new number for the old
one. A ``bar.sync`` between is needed. The same holds for a tile that is stored and then read back.
(Where several threads load a number and one of them stores what it made of it, the others may be
late as long as nothing of theirs counts: while all that is made of it stays with its thread.)

Which threads hold what stands in Triton's intermediate code (TTGIR), whether a ``bar.sync`` lies
between in the PTX alone; the lines of the source tie the two together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from math import prod
from typing import NamedTuple

from kernels.compile import ptx
from kernels.compile.ptx import Instruction, Place

VALUE = re.compile(r"%[\w.$-]+(?:#\d+)?")
LAYOUT = re.compile(r", #(?:ttg\.slice<\{dim = \d+, parent = )*#?[\w.]+(?:\}>)*")
LOCATION = re.compile(r" loc\((#loc\d*)\)")
Seen = tuple[Place, bool]  # an access: where, and whether it stores


class Access(NamedTuple):
    store: bool
    tile: int  # equal for equal addresses, however they lie over the threads
    base: int  # of the pointer to which the tile's offsets are added
    root: int  # the tile, but for constants that were added: rows of two gates are two tiles
    layout: str | None  # None: a single number
    shared: bool  # whether several threads have the same number, and what they make of it is used
    fixed: bool  # its address is the same in each round of the loop around it
    place: Place
    regions: tuple[tuple[int, int], ...]  # around it: number, and which branch


def faults(ttgir: str, text: str) -> list[str]:
    """What is wrong in a kernel of this intermediate code and PTX, in words, each once."""
    pairs = set(_pairs(list(_accesses(ttgir))))
    wrong: dict[str, None] = {}
    first = {one for one, _ in pairs}
    missing = {one for pair in pairs for one in pair}
    second: dict[Seen, set[Seen]] = {}
    for one, other in pairs:
        second.setdefault(other, set()).add(one)

    def step(facts: frozenset[Seen], one: Instruction) -> frozenset[Seen]:
        if one.name.startswith(("bar.sync", "barrier.sync")):
            return frozenset()
        store = one.name.startswith("st.global")
        if not store and not one.name.startswith(("ld.global", "ld.volatile.global")):
            return facts
        here = one.place, store
        missing.discard(here)
        for before in facts & second.get(here, set()):
            wrong[
                f"{before[0][0]} {'stores' if before[1] else 'loads'} and {here[0][0]} "
                f"{'stores' if store else 'loads'} the same numbers in other threads, with no "
                "bar.sync between"
            ] = None
        return facts | {here} if here in first else facts

    nothing: frozenset[Seen] = frozenset()
    ptx.walk(ptx.read(text), nothing, step)
    for place, store in missing:
        wrong[f"{place}: no such {'store' if store else 'load'} in the PTX to compare with"] = None
    return list(wrong)


def _pairs(found: list[Access]) -> Iterator[tuple[Seen, Seen]]:
    """Accesses, one after the other, that need a barrier between."""
    for (i, one), (k, other) in product(enumerate(found), repeat=2):
        if not (one.store or other.store) or one.base != other.base or one.store == other.store:
            continue
        if i > k and not (one.fixed and other.fixed):  # in the next round: other addresses
            continue
        if any(a == b and x != y for (a, x), (b, y) in zip(one.regions, other.regions)):  # noqa: B905
            continue  # in two branches, of which one is taken
        same = one.tile == other.tile
        own = same and one.layout == other.layout is not None and not (one.shared and other.shared)
        apart = not same and one.root == other.root
        if not own and not apart and (same or one.store):
            yield (one.place, one.store), (other.place, other.store)


def _accesses(ttgir: str) -> Iterator[Access]:
    yield from _found(ttgir, _leaking(ttgir))


def _leaking(ttgir: str) -> set[int]:
    """Lines of loads of which something reaches other threads than those that loaded it."""
    made: dict[str, set[int]] = {}  # value -> the loads it is made of
    leaking: set[int] = set()
    for row, line in enumerate(_body(ttgir)):
        to, _, operation = line.strip().partition(" = ")
        if not line.strip().startswith("%"):
            to, operation = "", line.strip()
        used = VALUE.findall(operation)
        sources = set().union(*(made.get(name, set()) for name in used))
        if operation.startswith("tt.load"):
            sources.add(row)
        if not operation.startswith(("arith.", "math.", "tt.load", "tt.store", "tt.extern")):
            leaking |= sources
        if to:
            made[to] = sources
    return leaking


def _body(ttgir: str) -> list[str]:
    return ttgir[ttgir.index("tt.func") :].splitlines()[1:]


def _found(ttgir: str, leaking: set[int]) -> Iterator[Access]:
    layouts = dict(re.findall(r"^(#\w+) = #ttg\.(blocked<.*>)$", ttgir, re.M))
    places = _places(ttgir)
    numbers: dict[str, int] = {}  # of values, equal for equal expressions
    known: dict[str, int] = {}
    bases: dict[int, int] = {}
    roots: dict[int, int] = {}
    constants: set[int] = set()
    depths: dict[int, int] = {}  # how many regions are around what a value depends on
    regions: list[tuple[int, int]] = []
    opened = 0

    def number(name: str) -> int:
        if name not in numbers:
            numbers[name] = fresh()
        return numbers[name]

    def fresh() -> int:
        known[f"fresh {len(known)}"] = made = len(known)
        depths[made] = len(regions)
        return made

    for row, line in enumerate(_body(ttgir)):
        where = LOCATION.search(line)
        text = LOCATION.sub("", line).strip()
        if text.startswith("}"):
            last = regions.pop() if regions else (0, 0)
            if text.endswith("{"):  # else, do
                regions.append((last[0], last[1] + 1))
            continue
        to, _, operation = text.rpartition(" = ") if text.startswith("%") else ("", "", text)
        if text.startswith("%"):
            to, _, operation = text.partition(" = ")
        used = VALUE.findall(operation)
        if operation.startswith(("tt.load", "tt.store")):
            pointer = number(used[0])
            type_of = operation.rsplit(" : ", 1)[-1]
            store = operation.startswith("tt.store")
            layout, shared = _layout(type_of, layouts)
            shared = shared and (store or row in leaking)
            place = places[where.group(1)] if where else ()
            yield Access(
                store, pointer, bases.get(pointer, pointer), roots.get(pointer, pointer), layout,
                shared, depths.get(pointer, 0) < len(regions), place, tuple(regions),
            )  # fmt: skip
        if text.endswith("{"):
            opened += 1
            regions.append((opened, 0))
            for name in VALUE.findall(text):  # the loop's own: a number each time round
                if f"{name} = " in text[len(to) :]:
                    numbers[name] = fresh()
            for name in re.findall(r"^%[\w.$-]+", to):
                numbers[name] = fresh()
            continue
        if not to:
            for name in VALUE.findall(text) if text.startswith("^") else ():
                numbers[name] = fresh()
            continue
        if operation.startswith("ttg.convert_layout"):
            numbers[to] = number(used[0])
            continue
        if operation.startswith(("tt.load", "tt.atomic", "ttg.local", "ttg.async", "ttg.mem")):
            numbers[to] = fresh()
            continue
        key = LAYOUT.sub("", VALUE.sub(lambda m: f"[{number(m.group())}]", operation))
        if key not in known:
            known[key] = len(known)
            depths[known[key]] = max((depths[number(name)] for name in used), default=0)
            if operation.startswith("arith.constant"):
                constants.add(known[key])
            offset = operation.startswith("tt.addptr") and "tensor" in operation
            if offset and number(used[1]) in constants:
                inner = number(used[0])
                roots[known[key]] = roots.get(inner, inner)
            if offset or operation.startswith(("tt.splat", "tt.broadcast", "tt.expand_dims")):
                inner = number(used[0])
                bases[known[key]] = bases.get(inner, inner)
        numbers[to] = known[key]


def _layout(type_of: str, layouts: dict[str, str]) -> tuple[str | None, bool]:
    """A pointer type's layout, and whether it gives a number to more than one thread."""
    tensor = re.match(r"tensor<([\dx]+)x!tt\.ptr<\w+>, (.*)>", type_of)
    if not tensor:
        return None, True
    shape, layout = [int(n) for n in tensor.group(1).split("x")], tensor.group(2)
    blocked = layouts.get(layout)
    if blocked is None:
        return layout, True
    tiles = [
        [int(n) for n in re.findall(rf"{name} = \[([\d, ]+)\]", blocked)[0].split(",")]
        for name in ("sizePerThread", "threadsPerWarp", "warpsPerCTA")
    ]
    return layout, any(prod(each) > n for n, *each in zip(shape, *tiles, strict=True))


def _places(ttgir: str) -> dict[str, Place]:
    """name of a location -> the line of the source, and the calls that led there"""
    table = dict(re.findall(r"^\s*(#loc\d*) = loc\((.*)\)$", ttgir, re.M))

    def resolve(name: str) -> Place:
        text = table.get(name, "")
        plain = re.match(r'"([^"]*)":(\d+):(\d+)', text)
        if plain:
            return (f"{plain.group(1).rsplit('/', 1)[-1]}:{plain.group(2)}:{plain.group(3)}",)
        return tuple(one for inner in re.findall(r"#loc\d*", text) for one in resolve(inner))

    return {name: resolve(name) for name in table}
