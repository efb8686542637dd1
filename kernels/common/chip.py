"""What the cost models know of a GPU: sizes, rates, and prices in microseconds."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import torch


class Chip(NamedTuple):
    """What the rule needs to know of a GPU. Rates in bytes per microsecond."""

    processors: int  # streaming multiprocessors
    shared_memory: int  # bytes a program may have
    l2: float = 5.5e6  # all processors together
    on_chip: float = 2.2e5  # shared memory to tensor cores, each processor
    products: float = 3.0e6  # bf16 multiply-adds per microsecond of a processor (mma.sync)
    narrow: bool = True  # attention: blocks of three widths in a kernel do not spill


# By compute capability, for machines that do not have the GPU they compile for.
CHIPS = {
    80: Chip(108, 163 * 1024, 3.5e6, 1.8e5, 1.4e6),
    90: Chip(132, 227 * 1024),
    100: Chip(148, 227 * 1024, narrow=False),  # 48 bytes a thread under Triton 3.7.1
}
# Prices in microseconds. Where no source is given they are estimates; no GPU has measured any.
LAUNCH = 2.5  # between two launches of a loop, where Python is not what they wait for
REPLAYED = 1.0  # of a step of search in a CUDA graph ("Getting Started with CUDA Graphs": 0.5)
# Of the CPU for a launch in a loop: Python 2.3 to 5.5, measured with a driver that launches nothing
# (benchmarks/host-cpu.json), and CUDA's launch 1.8 (V100) to 2.7 (A100), the references of
# ReFrame's test gpu_kernel_latency. The upper ends: a loop that waits for Python gains nothing.
HOST = 8.0
BARRIER = 1.35  # with LATENCY 2.25: an audit expects 2 to 2.5 for a barrier and a reload of h
LATENCY = 0.9  # a dependent chain: load h from L2, product, activations, store
# A tensor-core instruction (m16n8k16, float32 sums) that waits for the one before: 25 to 33 cycles
# in micro-benchmarks (Sun et al. 2022, "Dissecting Tensor Cores via Microbenchmarks", for an
# A100), here 29 at 1.7 GHz.
CHAIN = 0.017
RELOAD = 0.16  # waiting once more for L2: about 270 cycles at 1.7 GHz
RESIDENT_LATENCY = 0.45  # the same without L2
NORMALISING = 0.15  # two dependent sums over the units of a tile


def power_of_two(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()


@lru_cache(maxsize=64)
def chip_of(device: torch.device) -> Chip:
    """The chip behind a CUDA device; for tensors on the CPU (the interpreter) an H100's."""
    if device.type != "cuda":
        return CHIPS[90]
    properties: Any = torch.cuda.get_device_properties(device)  # PyTorch declares a part of them
    known = CHIPS.get(properties.major * 10, CHIPS[90])
    return known._replace(
        processors=properties.multi_processor_count,
        shared_memory=properties.shared_memory_per_block_optin,
    )
