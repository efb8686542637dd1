"""Recurrences on an NVIDIA GPU: every schedule against cuDNN, an eager and a compiled loop.

A case is one layer in one direction. Every contender's outputs and gradients are first compared
with a float64 loop's; one that is off by more than rounding (kernels: by more than four times what
torch.nn errs by) is reported and not timed. Then the contenders take turns within every round, so
that a clock that changes meets them all; times are device time between two events, as median and
20th and 80th percentile over the rounds. "recurrent" cases have 128 input features, so that the
input product is small; "whole" ones have H. ``few`` cases are those that decide: no loops step by
step but the torch backend's, which is what ``auto`` takes otherwise, in two rounds, since it is
much slower.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import kernels
from kernels.bench.errors import LARGEST, allowed, largest_error
from kernels.bench.pictures import Bar, draw, possible
from kernels.bench.timing import once, quantiles
from kernels.common.chip import chip_of
from kernels.recurrence.schedule import Problem, pick, price, use_schedule

SHAPES = (  # (B, T, H)
    (16, 1024, 768),
    (64, 64, 512),
    (128, 50, 1024),
    (32, 1000, 512),
    (64, 128, 128),
    (62, 2058, 168),
    (1, 1, 1024),  # a step of decoding
    (160, 1, 512),  # one of beam search, 32 sentences
)
# Microseconds a step, forward and backward, that the chip's rates allow (LSTM, bf16, H200).
FLOORS = {(64, 64, 512): (1.5, 2.5), (128, 50, 1024): (4.0, 6.0), (32, 1000, 512): (1.4, 2.4)}
DTYPES = {
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp32": torch.float32,
    "tf32": torch.float32,
}
FEW_SHAPES = (
    (64, 64, 512), (128, 50, 1024), (32, 1000, 512), (16, 1024, 768), (64, 128, 128), (160, 1, 512),
)  # fmt: skip
FEW_ROUNDS = 2  # of the torch backend
TORCH = "torch backend"  # of this package
LONGEST_LOOP = 128  # steps of an eager loop that is worth the time
LONGEST_COMPILED = 16  # and of one that torch.compile unrolls
FEW_FEATURES = 128  # cuDNN's persistent kernels want a multiple of 128


class Case(NamedTuple):
    kind: str  # LSTM, GRU or RNN
    batch: int
    steps: int
    size: int
    precision: str  # of DTYPES
    inputs: str  # "whole", or "recurrent" without the input product
    ragged: bool = False  # lengths from T/2 to T
    bidirectional: bool = False


class Contender(NamedTuple):
    name: str
    run: Callable[[Tensor], Tensor]
    parameters: Sequence[Tensor]


def cases(quick: bool, few: bool = False) -> list[Case]:
    if quick:
        return [Case(kind, 3, 4, 24, "fp32", "whole") for kind in ("LSTM", "GRU", "RNN")]
    if few:
        return [
            Case(kind, *shape, precision, "whole")
            for shape in FEW_SHAPES
            for kind in ("LSTM", "GRU")
            for precision in ("bf16", "fp16")
        ]
    found = [
        Case(kind, *shape, "bf16", inputs)
        for shape in SHAPES
        for kind in ("LSTM", "GRU", "RNN")
        for inputs in ("recurrent", "whole")
    ]
    found += [
        Case(kind, *shape, precision, "whole")
        for shape in SHAPES
        for kind in ("LSTM", "GRU")
        for precision in ("fp16", "fp32", "tf32")
    ]
    found += [
        Case("LSTM", *shape, "bf16", "recurrent", ragged, bidirectional)
        for shape in SHAPES[1:4]
        for ragged, bidirectional in ((True, False), (False, True))
    ]
    return found


def run(
    quick: bool,
    rounds: int,
    device: torch.device,
    keep: Callable[[list[dict[str, Any]]], None] | None = None,
    few: bool = False,
) -> list[dict[str, Any]]:
    """Times all cases (or few), prints a table, and returns a row for each case and contender;
    ``keep`` gets those so far after each case."""
    print("Milliseconds: median (20th to 80th percentile) forward, then forward + backward.")
    results = []
    for case in cases(quick, few):
        if not few:
            torch.compiler.reset()  # or loops of other cases count against Dynamo's limit
        rows = measure(case, rounds, device, few)
        results += rows
        if keep is not None:
            keep(results)
        print(f"\n{describe(case)}")
        for row in rows:
            print(f"  {row['contender']:18} {_line(row)}", flush=True)
    return results


def describe(case: Case) -> str:
    extra = [case.inputs, *["ragged"] * case.ragged, *["two directions"] * case.bidirectional]
    shape = f"B {case.batch}, T {case.steps}, H {case.size}"
    return f"{case.kind} {case.precision}, {shape}, {', '.join(extra)}"


def _line(row: dict[str, Any]) -> str:
    if "problem" in row:
        return row["problem"]
    forward, both = row["forward"], row["forward_backward"]
    text = (
        f"{forward[1]:9.4f} ({forward[0]:.4f} to {forward[2]:.4f}) "
        f"{both[1]:9.4f} ({both[0]:.4f} to {both[2]:.4f})  error {row['error']:.1e}"
    )
    if "schedules" in row:
        text += f"  {row['schedules'][0]}/{row['schedules'][1]}"
    if "of_floor" in row:
        text += f"  {row['of_floor'][0]:.2f}/{row['of_floor'][1]:.2f} of the floor"
    return text


def measure(
    case: Case, rounds: int, device: torch.device, few: bool = False
) -> list[dict[str, Any]]:
    """A row for each contender: times, peak memory, error; or what kept it from being timed."""
    torch.manual_seed(0)
    dtype = DTYPES[case.precision]
    features = case.size if case.inputs == "whole" else FEW_FEATURES
    inputs = torch.randn(case.batch, case.steps, features, device=device, dtype=dtype)
    lengths = None
    if case.ragged:
        lengths = torch.randint(case.steps // 2, case.steps + 1, (case.batch,))
        lengths[0] = case.steps
    options = {"batch_first": True, "bidirectional": case.bidirectional, "device": device}
    theirs = getattr(nn, case.kind)(features, case.size, **options, dtype=dtype)
    ours = getattr(kernels, case.kind)(features, case.size, **options, dtype=dtype)
    ours.load_state_dict(theirs.state_dict())
    truth = _truth(case, ours, inputs, lengths)
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = case.precision == "tf32"
    torch.backends.cudnn.allow_tf32 = case.precision == "tf32"
    try:
        rows, contenders = [], _contenders(case, ours, theirs, lengths, few)
        for contender in contenders:
            row = case._asdict() | {"contender": contender.name}
            rows.append(row | _error(contender, inputs, truth))
        _judge(case, rows)
        both = zip(contenders, rows, strict=True)
        runnable = [(contender, row) for contender, row in both if "problem" not in row]
        _time(case, runnable, inputs, rounds)
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
    for row in rows:
        if "problem" not in row and row["contender"].startswith("kernels"):
            row |= _place(case, row, device)
    return rows


def _truth(
    case: Case, ours: nn.Module, inputs: Tensor, lengths: Tensor | None
) -> list[Tensor | None]:
    """Outputs and gradients in float64."""
    exact = type(ours)(
        inputs.size(2), case.size, batch_first=True, bidirectional=case.bidirectional,
        device=inputs.device, dtype=torch.float64,
    )  # fmt: skip
    exact.load_state_dict(ours.state_dict())
    with kernels.use_backend("torch"):
        run = partial(exact, lengths=lengths)
        return _results(lambda x: run(x)[0], inputs.double(), list(exact.parameters()))


def _results(
    run: Callable[[Tensor], Tensor], inputs: Tensor, parameters: Sequence[Tensor]
) -> list[Tensor | None]:
    """Outputs, and the gradients of their sum: of the inputs and of each parameter."""
    x = inputs.detach().clone().requires_grad_()
    outputs = run(x)
    total = outputs.double().sum()
    return [outputs.detach(), *torch.autograd.grad(total, [x, *parameters], allow_unused=True)]


def _contenders(
    case: Case, ours: nn.Module, theirs: nn.Module, lengths: Tensor | None, few: bool
) -> list[Contender]:
    def own(backend: str, schedule: str | None = None) -> Callable[[Tensor], Tensor]:
        def call(inputs: Tensor) -> Tensor:
            chosen: AbstractContextManager[None] = nullcontext()
            if schedule is not None:
                chosen = use_schedule(schedule)
            with kernels.use_backend(backend), chosen:
                return ours(inputs, lengths=lengths)[0]

        return call

    def library(inputs: Tensor) -> Tensor:
        if lengths is None:
            return theirs(inputs)[0]
        packed = nn.utils.rnn.pack_padded_sequence(
            inputs, lengths, batch_first=True, enforce_sorted=False
        )
        return nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)[0]

    mine, its = list(ours.parameters()), list(theirs.parameters())
    found = [Contender("kernels", own("triton"), mine), Contender("torch.nn", library, its)]
    found.append(Contender(TORCH, own("torch"), mine))
    if few:
        return found
    if case.precision == "bf16" and case.inputs == "recurrent" and not case.ragged:
        for name in ("step", "resident", "persistent"):
            found.append(Contender(f"kernels {name}", own("triton", name), mine))
    if case.steps <= LONGEST_LOOP and case.inputs == "whole":
        found.append(Contender("eager loop", own("reference"), mine))
        if case.steps <= LONGEST_COMPILED:
            compiled = torch.compile(own("reference"))
            found.append(Contender("compiled loop", compiled, mine))
    return found + _flashrnn(case, ours)


def _flashrnn(case: Case, ours: Any) -> list[Contender]:
    """FlashRNN's fused CUDA kernel, where it is installed: an LSTM with a single head."""
    if case.kind != "LSTM" or case.precision != "bf16" or case.ragged or case.bidirectional:
        return []
    try:
        from flashrnn import flashrnn  # type: ignore[import-not-found]  # on few machines
    except ImportError:
        return []
    size = case.size

    def call(inputs: Tensor) -> Tensor:
        sums = torch.nn.functional.linear(inputs, ours.weight_ih_l0, ours.bias_ih_l0)
        weight = ours.weight_hh_l0.view(4, 1, size, size).transpose(0, 1)  # (heads, G, H, H)
        bias = ours.bias_hh_l0.view(1, 4, size)
        sums = sums.view(case.batch, case.steps, 4, 1, size).transpose(2, 3)
        states, _ = flashrnn(sums, weight, bias, function="lstm", backend="cuda_fused")
        return states[0].flatten(2)

    return [Contender("flashrnn", call, list(ours.parameters()))]


def _error(contender: Contender, inputs: Tensor, truth: list[Tensor | None]) -> dict[str, Any]:
    try:
        found = _results(contender.run, inputs, contender.parameters)
    except Exception as problem:  # a schedule that does not fit, a chip that is too small
        lines = str(problem).splitlines() or [type(problem).__name__]
        return {"problem": f"not run: {lines[0]}"}
    return {"error": largest_error(found, truth)}


def _judge(case: Case, rows: list[dict[str, Any]]) -> None:
    """Marks the rows whose results are wrong."""
    eps = torch.finfo(DTYPES[case.precision]).eps if case.precision != "tf32" else 2.0**-10
    peer = next(row.get("error", math.nan) for row in rows if row["contender"] == "torch.nn")
    for row in rows:
        own = row["contender"].startswith("kernels")
        bound = allowed(eps, peer) if own else LARGEST
        if "error" in row and not row["error"] <= bound:
            row["problem"] = f"WRONG, not timed: error {row['error']:.1e}, allowed {bound:.1e}"


def _time(
    case: Case, runnable: list[tuple[Contender, dict[str, Any]]], inputs: Tensor, rounds: int
) -> None:
    """Puts times and peak memory into the rows."""
    gradient = inputs.detach().clone().requires_grad_()
    samples: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds + 2):  # the first two warm up
        for contender, row in runnable:
            if contender.name == TORCH and number >= FEW_ROUNDS + 2:
                continue
            for which in ("forward", "forward_backward"):
                leaves = [gradient, *contender.parameters]
                run = partial(contender.run, gradient)
                milliseconds, peak = once(run, leaves, which == "forward_backward")
                if number >= 2:
                    samples.setdefault((contender.name, which), []).append(milliseconds)
                    row[f"{which}_peak_bytes"] = peak
    for contender, row in runnable:
        for which in ("forward", "forward_backward"):
            row[which] = quantiles(samples[contender.name, which])


def _place(case: Case, row: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """The schedules that ran, what the rule had predicted, and how near the floor it came."""
    kind = {"LSTM": "lstm", "GRU": "gru", "RNN": "tanh"}[case.kind]
    directions, size = 1 + case.bidirectional, torch.finfo(DTYPES[case.precision]).bits // 8
    chip, schedules, prices = chip_of(device), [], []
    asked = row["contender"].removeprefix("kernels").strip()
    for backward in (False, True):
        problem = Problem(kind, case.batch, case.size, directions, size, backward, case.steps)
        schedule = pick(problem, chip, asked)
        schedules.append(schedule.name)
        prices.append(price(schedule, problem, chip) * case.steps / 1e3)
    found = {"schedules": schedules, "predicted_recurrent": [prices[0], sum(prices)]}
    floor = FLOORS.get((case.batch, case.steps, case.size))
    if floor and case.kind == "LSTM" and case.precision == "bf16" and case.inputs == "recurrent":
        floors = [floor[0] * case.steps / 1e3, sum(floor) * case.steps / 1e3]
        times = (row["forward"][1], row["forward_backward"][1])
        found["of_floor"] = [low / time for low, time in zip(floors, times, strict=True)]
    return found


def plot(results: list[dict[str, Any]], folder: Path) -> None:
    """A picture for each kind and precision: forward + backward, by contender and shape."""
    if not possible():
        return
    timed = [
        row
        for row in results
        if "problem" not in row and not row["ragged"] and not row["bidirectional"]
    ]
    for group in sorted({(row["kind"], row["precision"], row["inputs"]) for row in timed}):
        bars = [
            Bar(
                f"B {row['batch']}\nT {row['steps']}\nH {row['size']}",
                row["contender"],
                row["forward_backward"][1],
            )
            for row in timed
            if (row["kind"], row["precision"], row["inputs"]) == group
        ]
        path = folder / f"recurrent-{'-'.join(group)}.png"
        draw(bars, path, "milliseconds, forward + backward", " ".join(group))
