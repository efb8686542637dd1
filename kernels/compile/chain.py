"""The longest chain of tensor-core instructions that must follow one another, from a kernel's PTX.

The tensor cores work on several products at once, but one that adds to the sum of another waits for
it. With few sums in a tile that wait, not the rate, is what a product costs: K of 2048 in a single
sum is 128 instructions of 16 one after the other.

How it is counted. The PTX is walked once, block by block. Every register has a depth, the number of
``mma.sync`` (``wgmma.mma_async``, ``tcgen05.mma``) that its value has gone through one after the
other. An instruction's result is as deep as its deepest source, and one deeper if it is one of
these. Memory carries depth, too: what is loaded from shared (global) memory counts as deep as the
deepest value stored there before, so that sums that cross warps and phases behind a barrier
follow one another. Where paths meet, the deeper value counts.

Loops. A loop with a constant number of rounds (a product over blocks of K) is walked that often;
one whose rounds depend on an argument (the steps of a sequence, a program's tiles) once. So the
figure is the chain of one step. Integer arithmetic on constants is carried out for that.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MOST_ROUNDS = 4096  # of a constant loop; more is an error here, not in the kernel
PRODUCTS = ("mma.sync", "wgmma.mma_async", "tcgen05.mma")
_REGISTER = re.compile(r"%[a-z]+\d+")
_LABEL = re.compile(r"^(\$?[\w$]+):")


class Instruction(NamedTuple):
    name: str  # "mma.sync.aligned..."
    guard: str  # predicate register, "!" before it if it is negated, or ""
    written: tuple[str, ...]
    read: tuple[str, ...]
    operands: tuple[str, ...]  # as text; of a branch, its target


class State(NamedTuple):
    depth: dict[str, int]  # register -> depth; absent: 0. Of memory: under its name
    known: dict[str, int]  # register -> the constant that it holds


class Block(NamedTuple):
    code: list[Instruction]  # branches only at the end
    next: list[int]  # blocks that may follow


def longest_chain(ptx: str) -> int:
    """The longest chain in a step of the one kernel in ``ptx``; 0 without tensor cores."""
    walk = _Walk(_blocks(*_parse(ptx)))
    walk.run(walk.order, {walk.order[0]: [State({}, {})]})
    return walk.deepest


def _parse(ptx: str) -> tuple[list[Instruction], dict[str, int]]:
    """Instructions in their order, and label -> index of the instruction behind it."""
    body = ptx[ptx.index(".entry") :]
    body = re.sub(r"//[^\n]*|/\*.*?\*/", "", body, flags=re.DOTALL)
    found: list[Instruction] = []
    labels: dict[str, int] = {}
    for statement in re.split(r"[;\n]", _joined(body)):
        text = statement.strip().lstrip("{ ").strip()
        while label := _LABEL.match(text):
            labels[label[1]] = len(found)
            text = text[label.end() :].strip()
        if text and text[0] not in ".})(" and " " in text.replace("\t", " "):
            found.append(_instruction(text))
        elif text in ("ret", "exit"):
            found.append(Instruction(text, "", (), (), ()))
    return found, labels


def _joined(body: str) -> str:
    """Join statements that span several lines into one line each."""
    return re.sub(r",\s*\n\s*", ", ", body)


def _instruction(text: str) -> Instruction:
    guard = ""
    if text.startswith("@"):
        guard, text = text[1:].split(None, 1)
    name, _, rest = text.partition(" ") if " " in text.split("\t")[0] else text.partition("\t")
    operands = tuple(re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s][^,]*", rest))
    registers = [tuple(_REGISTER.findall(operand)) for operand in operands]
    no_result = name.startswith(("st.", "bra", "bar", "cp.", "red.", "mbarrier", "stmatrix"))
    written: tuple[str, ...] = ()
    if operands and not no_result and not operands[0].startswith("["):
        written = registers[0]
    read = tuple(r for group in registers[bool(written) :] for r in group)
    if name.startswith(("wgmma.mma_async", "tcgen05.mma")):
        read += written  # the accumulator is read and written in place
    if guard:  # the old value stays where the guard is false
        read += written
    return Instruction(name, guard, written, read, operands)


def _blocks(code: list[Instruction], labels: dict[str, int]) -> list[Block]:
    """The control flow: straight pieces of code, and which follow which."""
    ends = (k + 1 for k, one in enumerate(code) if one.name.startswith(("bra", "ret", "exit")))
    starts = sorted({0, *ends, *labels.values()} - {len(code)})
    index = {start: k for k, start in enumerate(starts)}
    found = []
    for k, start in enumerate(starts):
        piece = code[start : starts[k + 1] if k + 1 < len(starts) else len(code)]
        following = []
        last = piece[-1]
        if last.name.startswith("bra"):
            following.append(index[labels[last.operands[0]]])
        ends_here = last.name.startswith(("bra", "ret", "exit")) and not last.guard
        if not ends_here and k + 1 < len(starts):
            following.append(k + 1)
        found.append(Block(piece, following))
    return found


class _Walk:
    def __init__(self, blocks: list[Block]) -> None:
        self.blocks = blocks
        self.deepest = 0
        self.order, back = _order(blocks)
        self.loops = {head: _body(blocks, head, ends) for head, ends in back.items()}

    def run(self, blocks: list[int], arriving: dict[int, list[State]]) -> dict[int, list[State]]:
        """Walks ``blocks``, given in their order, from the states that arrive at them -> the states
        that leave them, by the block they leave for."""
        leaving: dict[int, list[State]] = {}
        inside, first = set(blocks), blocks[0]
        done: set[int] = set()
        for block in blocks:
            if block in done or block not in arriving:
                continue
            if block in self.loops and block != first:
                rest = self.loops[block]  # a jump into its middle may put others before the head
                body = [block, *(one for one in blocks if one in rest and one != block)]
                after = self._loop(body, arriving)
                done.update(body)
            else:
                after = self._block(block, _meet(arriving.pop(block)))
            for target, states in after.items():
                onward = arriving if target in inside and target != first else leaving
                onward.setdefault(target, []).extend(states)
        return leaving

    def _loop(self, body: list[int], arriving: dict[int, list[State]]) -> dict[int, list[State]]:
        """A loop: as often as its constants say, or once where they do not."""
        head = body[0]
        first = _meet(arriving.pop(head))
        states = [first]
        for _ in range(MOST_ROUNDS):
            after = self.run(body, {head: [_copy(one) for one in states]})
            states = after.pop(head, [])
            if states and after:  # not known whether it goes on: nor what is constant in it
                changed = {r for k in body for one in self.blocks[k].code for r in one.written}
                known = {r: value for r, value in first.known.items() if r not in changed}
                after = self.run(body, {head: [State(first.depth, known)]})
                after.pop(head, None)
                return after
            if not states:
                return after
        raise RuntimeError(f"chain: a loop runs more than {MOST_ROUNDS} times")

    def _block(self, index: int, state: State) -> dict[int, list[State]]:
        block = self.blocks[index]
        for one in block.code:
            self._step(one, state)
        last = block.code[-1]
        following = block.next
        if last.name.startswith("bra") and len(following) == 2:
            taken = self._taken(last, state)
            if taken is not None:
                following = following[:1] if taken else following[1:]
        return {target: [_copy(state)] for target in following}

    def _taken(self, one: Instruction, state: State) -> bool | None:
        """Whether a branch is taken; None: not known."""
        if not one.guard:
            return True
        value = state.known.get(one.guard.lstrip("!"))
        return None if value is None else bool(value) != one.guard.startswith("!")

    def _step(self, one: Instruction, state: State) -> None:
        depth = max((state.depth.get(register, 0) for register in one.read), default=0)
        memory = _memory(one)
        if memory and one.name.startswith(("st", "red", "atom", "cp")):
            state.depth[memory] = max(depth, state.depth.get(memory, 0))
        if memory and not one.name.startswith(("st", "red")):
            depth = max(depth, state.depth.get(memory, 0))
        if one.name.startswith(PRODUCTS):
            depth += 1
            self.deepest = max(self.deepest, depth)
        value = _constant(one, state.known)
        for register in one.written:
            if depth:
                state.depth[register] = depth
            else:
                state.depth.pop(register, None)
            if value is None:
                state.known.pop(register, None)
            else:
                state.known[register] = value


def _memory(one: Instruction) -> str:
    """Which memory an instruction goes through: "shared", "global" or none ("")."""
    if one.name.startswith(("wgmma.mma_async", "tcgen05.mma")):
        return "shared"  # its operands are descriptors
    if one.name.startswith("ldmatrix") or "stmatrix" in one.name or ".shared" in one.name:
        return "shared"
    return "global" if ".global" in one.name else ""


def _order(blocks: list[Block]) -> tuple[list[int], dict[int, list[int]]]:
    """Blocks so that each follows those before it, but for loops -> and of each loop, by its first
    block, the blocks that lead back to it."""
    order: list[int] = []
    back: dict[int, list[int]] = {}
    seen, open_ = {0}, {0}
    stack = [(0, iter(blocks[0].next))]
    while stack:
        block, following = stack[-1]
        for target in following:
            if target in open_:
                back.setdefault(target, []).append(block)
            elif target not in seen:
                seen.add(target)
                open_.add(target)
                stack.append((target, iter(blocks[target].next)))
                break
        else:
            stack.pop()
            open_.discard(block)
            order.append(block)
    return order[::-1], back


def _body(blocks: list[Block], head: int, ends: list[int]) -> set[int]:
    """The blocks of a loop: from which one gets back to its head without passing it."""
    before: dict[int, list[int]] = {}
    for index, block in enumerate(blocks):
        for target in block.next:
            before.setdefault(target, []).append(index)
    found, waiting = {head}, list(ends)
    while waiting:
        index = waiting.pop()
        if index not in found:
            found.add(index)
            waiting += before.get(index, [])
    return found


def _copy(state: State) -> State:
    return State(dict(state.depth), dict(state.known))


def _meet(states: list[State]) -> State:
    """Where paths meet: the deeper values, and the constants on which they agree."""
    if len(states) == 1:  # most blocks have one before them
        return _copy(states[0])
    depth = dict(states[0].depth)
    for one in states[1:]:
        for register, value in one.depth.items():
            depth[register] = max(value, depth.get(register, 0))
    known = set(states[0].known.items()).intersection(*(one.known.items() for one in states))
    return State(depth, dict(known))


_COMPARE = {
    "eq": lambda a, b: a == b, "ne": lambda a, b: a != b, "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b, "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b,
}  # fmt: skip
_INTEGER = re.compile(r"\.[usb](16|32|64)$")


def _constant(one: Instruction, known: dict[str, int]) -> int | None:
    """What an instruction computes, where its sources are known integers."""
    kind, _, rest = one.name.partition(".")
    if kind not in ("mov", "add", "sub", "setp", "and", "or", "not", "xor") or one.guard:
        return None
    if not (_INTEGER.search(one.name) or one.name.endswith(".pred")):
        return None
    values = []
    for operand in one.operands[1:]:
        text = operand.strip()
        value = known.get(text)
        if value is None:
            try:
                value = int(text, 0)
            except ValueError:
                return None
        values.append(value)
    if kind == "mov":
        return values[0]
    if kind == "not":
        return int(not values[0]) if one.name.endswith(".pred") else ~values[0]
    if kind == "setp":
        compare = _COMPARE.get(rest.split(".")[0])
        if compare is None or len(values) != 2:
            return None
        if ".u" in one.name:  # as unsigned numbers of its width
            width = _INTEGER.search(one.name)
            assert width is not None, one.name  # a comparison of integers, as was seen above
            bits = int(width[1])
            values = [value % (1 << bits) for value in values]
        return int(compare(*values))
    a, b = values
    return {"add": a + b, "sub": a - b, "and": a & b, "or": a | b, "xor": a ^ b}[kind]
