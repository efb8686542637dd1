"""Reads PTX as Triton's LLVM writes it: instructions in blocks, where each branch leads, and from
which arguments of the kernel an address is made."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple, TypeVar

Place = tuple[str, ...]  # file:line:column of the source, then of each call that led there
# A destination may be a vector in braces; inline assembly pads brackets and braces with spaces.
INSTRUCTION = re.compile(r"(?:@!?(%p\d+)\s+)?([a-z][\w.:]*)\s*(.*)")
REGISTER = re.compile(r"%(?:rd|rs|rq|r|fd|f|p|b|h)\d+")
Fact = TypeVar("Fact")  # what ``walk`` carries along


class Instruction(NamedTuple):
    name: str  # ld.global.cg.v4.b32
    operands: str
    predicated: bool
    place: Place

    @property
    def address(self) -> str:
        """What stands in the brackets that point to global memory: the last ones of a copy."""
        return re.findall(r"\[([^\]]*)\]", self.operands)[-1]


class Block(NamedTuple):
    instructions: list[Instruction]
    next: list[str]  # labels of the blocks that may follow


def read(text: str) -> dict[str, Block]:
    """The kernel's blocks by label, in their order; the first begins the kernel.

    Raises ValueError at an instruction that this reader does not know how to follow.
    """
    blocks: dict[str, Block] = {"entry": Block([], [])}
    label, open_ended = "entry", True
    place: Place = ()
    body = text[text.index("\n{") :]
    assembly = False
    calls: dict[str, Place] = {}  # file, line and column, as numbers -> the place they stand for
    for line, _, comment in (one.partition("//") for one in body.splitlines()):
        line = line.strip()
        if line.startswith(".section"):  # debugging information
            break
        if "inline asm" in comment:
            assembly = "begin" in comment
        if line.startswith(".loc"):
            if assembly:  # Triton 3.9 counts the lines of its own text, not of the source
                continue
            place = tuple(re.findall(r"[^\s@\[\]]+:\d+(?::\d+)?", comment))
            numbers, _, call = line.removeprefix(".loc").partition(", function_name")
            if call and len(place) == 1:  # Triton 3.9 names the call in numbers alone
                place += calls.get(" ".join(call.partition("inlined_at")[2].split()), ())
            calls[" ".join(numbers.split()[:3])] = place
        elif line.endswith(":") and line.startswith("$L__BB"):
            if open_ended:
                blocks[label].next.append(line[:-1])
            label, open_ended = line[:-1], True
            blocks[label] = Block([], [])
        elif line.endswith(";") and not line.startswith("."):
            for part in line.split(";"):
                found = INSTRUCTION.match(part.strip().lstrip("{").strip())
                if not found:
                    continue
                predicate, name, operands = found.groups()
                if name.startswith("brx") or name == "call":
                    raise ValueError(f"PTX: {name}: a jump to a place that is not written there")
                one = Instruction(name, operands, predicate is not None, place)
                blocks[label].instructions.append(one)
                if name.startswith("bra"):
                    blocks[label].next.append(operands.strip())
                if name.startswith("bra") or name in ("ret", "exit"):
                    open_ended = predicate is not None
                    if open_ended:  # what follows without a jump is a block of its own
                        rest = f"{label}+"
                        blocks[label].next.append(rest)
                        label = rest
                        blocks[label] = Block([], [])
    return blocks


def origins(blocks: dict[str, Block]) -> dict[str, frozenset[int]]:
    """register -> the numbers of the kernel's arguments that its address may point into. Follows
    arithmetic and moves, not what is loaded through a pointer."""
    found: dict[str, frozenset[int]] = {}
    moves: list[tuple[str, list[str]]] = []
    for block in blocks.values():
        for one in block.instructions:
            registers = REGISTER.findall(one.operands)
            if one.name.startswith("ld.param.b64") or one.name.startswith("ld.param.u64"):
                number = re.search(r"_param_(\d+)", one.operands)
                assert number is not None, one.operands  # PTX's name of a kernel's parameter
                found[registers[0]] = frozenset({int(number.group(1))})
            elif registers and not one.name.startswith(("ld", "st", "atom", "red", "setp", "cp")):
                moves.append((registers[0], registers[1:]))
    changed = True
    while changed:
        changed = False
        for to, sources in moves:
            old = found.get(to, frozenset())
            new = old.union(*(found.get(s, frozenset()) for s in sources))
            if new != old:
                found[to], changed = new, True
    return found


def walk(
    blocks: dict[str, Block],
    start: frozenset[Fact],
    step: Callable[[frozenset[Fact], Instruction], frozenset[Fact]],
) -> None:
    """Calls ``step(facts, instruction)`` along every path until nothing new is found; the facts
    that may hold before a block are the union of those after the blocks that lead to it."""
    before = {next(iter(blocks)): start}
    waiting = list(before)
    while waiting:
        label = waiting.pop()
        facts = before[label]
        for one in blocks[label].instructions:
            facts = step(facts, one)
        for following in blocks[label].next:
            known = before.get(following)
            joined = facts if known is None else known | facts
            if joined != known:
                before[following] = joined
                waiting.append(following)
