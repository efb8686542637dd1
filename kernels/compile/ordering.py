"""What the compiled code of a kernel whose programs wait for each other must keep to, and no
interpreter shows; why, stands in ``kernels/common/barrier.py``.

    arrival  a ``bar.sync`` after the last store, then the counter's release
    wait     an acquire on the counter, then a ``bar.sync``, before any access to what others write
    L1       nothing that this kernel writes is ever read by a load that L1 may serve

The third rule is stricter than needed (a program may read back its own stores), which makes it one
that can be checked: which programs write what is not in the code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from kernels.compile import ptx
from kernels.compile.ptx import Block, Instruction

# Arguments that launches may point at the same memory.
SAME = [
    ("seen", "states"),  # recurrence
    ("shown", "states"), ("fed", "vectors"), ("raw", "vectors"),  # decoder
    ("shown", "hidden_out"),  # a step of it
]  # fmt: skip
Arguments = Callable[[Instruction], set[str]]  # those that its address may point into
COUNTERS = ("counter", "counters", "status")
PAST_L1 = re.compile(r"\.(cg|cv|volatile|acquire|relaxed)\b")


def faults(text: str, names: list[str]) -> list[str]:
    """What is wrong in a kernel's PTX, in words, each once. ``names``: its arguments but for the
    constants, in their order."""
    blocks = ptx.read(text)
    known = ptx.origins(blocks)

    def arguments(one: Instruction) -> set[str]:
        """The arguments that an instruction's address may point into."""
        found = [known.get(r, frozenset()) for r in ptx.REGISTER.findall(one.address)]
        return {names[number] for each in found for number in each if number < len(names)}

    written = _written(blocks, arguments)
    wrong: dict[str, None] = {}
    for block in blocks.values():
        for one in block.instructions:
            if _loads(one) and _cached(one) and arguments(one) & written:
                which = ", ".join(sorted(arguments(one) & written))
                wrong[f"{_where(one)}: {one.name} may serve {which} from L1"] = None
    for fault in _barriers(blocks, arguments, written):
        wrong[fault] = None
    return list(wrong)


def _written(blocks: dict[str, Block], arguments: Arguments) -> set[str]:
    stored = {
        name
        for block in blocks.values()
        for one in block.instructions
        if one.name.startswith("st.global")
        for name in arguments(one)
    } - set(COUNTERS)
    return stored.union(*(pair for pair in SAME if stored & set(pair)))


def _loads(one: Instruction) -> bool:
    return one.name.startswith(("ld.global", "ld.volatile.global", "ld.acquire")) or (
        one.name.startswith("cp.async.c")  # not commit_group and wait_group
        and ".global" in one.name
    )


def _cached(one: Instruction) -> bool:
    if one.name.startswith("cp.async"):
        return not one.name.startswith("cp.async.cg")
    return not PAST_L1.search(one.name)


def _where(one: Instruction) -> str:
    return one.place[0] if one.place else "?"


def _barriers(blocks: dict[str, Block], arguments: Arguments, written: set[str]) -> Iterator[str]:
    """Follows every path with what may be true on it: "dirty", a store since the last bar.sync;
    "arrived", no acquire since the last arrival; "acquired", no bar.sync since the acquire."""
    wrong: dict[str, None] = {}
    arrivals = 0

    def step(facts: frozenset[str], one: Instruction) -> frozenset[str]:
        nonlocal arrivals
        if one.name.startswith(("bar.sync", "barrier.sync")):
            return facts - {"dirty", "acquired"}
        touches = _loads(one) or one.name.startswith(("st.global", "atom.", "red."))
        of = arguments(one) if touches else set()
        if of & {"counter", "counters"}:
            if ".release" in one.name:
                arrivals += 1
                if "dirty" in facts:
                    wrong[f"{_where(one)}: arrives before its threads' stores are ordered"] = None
                if "arrived" in facts:
                    wrong[f"{_where(one)}: a barrier before it has no acquire"] = None
                return facts | {"arrived"}
            if (".acquire" in one.name or ".acq_rel" in one.name) and "arrived" in facts:
                return facts - {"arrived"} | {"acquired"}
        elif of & written:
            for fact in facts & {"arrived", "acquired"}:
                missing = "acquire" if fact == "arrived" else "bar.sync"
                wrong[f"{_where(one)}: {one.name} with no {missing} since the arrival"] = None
            if one.name.startswith("st.global"):
                return facts | {"dirty"}
        if one.name == "ret" and "arrived" in facts:
            wrong["a barrier has no acquire on its way out"] = None
        return facts

    ptx.walk(blocks, frozenset(), step)
    if not arrivals:
        yield "no arrival at a barrier was found"
    yield from wrong
