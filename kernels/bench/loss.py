"""The vocabulary loss, forward and backward: beside F.linear and F.cross_entropy on all logits.

Results and gradients are compared with those of float64 first (float32 on a CPU); on a GPU peak
memory is reported, too.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

import kernels
from kernels.bench.errors import worst
from kernels.bench.pictures import Bar, draw, possible
from kernels.bench.timing import once, quantiles

Rows = list[dict[str, Any]]
SMOOTHING = 0.1


class Case(NamedTuple):
    rows: int  # N
    size: int  # H
    words: int  # V


def cases(quick: bool, gpu: bool, few: bool = False) -> list[Case]:
    if quick:
        return [Case(16, 8, 50)]
    if few:
        return [Case(4096, 512, 8000)]
    if gpu:
        return [Case(4096, 512, 8000), Case(8192, 1024, 32000)]
    return [Case(1600, 512, 8000)]


class Setting:
    def __init__(self, case: Case, device: torch.device, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        rows, size, words = case
        hidden = torch.randn(rows, size, device=device)
        weight = torch.randn(words, size, device=device) * size**-0.5
        self.targets = torch.randint(words, (rows,), device=device)
        self.leaves = [t.to(dtype).requires_grad_() for t in (hidden, weight)]
        self.hidden, self.weight = self.leaves

    def fused(self) -> Tensor:
        return kernels.linear_cross_entropy(
            self.hidden, self.weight, self.targets, label_smoothing=SMOOTHING, reduction="sum"
        )

    def plain(self) -> Tensor:
        logits = F.linear(self.hidden, self.weight)
        return F.cross_entropy(logits, self.targets, label_smoothing=SMOOTHING, reduction="sum")

    def gradients(self, run: Callable[[], Tensor]) -> list[Tensor]:
        return [g.double() for g in torch.autograd.grad(run(), self.leaves)]


def _error(found: list[Tensor], truth: list[Tensor]) -> float:
    return worst(((a - b).norm() / b.norm()).item() for a, b in zip(found, truth, strict=True))


def run_cpu(quick: bool, rounds: int) -> Rows:
    """Times all cases in float32 and under bfloat16 autocast, prints a table, returns its rows."""
    print("Milliseconds forward + backward, median; error: largest relative norm of a gradient.")
    results: Rows = []
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    for case in cases(quick, gpu=False):
        setting = Setting(case, torch.device("cpu"), torch.float32)
        truth = setting.gradients(setting.plain)
        runs: dict[str, Callable[[], Tensor]] = {}
        for name, run in (("kernels", setting.fused), ("all logits", setting.plain)):
            for half in (False, True):
                runs[f"{name} {'bf16' if half else 'fp32'}"] = _on_cpu(run, half)
        row: dict[str, Any] = case._asdict()
        for name, run in runs.items():
            row[f"{name} error"] = error = _error(setting.gradients(run), truth)
            bound = 1e-2 if "bf16" in name else 1e-5
            if name.startswith("kernels") and not error <= bound:
                raise RuntimeError(f"{name} on {case}: error {error:.2e}, expected <= {bound:.0e}")
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                for leaf in setting.leaves:
                    leaf.grad = None
                start = clock()
                run().backward()
                times[name].append(1e3 * (clock() - start))
        row |= {name: statistics.median(found) for name, found in times.items()}
        results.append(row)
        print(", ".join(f"{name} {row[name]}" for name in Case._fields))
        for name in runs:
            print(f"  {name:16} {row[name]:9.1f}   error {row[f'{name} error']:.1e}", flush=True)
    return results


def _on_cpu(run: Callable[[], Tensor], half: bool) -> Callable[[], Tensor]:
    def call() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=half), kernels.use_backend("torch"):
            return run()

    return call


def run_gpu(
    quick: bool,
    rounds: int,
    device: torch.device,
    keep: Callable[[Rows], None] | None = None,
    few: bool = False,
) -> Rows:
    """Times all cases (or the one that decides) in bfloat16, prints a table, returns a row for each
    case and contender."""
    print("Milliseconds: median (20th to 80th percentile) forward + backward; peak MiB.")
    results: Rows = []
    for case in cases(quick, gpu=True, few=few):
        dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
        setting, exact = Setting(case, device, dtype), Setting(case, device, torch.float64)
        with torch.no_grad():
            for one, other in zip(exact.leaves, setting.leaves, strict=True):
                one.copy_(other)
        truth = exact.gradients(exact.plain)
        runs = {
            f"kernels {backend}": _on_gpu(setting.fused, backend) for backend in ("triton", "torch")
        } | {"all logits": setting.plain}
        rows = []
        for name, run in runs.items():
            row = case._asdict() | {"contender": name, "error": 0.0}
            row["dtype"] = str(dtype).removeprefix("torch.")
            row["error"] = _error(setting.gradients(run), truth)
            if not row["error"] <= 8 * torch.finfo(dtype).eps:  # logits, gradients, results
                row["problem"] = f"WRONG, not timed: error {row['error']:.1e}"
            rows.append(row)
        timed = [row for row in rows if "problem" not in row]
        samples: dict[str, list[float]] = {}
        for number in range(rounds + 2):  # the first two warm up
            for row in timed:
                milliseconds, peak = once(runs[row["contender"]], setting.leaves, True)
                if number >= 2:
                    samples.setdefault(row["contender"], []).append(milliseconds)
                    row["peak_bytes"] = peak
        for row in timed:
            row["forward_backward"] = quantiles(samples[row["contender"]])
        results += rows
        if keep is not None:
            keep(results)
        print(f"\n{case}")
        for row in rows:
            print(f"  {row['contender']:16} {_line(row)}", flush=True)
    return results


def _on_gpu(run: Callable[[], Tensor], backend: str) -> Callable[[], Tensor]:
    def call() -> Tensor:
        with kernels.use_backend(backend):
            return run()

    return call


def _line(row: dict[str, Any]) -> str:
    if "problem" in row:
        return row["problem"]
    low, middle, high = row["forward_backward"]
    peak = row["peak_bytes"] / 2**20
    return f"{middle:9.4f} ({low:.4f} to {high:.4f}) {peak:9.1f} MiB  error {row['error']:.1e}"


def plot(results: Rows, folder: Path) -> None:
    """A picture of forward + backward, by contender and case."""
    if not possible():
        return
    bars = [
        Bar(f"N {row['rows']}\nV {row['words']}", row["contender"], row["forward_backward"][1])
        for row in results
        if "problem" not in row
    ]
    draw(bars, folder / "loss.png", "milliseconds, forward + backward")
