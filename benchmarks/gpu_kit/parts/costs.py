"""What the price model takes for granted: barriers in ns, launches and calls in us."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import torch

import kernels
from benchmarks.gpu_kit.parts.barriers import ELEMENTS, VARIANTS, rounds_kernel
from benchmarks.gpu_kit.parts.card import Case, attempt_all
from benchmarks.gpu_kit.records import Record
from kernels.recurrence.schedule import use_schedule

DEVICE = torch.device("cuda")
FEW, MANY = 200, 2200  # barriers of two launches whose difference is what barriers take
LAUNCHES = 200


def device_ms(run: Callable[[], object], rounds: int) -> float:
    """Median of the device's time between two events."""
    found = []
    for _ in range(rounds + 1):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        found.append(start.elapsed_time(end))
    return statistics.median(found[1:])


def barrier(variant: int, programs: int, rounds: int) -> Record:
    places = torch.empty(2 * programs * ELEMENTS, dtype=torch.int32, device=DEVICE)
    wrong = torch.zeros(programs * ELEMENTS, dtype=torch.int32, device=DEVICE)
    counter = torch.zeros(1, dtype=torch.int32, device=DEVICE)
    errors = 0

    def run(count: int) -> None:
        counter.zero_()
        rounds_kernel[(programs,)](
            counter, places, wrong, count, PROGRAMS=programs, VARIANT=variant, N=ELEMENTS,
            num_warps=4,
        )  # fmt: skip

    times = []
    for count in (FEW, MANY):
        times.append(device_ms(lambda count=count: run(count), rounds))
        errors += int(wrong.sum())
    found: Record = {"ns": round(1e6 * (times[1] - times[0]) / (MANY - FEW), 1)}
    return found | ({"problem": f"WRONG: {errors} stale values"} if errors else {"stale": 0})


def launches(rounds: int) -> Record:
    """A tiny Triton kernel: the host's time of a launch, the device's, and in a graph."""
    places, wrong = (torch.zeros(2 * ELEMENTS, dtype=torch.int32, device=DEVICE) for _ in range(2))
    counter = torch.zeros(1, dtype=torch.int32, device=DEVICE)

    def many() -> None:
        for _ in range(LAUNCHES):
            rounds_kernel[(1,)](
                counter, places, wrong, 0, PROGRAMS=1, VARIANT=0, N=ELEMENTS, num_warps=4
            )

    eager = device_ms(many, rounds)
    start = time.perf_counter()
    many()
    host = time.perf_counter() - start
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        many()
    replayed = device_ms(graph.replay, rounds)
    torch_host = _host(lambda: counter.add_(0), LAUNCHES)
    return {
        "host_us": round(1e6 * host / LAUNCHES, 2),
        "eager_us": round(1e3 * eager / LAUNCHES, 2),
        "graph_us": round(1e3 * replayed / LAUNCHES, 3),
        "torch_host_us": round(torch_host, 2),
    }


def _host(run: Callable[[], object], count: int) -> float:
    """Microseconds of Python's thread a call."""
    run()
    torch.cuda.synchronize()
    start = time.process_time()
    for _ in range(count):
        run()
    spent = time.process_time() - start
    torch.cuda.synchronize()
    return 1e6 * spent / count


def call(schedule: str) -> Record:
    """The host's time of an LSTM's call without gradients, 4 steps of 8 sequences."""
    module = kernels.LSTM(128, 512, batch_first=True, device=DEVICE, dtype=torch.bfloat16)
    inputs = torch.randn(8, 4, 128, device=DEVICE, dtype=torch.bfloat16)
    with torch.no_grad(), kernels.use_backend("triton"), use_schedule(schedule):
        return {"host_us": round(_host(lambda: module(inputs), 100), 1)}


def main() -> None:
    rounds = int(sys.argv[1])
    full = torch.cuda.get_device_properties(DEVICE).multi_processor_count
    cases: list[Case] = [
        ("calls", f"LSTM 512, {schedule}", partial(call, schedule))
        for schedule in ("persistent", "step")
    ]
    cases.append(("launches", "a tiny kernel", partial(launches, rounds)))
    for programs in (16, full):
        for number, name in enumerate(VARIANTS):
            label = f"{name}, {programs} programs"
            cases.append(("barriers", label, partial(barrier, number, programs, rounds)))
    attempt_all(cases)


if __name__ == "__main__":
    main()
