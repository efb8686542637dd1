"""The attention decoder, forward and backward: one operation beside a loop of PyTorch's own.

The loop is what one writes without this package: nn.LSTMCell, additive attention, input feeding
(or none) and autograd's tape. On a CPU its attention is plain PyTorch; on a GPU it is this
package's fused kernel, and torch.compile of the loop stands beside it. Results and gradients are
first compared with the loop's in float32 (float64 on a GPU).
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import kernels
from kernels.bench.errors import LARGEST, allowed, worst
from kernels.bench.pictures import Bar, draw, possible
from kernels.bench.timing import once, quantiles
from kernels.decoder import DecoderState, DecoderWeights, LayerWeights, Memory

Rows = list[dict[str, Any]]
LONGEST_COMPILED = 30  # steps of a loop that torch.compile unrolls


class Case(NamedTuple):
    batch: int
    steps: int
    source: int
    size: int  # E = A = Q = D = H
    fed: bool = True  # input feeding


def cases(quick: bool, gpu: bool, few: bool = False) -> list[Case]:
    if quick:
        return [Case(8, 2, 4, 32), Case(4, 2, 3, 16, False)]
    if few:
        return [Case(128, 30, 30, 512)]
    if gpu:
        return [
            Case(128, 30, 30, 512), Case(64, 25, 25, 512), Case(32, 60, 60, 1024),
            Case(128, 30, 30, 512, False),
        ]  # fmt: skip
    return [Case(64, 25, 25, 512), Case(64, 25, 25, 512, False)]


class Loop(nn.Module):
    """An LSTM decoder with additive attention, with or without input feeding, step by step."""

    def __init__(self, size: int, fused: bool, fed: bool) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(2 * size if fed else size, size)
        self.query = nn.Linear(size, size, bias=False)
        self.score = nn.Parameter(torch.randn(size) * size**-0.5)
        self.output = nn.Linear(2 * size, size, bias=False)
        self.fused, self.fed = fused, fed

    def forward(self, inputs: Tensor, keys: Tensor, values: Tensor, lengths: Tensor) -> Tensor:
        """inputs (B, T, H), keys and values (B, S, H) -> attentional vectors (B, T, H)"""
        batch, steps, size = inputs.shape
        h = c = vector = inputs.new_zeros(batch, size)
        padded = torch.arange(keys.size(1), device=keys.device) >= lengths[:, None]
        vectors = []
        for t in range(steps):
            x = torch.cat([inputs[:, t], vector], 1) if self.fed else inputs[:, t]
            h, c = self.cell(x, (h, c))
            query = self.query(h)
            if self.fused:
                found: Any = kernels.additive_attention(
                    query[:, None].to(keys.dtype), keys, values, self.score, lengths=lengths
                )
                context = found[:, 0]
            else:
                scores = torch.tanh(query[:, None] + keys) @ self.score
                alpha = scores.masked_fill(padded, float("-inf")).softmax(1)
                context = torch.bmm(alpha[:, None], values)[:, 0]
            vector = torch.tanh(self.output(torch.cat([context.to(h.dtype), h], 1)))
            vectors.append(vector)
        return torch.stack(vectors, 1)


class Setting:
    """A loop and its inputs, and the same as attention_decoder's arguments."""

    def __init__(self, case: Case, device: torch.device, dtype: torch.dtype, fused: bool) -> None:
        torch.manual_seed(0)
        batch, steps, source, size, fed = case
        self.loop = Loop(size, fused, fed).to(device, dtype)
        self.inputs, self.keys, self.values = (
            torch.randn(batch, n, size, device=device, dtype=dtype).requires_grad_()
            for n in (steps, source, source)
        )
        self.lengths = torch.randint(source // 2, source + 1, (batch,), device=device)
        self.leaves = [self.inputs, self.keys, self.values, *self.loop.parameters()]
        # what the loss weighs the outputs with: gradients of the size that training has
        self.direction = torch.randn(batch, steps, size, device=device) / (batch * steps)

    def plain(self) -> Tensor:
        return self.loop(self.inputs, self.keys, self.values, self.lengths)

    def fused(self) -> Tensor:
        cell, zero = self.loop.cell, self.inputs.new_zeros(len(self.inputs), self.inputs.size(2))
        layer = LayerWeights(cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)
        weights = DecoderWeights(
            (layer,), self.loop.output.weight, self.loop.query.weight, self.loop.score
        )
        state = DecoderState(zero[None], zero[None], zero if self.loop.fed else None)
        memory = Memory(self.keys, self.values, self.lengths)
        return kernels.attention_decoder(self.inputs, weights, state, memory)[0]

    def gradients(self, run: Callable[[], Tensor]) -> list[Tensor]:
        """Outputs and gradients of ``leaves``, in float64."""
        outputs = run()
        grads = torch.autograd.grad((outputs.float() * self.direction).sum(), self.leaves)
        return [t.detach().double() for t in (outputs, *grads)]


def run_cpu(quick: bool, rounds: int) -> Rows:
    """Times all cases in float32 and under bfloat16 autocast, prints a table, returns its rows."""
    print("Milliseconds forward + backward, median; error: largest relative norm of a gradient.")
    rows = [_measure_cpu(case, rounds) for case in cases(quick, gpu=False)]
    for row in rows:
        print(", ".join(f"{name} {row[name]}" for name in Case._fields))
        for name in ("kernels", "loop"):
            for precision in ("fp32", "bf16"):
                own = f"{name} {precision}"
                print(f"  {own:14} {row[own]:9.1f}   error {row[f'{own} error']:.1e}")
        print(
            f"  loop fp32 / kernels fp32 {row['loop fp32'] / row['kernels fp32']:.2f}, "
            f"loop fp32 / kernels bf16 {row['loop fp32'] / row['kernels bf16']:.2f}, "
            f"loop bf16 / kernels bf16 {row['loop bf16'] / row['kernels bf16']:.2f}",
            flush=True,
        )
    return rows


def _measure_cpu(case: Case, rounds: int) -> dict[str, Any]:
    setting = Setting(case, torch.device("cpu"), torch.float32, fused=False)

    def contender(run: Callable[[], Tensor], half: bool) -> Callable[[], Tensor]:
        def call() -> Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=half), kernels.use_backend("torch"):
                return run()

        return call

    runs = {
        f"{name} {precision}": contender(run, precision == "bf16")
        for name, run in (("kernels", setting.fused), ("loop", setting.plain))
        for precision in ("fp32", "bf16")
    }
    row: dict[str, Any] = case._asdict()
    truth = setting.gradients(runs["loop fp32"])
    for name, run in runs.items():
        error = _error(setting.gradients(run), truth)
        bound = 1e-2 if "bf16" in name else 1e-5
        if name.startswith("kernels") and not error <= bound:  # of the loop it is only reported
            raise RuntimeError(f"{name} on {case}: error {error:.2e}, expected <= {bound:.0e}")
        row[f"{name} error"] = error
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            for leaf in setting.leaves:
                leaf.grad = None
            start = clock()
            (run().float() * setting.direction).sum().backward()
            times[name].append(1e3 * (clock() - start))
    return row | {name: statistics.median(found) for name, found in times.items()}


def _error(found: list[Tensor], truth: list[Tensor]) -> float:
    return worst(((a - b).norm() / b.norm()).item() for a, b in zip(found, truth, strict=True))


def run_gpu(
    quick: bool,
    rounds: int,
    device: torch.device,
    keep: Callable[[Rows], None] | None = None,
    few: bool = False,
) -> Rows:
    """Times all cases (or the one that decides) in bfloat16, prints a table, returns a row for each
    case and contender."""
    print("Milliseconds: median (20th to 80th percentile) forward, then forward + backward.")
    results: Rows = []
    for case in cases(quick, gpu=True, few=few):
        if not few:
            torch.compiler.reset()
        rows = _measure_gpu(case, rounds, device, few)
        results += rows
        if keep is not None:
            keep(results)
        print(f"\n{case}")
        for row in rows:
            print(f"  {row['contender']:16} {_line(row)}", flush=True)
    return results


def _names(case: Case, few: bool) -> list[str]:
    compiled = ["compiled loop"] if case.steps <= LONGEST_COMPILED and not few else []
    return ["kernels", "kernels step", "torch backend", "eager loop", *compiled]


def _measure_gpu(case: Case, rounds: int, device: torch.device, few: bool) -> Rows:
    from kernels.recurrence.schedule import use_schedule

    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    setting = Setting(case, device, dtype, fused=True)
    exact = Setting(case, device, torch.float64, fused=False)
    exact.loop.load_state_dict(setting.loop.state_dict())
    exact.lengths, exact.direction = setting.lengths, setting.direction
    with torch.no_grad():
        for a, b in zip(exact.leaves[:3], setting.leaves[:3], strict=True):
            a.copy_(b)
    with kernels.use_backend("torch"):
        truth = exact.gradients(exact.plain)

    def triton(run: Callable[[], Tensor], schedule: str = "") -> Callable[[], Tensor]:
        def call() -> Tensor:
            asked = use_schedule(schedule) if schedule else nullcontext()  # "": the rule's
            with kernels.use_backend("triton"), asked:
                return run()

        return call

    runs = {
        "kernels": triton(setting.fused),
        "kernels step": triton(setting.fused, "step"),
        "torch backend": _on_torch(setting.fused),
        "eager loop": triton(setting.plain),
    }
    names = _names(case, few)
    if "compiled loop" in names:
        runs["compiled loop"] = torch.compile(triton(setting.plain))
    rows: Rows = []
    for name in names:
        row = case._asdict() | {"contender": name, "dtype": str(dtype).removeprefix("torch.")}
        try:
            row["error"] = _error(setting.gradients(runs[name]), truth)
        except Exception as problem:  # what cannot run is reported beside what can
            lines = str(problem).splitlines() or [type(problem).__name__]
            row["problem"] = f"not run: {lines[0]}"
        rows.append(row)
    peer = next(row.get("error", math.nan) for row in rows if row["contender"] == "torch backend")
    for row in rows:
        own = row["contender"].startswith("kernels")
        bound = allowed(torch.finfo(dtype).eps, peer) if own else LARGEST
        if "error" in row and not row["error"] <= bound:
            row["problem"] = f"WRONG, not timed: error {row['error']:.1e}, allowed {bound:.1e}"
    timed = [row for row in rows if "problem" not in row]
    samples: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds + 2):  # the first two warm up
        for row in timed:
            for which in ("forward", "forward_backward"):
                found = once(runs[row["contender"]], setting.leaves, which != "forward")
                if number >= 2:
                    samples.setdefault((row["contender"], which), []).append(found[0])
                    row[f"{which}_peak_bytes"] = found[1]
    for row in timed:
        for which in ("forward", "forward_backward"):
            row[which] = quantiles(samples[row["contender"], which])
    return rows


def _on_torch(run: Callable[[], Tensor]) -> Callable[[], Tensor]:
    def call() -> Tensor:
        with kernels.use_backend("torch"):
            return run()

    return call


def _line(row: dict[str, Any]) -> str:
    if "problem" in row:
        return row["problem"]
    forward, both = row["forward"], row["forward_backward"]
    return (
        f"{forward[1]:9.4f} ({forward[0]:.4f} to {forward[2]:.4f}) "
        f"{both[1]:9.4f} ({both[0]:.4f} to {both[2]:.4f})  error {row['error']:.1e}"
    )


def plot(results: Rows, folder: Path) -> None:
    """A picture of forward + backward, by contender and case."""
    if not possible():
        return
    bars = [
        Bar(
            f"B {row['batch']}\nT {row['steps']}\nS {row['source']}\nH {row['size']}"
            + ("" if row["fed"] else "\nnot fed"),
            row["contender"],
            row["forward_backward"][1],
        )
        for row in results
        if "problem" not in row
    ]
    draw(bars, folder / "decoder.png", "milliseconds, forward + backward")
