"""One timed run on a device, and what is told of many."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

HEAD_START = 20_000_000  # cycles, about 10 ms


def once(run: Callable[[], Tensor], leaves: list[Tensor], backward: bool) -> tuple[float, int]:
    """Milliseconds of ``run``, with its backward pass if asked: of the device where the leaves are
    on one, else of the wall clock; and peak bytes above what was there before (0 on a CPU).

    leaves: at least one tensor; their gradients are dropped before.
    """
    cuda = leaves[0].is_cuda
    for leaf in leaves:
        leaf.grad = None
    before = 0
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        # The device sleeps while Python fills its queue, so that it never waits for Python in
        # between; loops of more launches than the queue holds are bound by Python all the same.
        torch.cuda._sleep(HEAD_START)
        start.record()
    began = time.process_time()
    with torch.set_grad_enabled(backward):
        outputs = run()
    if backward:
        outputs.backward(torch.ones_like(outputs))
    if not cuda:
        return 1e3 * (time.process_time() - began), 0
    end.record()
    end.synchronize()
    return start.elapsed_time(end), torch.cuda.max_memory_allocated() - before


def quantiles(values: list[float]) -> list[float]:
    """20th percentile, median, 80th percentile."""
    if len(values) < 2:
        return values * 3
    cuts = statistics.quantiles(values, n=5, method="inclusive")
    return [cuts[0], statistics.median(values), cuts[3]]
