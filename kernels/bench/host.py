"""The CPU time of a call of the Triton backend when launches do nothing.

Tensors are small and lie on the CPU, the driver is ``no_op_driver``. What is left is the work of
this package, of Triton's launches and of PyTorch's dispatcher. A GPU adds a few microseconds for
each of PyTorch's operators, in which CUDA launches a kernel: their number is reported, too.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import kernels
from kernels.bench.decoder_step import Case as StepCase
from kernels.bench.decoder_step import Setting as StepSetting
from kernels.decoder import prepared_step, step_memory, step_weights
from kernels.recurrence import recurrence
from kernels.recurrence.schedule import use_schedule

Rows = list[dict[str, Any]]
BATCH, STEPS, LONG, SIZE, FEATURES = 4, 4, 36, 32, 8
DTYPE = torch.float32  # products in bfloat16 cost the CPU 13 us each, which a GPU does not have
CALLS = 20  # in a round


class Case(NamedTuple):
    name: str
    run: Callable[[], Any]
    launches_apart: Callable[[], Any] | None = None  # the same with more launches


def cases() -> list[Case]:
    return [*_recurrences(), *_decoders(), *_attentions(), *_losses()]


def _parameters(*shapes: tuple[int, ...], grad: bool) -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [
        (torch.randn(*shape, generator=draw) * 0.1).to(DTYPE).requires_grad_(grad)
        for shape in shapes
    ]


def _recurrences() -> list[Case]:
    def run(
        schedule: str, steps: int, backward: bool, kind: str = "lstm", ragged: bool = False
    ) -> Callable[[], Any]:
        sums = SIZE * (4 if kind == "lstm" else 3)
        leaves = _parameters(
            (BATCH, steps, FEATURES), (sums, FEATURES), (sums, SIZE), (sums,), (sums,),
            grad=backward,
        )  # fmt: skip
        lengths = torch.tensor([steps, 3, 2, 1]) if ragged else None

        def call() -> None:
            with use_schedule(schedule):
                outputs, _, _ = recurrence(*leaves, kind=kind, lengths=lengths)
                if backward:
                    torch.autograd.grad(outputs, leaves, torch.ones_like(outputs))

        return call

    found = []
    for kind in ("lstm", "gru"):
        for suffix, backward in (("forward", False), ("forward and backward", True)):
            for schedule in ("persistent", "resident"):
                name = f"recurrence {kind} {schedule}, {suffix}"
                found.append(Case(name, run(schedule, STEPS, backward, kind)))
    for suffix, backward in (("forward", False), ("forward and backward", True)):
        name = f"recurrence lstm persistent with lengths, {suffix}"
        found.append(Case(name, run("persistent", STEPS, backward, ragged=True)))
        short, long = (run("step", steps, backward) for steps in (STEPS, LONG))
        found.append(Case(f"recurrence lstm step, {suffix}", short, long))
    return found


def _decoders() -> list[Case]:
    def run(schedule: str, steps: int, backward: bool) -> Callable[[], Any]:
        narrow = (SIZE, SIZE)
        leaves = _parameters(
            (BATCH, steps, SIZE), (4 * SIZE, 2 * SIZE), (4 * SIZE, SIZE), (4 * SIZE,),
            (4 * SIZE,), (SIZE, 2 * SIZE), narrow, (SIZE,), (BATCH, 5, SIZE), (BATCH, 5, SIZE),
            (1, BATCH, SIZE), (1, BATCH, SIZE), (BATCH, SIZE), grad=backward,
        )  # fmt: skip
        inputs, w_ih, w_hh, b_ih, b_hh, output, query, score, keys, values, *state = leaves
        layer = kernels.decoder.LayerWeights(w_ih, w_hh, b_ih, b_hh)
        weights = kernels.decoder.DecoderWeights((layer,), output, query, score)
        memory = kernels.decoder.Memory(keys, values, torch.tensor([5, 4, 3, 2]))

        def call() -> None:
            with use_schedule(schedule):
                vectors, *_ = kernels.attention_decoder(
                    inputs, weights, kernels.decoder.DecoderState(*state), memory
                )
                if backward:
                    torch.autograd.grad(vectors, leaves, torch.ones_like(vectors))

        return call

    found = []
    for suffix, backward in (("forward", False), ("forward and backward", True)):
        found.append(Case(f"decoder persistent, {suffix}", run("persistent", STEPS, backward)))
        short, long = (run("step", steps, backward) for steps in (STEPS, LONG))
        found.append(Case(f"decoder step, {suffix}", short, long))
    setting = StepSetting(StepCase(2, 3, 5, SIZE), torch.device("cpu"), DTYPE)
    prepared = step_weights(setting.weights, "lstm", SIZE, DTYPE)
    memory = step_memory(setting.memory, prepared)
    inputs = setting.embedding.index_select(0, setting.tokens)

    def search_step() -> None:
        prepared_step(inputs, None, prepared, setting.state, memory, "lstm")

    return [*found, Case("search step", search_step)]


def _attentions() -> list[Case]:
    def run(backward: bool) -> Callable[[], Any]:
        leaves = _parameters(
            (BATCH, STEPS, SIZE), (BATCH, 5, SIZE), (BATCH, 5, SIZE), (SIZE,), grad=backward
        )
        lengths = torch.tensor([5, 4, 3, 2])

        def call() -> None:
            query, keys, values, weight = leaves
            context: Any = kernels.additive_attention(query, keys, values, weight, lengths=lengths)
            if backward:
                torch.autograd.grad(context, leaves, torch.ones_like(context))

        return call

    return [
        Case("additive attention, forward", run(False)),
        Case("additive attention, forward and backward", run(True)),
    ]


def _losses() -> list[Case]:
    def run(backward: bool) -> Callable[[], Any]:
        leaves = _parameters((8, SIZE), (50, SIZE), (50,), grad=backward)
        targets = torch.arange(8)

        def call() -> None:
            hidden, weight, bias = leaves
            loss = kernels.linear_cross_entropy(hidden, weight, targets, bias, label_smoothing=0.1)
            if backward:
                torch.autograd.grad(loss, leaves)

        return call

    return [
        Case("vocabulary loss, forward", run(False)),
        Case("vocabulary loss, forward and backward", run(True)),
    ]


class _Operators(TorchDispatchMode):
    """Counts the operators of PyTorch that reach a backend, but views and this package's own."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func.namespace == "kernels":  # its own operators count
            with self:
                key = torch._C.DispatchKey.CompositeExplicitAutograd
                return func._op_dk(key, *args, **(kwargs or {}))
        creates = "empty" in func.__name__  # memory without a kernel
        self.count += not (creates or func.is_view)
        return func(*args, **(kwargs or {}))


def _measured(case: Case, rounds: int, launches: list[int]) -> dict[str, Any]:
    def count(run: Callable[[], Any]) -> int:
        before = launches[0]
        run()
        return launches[0] - before

    def calls(run: Callable[[], Any], number: int) -> list[float]:
        """Milliseconds of each."""
        times = []
        for _ in range(number):
            began = time.process_time()
            run()
            times.append(1e3 * (time.process_time() - began))
        return times

    case.run()  # compiles
    with _Operators() as operators:
        case.run()
    row: dict[str, Any] = {"case": case.name, "operators": operators.count}
    row["launches"] = count(case.run)
    times = calls(case.run, rounds * CALLS)
    row["ms"], row["least_ms"] = round(statistics.median(times), 4), round(min(times), 4)
    if case.launches_apart is not None:
        case.launches_apart()
        more = count(case.launches_apart) - row["launches"]
        base, long = (min(calls(r, rounds * CALLS)) for r in (case.run, case.launches_apart))
        row["us_a_launch"] = round(1e3 * (long - base) / more, 2)
    return row


def run(quick: bool, rounds: int) -> Rows:
    """Prints and returns a row for each case: milliseconds of CPU time a call (median and least),
    launches of Triton kernels, PyTorch operators, and, of loops, microseconds for each
    further launch (from the least times)."""
    from kernels.bench.no_op_driver import no_op_driver  # imports triton

    launches = [0]

    def launched(*_: Any) -> None:
        launches[0] += 1

    rows = []
    print(
        f"{'case':60} {'ms':>7} {'least':>7} {'launches':>9} {'operators':>10} {'us a launch':>12}"
    )
    with no_op_driver(launched), kernels.use_backend("triton"):
        for case in cases():
            if quick and "step" not in case.name:
                continue
            row = _measured(case, rounds, launches)
            rows.append(row)
            apart = row.get("us_a_launch", "")
            print(
                f"{row['case']:60} {row['ms']:7.3f} {row['least_ms']:7.3f} {row['launches']:9} "
                f"{row['operators']:10} {apart:>12}"
            )
    return rows


def run_gpu(quick: bool, rounds: int, device: torch.device, keep: Callable[[Rows], None]) -> Rows:
    """``run``, which needs no GPU and uses none."""
    return run(quick, rounds)


def plot(rows: Rows, folder: Path) -> None:
    """There is nothing to draw."""
