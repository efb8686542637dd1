"""A barrier among all programs of a grid, in variants: how long it takes, whether values pass it.

Every program stores a number, waits, and reads its neighbour's; a number that is not the round's
counts as wrong. Two sets of places take turns, so that one barrier a round is enough.
"""

from __future__ import annotations

import triton
import triton.language as tl

VARIANTS = ("acquire polled", "volatile, then acq_rel", "volatile, then or", "ld.acquire")
LIMIT = 1 << 22  # polls before a program gives up: the launch ends with wrong values, not never
ELEMENTS = 128
LOAD = tl.constexpr("ld.acquire.gpu.global.s32 $0, [$1];")
MOST_POLLS = tl.constexpr(LIMIT)


@triton.jit
def _acquire_by_load(counter):
    return tl.inline_asm_elementwise(
        LOAD, "=r,l", [counter.to(tl.int64)], dtype=tl.int32, is_pure=False, pack=1
    )


@triton.jit
def _wait(counter, expected, VARIANT: tl.constexpr):
    tl.debug_barrier()
    tl.atomic_add(counter, 1, sem="release", scope="gpu")
    polls = 0
    if VARIANT == 0:
        arrived = tl.atomic_add(counter, 0, sem="acquire", scope="gpu")
        while (arrived < expected) & (polls < MOST_POLLS):
            arrived = tl.atomic_add(counter, 0, sem="acquire", scope="gpu")
            polls += 1
    elif VARIANT == 3:
        arrived = _acquire_by_load(counter)
        while (arrived < expected) & (polls < MOST_POLLS):
            arrived = _acquire_by_load(counter)
            polls += 1
    else:
        arrived = tl.load(counter, volatile=True)
        while (arrived < expected) & (polls < MOST_POLLS):
            arrived = tl.load(counter, volatile=True)
            polls += 1
        if VARIANT == 1:
            tl.atomic_add(counter, 0, sem="acq_rel", scope="gpu")
        else:
            tl.atomic_or(counter, 0, sem="acquire", scope="gpu")
    tl.debug_barrier()


@triton.jit
def rounds_kernel(
    counter, places, wrong, rounds, PROGRAMS: tl.constexpr, VARIANT: tl.constexpr, N: tl.constexpr
):
    own = tl.program_id(0)
    neighbour = (own + 1) % PROGRAMS
    i = tl.arange(0, N)
    bad = tl.zeros((N,), dtype=tl.int32)
    for number in range(rounds):
        base = places + (number % 2) * PROGRAMS * N
        tl.store(base + own * N + i, tl.full((N,), number, dtype=tl.int32))
        _wait(counter, (number + 1) * PROGRAMS, VARIANT)
        seen = tl.load(base + neighbour * N + i, cache_modifier=".cg")
        bad += (seen != number).to(tl.int32)
    tl.store(wrong + own * N + i, bad)
