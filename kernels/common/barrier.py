"""A barrier between the programs of a group, which must all be resident on the GPU.

Each arrival adds one to a counter that is zero at launch; the n-th barrier of a group of P
programs is open once the counter stands at n*P, so nothing needs a reset between steps. Needs a
cooperative launch (a grid that cannot be resident is refused by the driver, not hung).
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def wait_for_group(counter, expected, status, MAX_SPIN: tl.constexpr):
    """Returns when ``expected`` arrivals are counted. What the group stored before is visible
    after, to loads that bypass L1 (cache modifier .cg).

    MAX_SPIN > 0 bounds the wait (debugging): then ``status`` is set to 1 and the group runs on,
    with wrong numbers, instead of hanging the GPU; the launch looks at it.
    """
    arrive(counter)
    wait_for_others(counter, expected, status, MAX_SPIN)


@triton.jit
def arrive(counter):
    """The first half: what can do without the others' results may follow before the second."""
    tl.debug_barrier()  # every thread's stores before this program's arrival
    tl.atomic_add(counter, 1, sem="release", scope="gpu")


@triton.jit
def wait_for_others(counter, expected, status, MAX_SPIN: tl.constexpr):
    # Plain reads while waiting: a hundred programs at once would queue for an atomic one.
    arrived = tl.load(counter, volatile=True)
    if MAX_SPIN > 0:
        spins = 0
        while (arrived < expected) & (spins < MAX_SPIN):
            arrived = tl.load(counter, volatile=True)
            spins += 1
        if arrived < expected:
            tl.atomic_xchg(status, 1)
    else:
        while arrived < expected:
            arrived = tl.load(counter, volatile=True)
    tl.atomic_add(counter, 0, sem="acquire", scope="gpu")
    tl.debug_barrier()  # no thread's loads before the last arrival
