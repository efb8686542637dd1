"""Attention beside eager PyTorch, torch.compile and F.scaled_dot_product_attention (dot scores).

A case is one call on sources of equal length. Every contender's context and gradients are first
compared with float64's; one that is off by more than rounding is reported and not timed. Then the
contenders take turns within every round. On a CPU the torch backend is timed, in CPU time, without
torch.compile. Where eager PyTorch's (B, T, S, H) tensor has more than ``MOST`` elements there,
eager takes a sequence at a time under torch.utils.checkpoint, which makes the forward pass twice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import kernels
from kernels.attention.arguments import Problem
from kernels.attention.schedule import backward_price, forward_price, keeps_scores, pick
from kernels.bench.errors import largest_error
from kernels.bench.pictures import Bar, draw, possible
from kernels.bench.timing import once, quantiles
from kernels.common.chip import chip_of

Run = Callable[..., Any]  # a tensor
SHAPES = (  # (B, T, S, H): H also of the values
    (64, 50, 50, 512),
    (32, 200, 200, 1024),
    (32, 5, 50, 512),  # a step of beam search: 5 hypotheses for each of 32 sentences
    (1, 1, 50, 1024),  # of greedy search
)
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
MOST = 1 << 27


class Case(NamedTuple):
    form: str  # additive or dot
    batch: int
    steps: int
    sources: int
    size: int
    precision: str  # of DTYPES


def cases(quick: bool, on_gpu: bool, few: bool = False) -> list[Case]:
    if few:
        return [Case("additive", *SHAPES[0], "bf16"), Case("dot", *SHAPES[0], "bf16")]
    shapes = ((3, 4, 5, 24),) if quick else SHAPES
    precisions = ("bf16", "fp32") if on_gpu and not quick else ("fp32",)
    return [
        Case(form, *shape, precision)
        for shape in shapes
        for form in ("additive", "dot")
        for precision in precisions
    ]


def on_cpu(quick: bool, rounds: int) -> list[dict[str, Any]]:
    return run(cases(quick, False), rounds, torch.device("cpu"), "torch")


def on_gpu(
    quick: bool,
    rounds: int,
    device: torch.device,
    keep: Callable[[list[dict[str, Any]]], None],
    few: bool = False,
) -> list[dict[str, Any]]:
    return run(cases(quick, True, few), rounds, device, "triton", keep, few)


def run(
    chosen: list[Case],
    rounds: int,
    device: torch.device,
    backend: str,
    keep: Callable[[list[dict[str, Any]]], None] | None = None,
    few: bool = False,
) -> list[dict[str, Any]]:
    """Times the cases, prints a table, and returns a row for each case and contender."""
    print("Milliseconds: median (20th to 80th percentile) forward, then forward + backward.")
    results = []
    for case in chosen:
        rows = measure(case, rounds, device, backend, few)
        results += rows
        if keep is not None:
            keep(results)
        print(f"\n{case.form} {case.precision}, B {case.batch}, T {case.steps}, "
              f"S {case.sources}, H {case.size}")  # fmt: skip
        for row in rows:
            print(f"  {row['contender']:20} {_line(row)}", flush=True)
    return results


def _line(row: dict[str, Any]) -> str:
    if "problem" in row:
        return row["problem"]
    text = "".join(
        f"{middle:9.4f} ({low:.4f} to {high:.4f}) "
        for low, middle, high in (row["forward"], row["forward_backward"])
    )
    text += f" error {row['error']:.1e}"
    if "predicted" in row:
        text += "  predicted {:.4f} {:.4f}".format(*row["predicted"])
    return text


def measure(
    case: Case, rounds: int, device: torch.device, backend: str, few: bool = False
) -> list[dict[str, Any]]:
    """A row for each contender: times, peak memory, error; or what kept it from being timed."""
    if not few:
        torch.compiler.reset()
    exact = _tensors(case, device)
    tensors = [t.to(DTYPES[case.precision]).requires_grad_() for t in exact]
    with kernels.use_backend("torch"):
        truth = _results(_ours(case), [t.detach().double().requires_grad_() for t in tensors])
    rows, runnable = [], []
    for name, call in contenders(case, backend).items():
        if few and name == "torch.compile":
            continue
        row = case._asdict() | {"contender": name} | _checked(case, call, tensors, truth)
        rows.append(row)
        if "problem" not in row:
            runnable.append((call, row))
    samples: dict[tuple[str, bool], list[float]] = {}
    warming = 2 if device.type == "cuda" else 0  # a CPU is warm from the comparison
    for number in range(rounds + warming):
        for call, row in runnable:
            for backward in (False, True):
                found, peak = once(partial(call, *tensors), tensors, backward)
                if number >= warming:
                    samples.setdefault((row["contender"], backward), []).append(found)
                    row["peak_bytes" if backward else "forward_peak_bytes"] = peak
    for _, row in runnable:
        for backward, name in ((False, "forward"), (True, "forward_backward")):
            row[name] = quantiles(samples[row["contender"], backward])
        if row["contender"] == "kernels" and backend == "triton" and case.form == "additive":
            row["predicted"] = predicted(case, device)
    return rows


def predicted(case: Case, device: torch.device) -> list[float]:
    """Milliseconds forward, and forward + backward, by the rule's prices."""
    width = torch.finfo(DTYPES[case.precision]).bits // 8
    sizes = (case.batch, case.steps, case.sources, 1, case.size, case.size, width)
    problem, chip = Problem(*sizes, additive=True), chip_of(device)
    kept = keeps_scores(problem)
    tiles = pick(problem, chip, kept=kept)
    forward = forward_price(tiles.forward, problem, chip) / 1e3
    return [forward, forward + backward_price(tiles, problem, chip, kept) / 1e3]


def _tensors(case: Case, device: torch.device) -> list[Tensor]:
    generator = torch.Generator(device).manual_seed(0)
    _, batch, steps, sources, size, _ = case
    shapes = [(batch, steps, size), (batch, sources, size), (batch, sources, size), (size,)]
    shapes = shapes if case.form == "additive" else shapes[:3]
    return [torch.randn(s, generator=generator, device=device) for s in shapes]


def _ours(case: Case) -> Run:
    if case.form == "additive":
        scale = case.size**-0.5
        return lambda query, keys, values, weight: kernels.additive_attention(
            query, keys, values, weight * scale
        )
    return lambda query, keys, values: kernels.dot_attention(
        query, keys, values, scale=case.size**-0.5
    )


def contenders(case: Case, backend: str) -> dict[str, Run]:
    scale, own = case.size**-0.5, _ours(case)

    def ours(*tensors: Tensor) -> Tensor:
        with kernels.use_backend(backend):
            return own(*tensors)

    def on_torch(*tensors: Tensor) -> Tensor:
        with kernels.use_backend("torch"):
            return own(*tensors)

    def additive(query: Tensor, keys: Tensor, values: Tensor, weight: Tensor) -> Tensor:
        scores = (query[:, :, None] + keys[:, None]).tanh() @ (weight * scale)
        return scores.softmax(-1) @ values

    def dot(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return (query @ keys.mT * scale).softmax(-1) @ values

    def fused(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(query[:, None], keys[:, None], values[:, None])[:, 0]

    def by_sequence(query: Tensor, keys: Tensor, values: Tensor, weight: Tensor) -> Tensor:
        rows = zip(*(t.split(1) for t in (query, keys, values)), strict=True)
        return torch.cat([checkpoint(additive, *row, weight, use_reentrant=False) for row in rows])

    eager = additive if case.form == "additive" else dot
    found: dict[str, Run] = {"kernels": ours, "eager": eager}
    large = torch.Size((case.batch, case.steps, case.sources, case.size)).numel() > MOST
    if backend == "torch" and case.form == "additive" and large:
        found = {"kernels": ours, "eager, checkpointed": by_sequence}
    if backend == "triton":
        found["torch.compile"] = torch.compile(eager)
        found["torch backend"] = on_torch
    if case.form == "dot":
        found["sdpa"] = fused
    return found


def _results(call: Run, tensors: list[Tensor]) -> list[Tensor]:
    """The context, and the gradients of the sum of its squares."""
    context = call(*tensors)
    return [context.detach(), *torch.autograd.grad(context.double().square().sum(), tensors)]


def _checked(case: Case, call: Run, tensors: list[Tensor], truth: list[Tensor]) -> dict[str, Any]:
    try:
        found = _results(call, tensors)
    except Exception as problem:  # no memory, say: the others are timed all the same
        lines = str(problem).splitlines() or [type(problem).__name__]
        return {"problem": f"not run: {lines[0]}"}
    error = largest_error(found, truth)
    # Eager PyTorch rounds tanh and scores to the dtype: many roundings in half precision.
    if not error <= 16 * torch.finfo(DTYPES[case.precision]).eps:
        return {"error": error, "problem": f"WRONG, not timed: error {error:.1e}"}
    return {"error": error}


def plot(results: list[dict[str, Any]], folder: Path) -> None:
    """A picture for each form and precision: forward + backward, by contender and shape."""
    if not possible():
        return
    timed = [row for row in results if "problem" not in row]
    for group in sorted({(row["form"], row["precision"]) for row in timed}):
        bars = [
            Bar(_shape(row), row["contender"], row["forward_backward"][1])
            for row in timed
            if (row["form"], row["precision"]) == group
        ]
        path = folder / f"attention-{'-'.join(group)}.png"
        draw(bars, path, "milliseconds, forward + backward", " ".join(group))


def _shape(row: dict[str, Any]) -> str:
    return f"B {row['batch']}, T {row['steps']}\nS {row['sources']}, H {row['size']}"
