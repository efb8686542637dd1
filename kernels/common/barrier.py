"""A barrier between the programs of a group, which must all be resident on the GPU.

Each arrival adds one to a counter that is zero at launch; the n-th barrier of a group of P
programs is open once the counter stands at n*P, so nothing needs a reset between steps. Needs a
cooperative launch (a grid that cannot be resident is refused by the driver, not hung).

What makes a store before the barrier visible to a load after it (PTX memory model, causality
order):

1. The threads of the storing program meet at ``bar.sync``. This orders their stores before the
   next step, which a single thread takes for all of them.
2. That thread adds one to the counter with *release*. A thread that reads the new count with
   *acquire* sees all that came before it, the other threads' stores included.
3. One thread of the waiting program reads the counter with *acquire* until the count is complete.
4. The threads of the waiting program meet at ``bar.sync``, which passes on what the one thread has
   acquired. They need no acquire of their own.

The acquire must be the read that ends the wait: an atomic whose result nobody uses becomes a load
without a purpose, and the compiler drops it together with the order it stood for.

Loads after the barrier must not be served from L1, which does not see what other processors
store; L2 is the first memory that all share. The acquiring load empties L1, but another program on
the same processor may fill it again, at any time, with a sector whose other half is still to be
written. So a kernel reads what other programs of the same launch write with
``cache_modifier=".cg"``, and keeps such a read out of ``cp.async`` unless it copies 16 bytes at a
time: smaller copies exist with L1 only (``cp.async.ca``). ``kernels/compile/ordering.py`` looks for
all of this in the compiled code.
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
    """The second half. Adding zero is compiled to a load with acquire, of one thread: programs
    that wait do not queue for an atomic unit."""
    arrived = tl.atomic_add(counter, 0, sem="acquire", scope="gpu")
    if MAX_SPIN > 0:
        spins = 0
        while (arrived < expected) & (spins < MAX_SPIN):
            arrived = tl.atomic_add(counter, 0, sem="acquire", scope="gpu")
            spins += 1
        if arrived < expected:
            tl.atomic_xchg(status, 1)
    else:
        while arrived < expected:
            arrived = tl.atomic_add(counter, 0, sem="acquire", scope="gpu")
    tl.debug_barrier()  # no thread's loads before the last arrival
