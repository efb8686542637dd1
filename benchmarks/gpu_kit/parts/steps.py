"""Microseconds a step, from the difference between 64 and 256 steps, and cuDNN at three shapes."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

import kernels
from benchmarks.gpu_kit.parts.card import Case, attempt_all
from benchmarks.gpu_kit.records import Record
from kernels.bench.timing import once

DEVICE = torch.device("cuda")
SHORT, LONG, BATCH = 64, 256, 64
SIZES = (512, 768, 1024)
SHAPES = ((64, 64, 512), (128, 50, 1024), (32, 1000, 512))  # (B, T, H)
FEATURES = 128  # cuDNN's persistent kernels want a multiple of 128
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def contender(
    library: bool, kind: str, shape: tuple[int, int, int], features: int, dtype: torch.dtype
) -> tuple[Callable[[], Tensor], list[Tensor]]:
    """-> (a call, its leaves)."""
    torch.manual_seed(0)
    batch, steps, size = shape
    module = getattr(nn if library else kernels, kind)(
        features, size, batch_first=True, device=DEVICE, dtype=dtype
    )
    inputs = torch.randn(batch, steps, features, device=DEVICE, dtype=dtype).requires_grad_()

    def run() -> Tensor:
        with kernels.use_backend("triton"):
            return module(inputs)[0]

    return run, [inputs, *module.parameters()]


def times(run: Callable[[], Tensor], leaves: list[Tensor], rounds: int) -> tuple[float, float]:
    """Median milliseconds forward, and forward with backward."""
    found: list[list[float]] = [[], []]
    for number in range(rounds + 2):  # the first two warm up
        for backward in (False, True):
            spent, _ = once(run, leaves, backward)
            if number >= 2:
                found[backward].append(spent)
    return statistics.median(found[0]), statistics.median(found[1])


def slope(library: bool, kind: str, size: int, rounds: int) -> Record:
    short, long = (
        times(*contender(library, kind, (BATCH, steps, size), FEATURES, torch.bfloat16), rounds)
        for steps in (SHORT, LONG)
    )
    forward, both = (1e3 * (b - a) / (LONG - SHORT) for a, b in zip(short, long, strict=True))
    return {"forward_us": round(forward, 3), "backward_us": round(both - forward, 3)}


def whole(kind: str, shape: tuple[int, int, int], dtype: str, rounds: int) -> Record:
    """With the input product, H input features."""
    found: Record = {}
    for name, library in (("cudnn", True), ("ours", False)):
        run = contender(library, kind, shape, shape[2], DTYPES[dtype])
        forward, both = times(*run, rounds)
        found |= {f"{name}_forward_ms": round(forward, 4), f"{name}_both_ms": round(both, 4)}
    found["ratio"] = round(found["cudnn_both_ms"] / max(1e-9, found["ours_both_ms"]), 2)
    return found


def cases(rounds: int) -> list[Case]:
    found: list[Case] = [
        ("beside cuDNN", f"{kind} {dtype} {shape}", partial(whole, kind, shape, dtype, rounds))
        for shape in SHAPES
        for kind in ("LSTM", "GRU")
        for dtype in DTYPES
    ]
    for size in SIZES:
        for kind in ("LSTM", "GRU"):
            for name, library in (("ours", False), ("cuDNN", True)):
                measure = partial(slope, library, kind, size, rounds)
                found.append(("us a step", f"{kind} bf16 {size}, {name}", measure))
    return found


def main() -> None:
    attempt_all(cases(int(sys.argv[1])))


if __name__ == "__main__":
    main()
