"""Recurrences on the CPU: the torch backend beside torch.nn and an eager loop.

Each case is first checked against the reference, then timed forward and backward together,
the contenders in turn within every round, so that a busy machine slows all of them alike; the
median over rounds is reported. With one thread that is the time the CPU spent on the process,
which other processes do not lengthen, else the time that passed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import kernels
from kernels.bench import language_model

Run = Callable[[Tensor], Tensor]
CONTENDERS = ("kernels", "torch.nn", "eager loop")


class Case(NamedTuple):
    kind: str  # RNN, GRU or LSTM
    batch: int
    steps: int
    size: int  # of inputs and of each direction's state
    bidirectional: bool
    ragged: bool  # lengths from T/2 to T instead of T for all
    precision: str  # fp32, or bf16 for torch.autocast


def recurrent_cases(quick: bool) -> list[Case]:
    """The shapes of a translation encoder, a long one, one sequence, and one too small for its
    arithmetic to matter."""
    shapes = [(128, 15, 256, True), (64, 30, 512, False), (1, 20, 256, False), (4, 5, 16, True)]
    kinds: tuple[str, ...] = ("LSTM", "GRU", "RNN")
    if quick:
        shapes, kinds = [(4, 5, 16, True)], ("LSTM", "GRU")
    return [
        Case(kind, *shape, ragged and shape[0] > 1, precision)
        for shape in shapes
        for kind in kinds
        for ragged in ((False, True) if shape[0] > 1 else (False,))
        for precision in ("fp32", "bf16")
    ]


def measure(case: Case, rounds: int) -> dict[str, Any]:
    """The case, and by contender the median milliseconds of a forward and backward pass, and of a
    forward pass without gradients ("forward kernels", "forward torch.nn").

    Raises RuntimeError when a result differs from the reference by more than rounding.
    """
    torch.manual_seed(0)
    options = {"batch_first": True, "bidirectional": case.bidirectional}
    theirs = getattr(nn, case.kind)(case.size, case.size, **options)
    ours = getattr(kernels, case.kind)(case.size, case.size, **options)
    ours.load_state_dict(theirs.state_dict())
    lengths = None
    if case.ragged:
        lengths = torch.randint(case.steps // 2, case.steps + 1, (case.batch,))
        lengths[0] = case.steps
    runs = _contenders(ours, theirs, lengths)
    inputs = torch.randn(case.batch, case.steps, case.size, requires_grad=True)
    _check(case, runs, inputs)
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in runs}
    times |= {f"forward {name}": [] for name in CONTENDERS[:2]}
    for _ in range(rounds if case.size > 16 else 10 * rounds):
        for name, run in runs.items():
            if name in CONTENDERS[:2]:
                start = clock()
                with torch.no_grad():
                    _forward(case, run, inputs)
                times[f"forward {name}"].append(1e3 * (clock() - start))
            start = clock()
            _forward(case, run, inputs).float().sum().backward()
            times[name].append(1e3 * (clock() - start))
            ours.zero_grad()
            theirs.zero_grad()
            inputs.grad = None
    return case._asdict() | {name: statistics.median(found) for name, found in times.items()}


def _contenders(ours: nn.Module, theirs: nn.Module, lengths: Tensor | None) -> dict[str, Run]:
    def loop(inputs: Tensor) -> Tensor:
        with kernels.use_backend("reference"):
            return ours(inputs, lengths=lengths)[0]

    def library(inputs: Tensor) -> Tensor:
        if lengths is None:
            return theirs(inputs)[0]
        packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(theirs(packed)[0], batch_first=True)[0]

    runs = (lambda inputs: ours(inputs, lengths=lengths)[0], library, loop)
    return dict(zip(CONTENDERS, runs, strict=True))


def _forward(case: Case, run: Run, inputs: Tensor) -> Tensor:
    with torch.autocast(inputs.device.type, torch.bfloat16, enabled=case.precision == "bf16"):
        return run(inputs)


def _check(case: Case, runs: dict[str, Run], inputs: Tensor) -> None:
    with torch.no_grad():
        truth = runs["eager loop"](inputs)
        for name, run in runs.items():
            error = (_forward(case, run, inputs).float() - truth).norm() / truth.norm()
            dtype = torch.bfloat16 if case.precision == "bf16" else torch.float32
            bound = 4 * torch.finfo(dtype).eps * (1 if case.precision == "bf16" else case.steps)
            if not error <= bound:
                raise RuntimeError(f"{name} on {case}: error {error:.2e}, expected <= {bound:.2e}")


def run(quick: bool, rounds: int) -> list[dict[str, Any]]:
    """Times all cases, prints a table, and returns its rows."""
    print("Milliseconds forward + backward, median; ratio: torch.nn / kernels, above 1 is faster,")
    print("then the same of a forward pass under no_grad.")
    print(
        f"{'kind':5} {'B':>4} {'T':>4} {'H':>5} {'dirs':>4} {'lengths':7} {'prec':4} "
        f"{'kernels':>9} {'torch.nn':>9} {'loop':>9} {'ratio':>6} {'no_grad':>7}"
    )
    results = []
    for case in recurrent_cases(quick):
        result = measure(case, rounds)
        results.append(result)
        ours, theirs, loop = (result[name] for name in CONTENDERS)
        print(
            f"{case.kind:5} {case.batch:4} {case.steps:4} {case.size:5} "
            f"{1 + case.bidirectional:4} {'ragged' if case.ragged else 'equal':7} "
            f"{case.precision:4} {ours:9.2f} {theirs:9.2f} {loop:9.2f} {theirs / ours:6.2f} "
            f"{result['forward torch.nn'] / result['forward kernels']:7.2f}",
            flush=True,
        )
    return results if quick else results + language_model.run(rounds)
