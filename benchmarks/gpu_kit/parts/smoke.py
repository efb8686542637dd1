"""Is each kernel right? The smallest set, beside float64, with every wait bounded.

A result may err by four times what the torch backend errs by in the same dtype on the same numbers,
so that the bound follows from how well the problem is conditioned.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

import kernels
from benchmarks.gpu_kit.parts.card import Case, attempt_all
from benchmarks.gpu_kit.records import Record, checked
from kernels.recurrence.schedule import use_schedule

Results = list[Tensor]
DEVICE, DTYPE = torch.device("cuda"), torch.bfloat16
EPS = torch.finfo(DTYPE).eps
LARGEST_BOUND = 0.25  # zeros err by 1


def relative(found: Tensor, truth: Tensor) -> float:
    found, truth = found.detach().double(), truth.detach().double()
    return float((found - truth).norm() / truth.norm().clamp_min(1e-30))


def compare(truth: Results, peer: Results, found: Results) -> Record:
    """The result that comes nearest to its bound, or lies farthest beyond it."""
    rows = []
    for exact, other, own in zip(truth, peer, found, strict=True):
        bound = 4 * relative(other, exact) + 4 * EPS
        rows.append((relative(own, exact), min(LARGEST_BOUND, bound)))
    wrong = [row for row in rows if not row[0] <= row[1]]
    return checked(*(wrong[0] if wrong else max(rows, key=lambda row: row[0] / row[1])))


def recurrence(kind: str, batch: int, steps: int, size: int, schedule: str) -> Record:
    torch.manual_seed(0)
    ours = getattr(kernels, kind)(64, size, batch_first=True, device=DEVICE, dtype=DTYPE)
    exact = getattr(kernels, kind)(64, size, batch_first=True, device=DEVICE, dtype=torch.float64)
    exact.load_state_dict(ours.state_dict())
    inputs = torch.randn(batch, steps, 64, device=DEVICE, dtype=DTYPE)
    found = []
    for module, backend in ((exact, "torch"), (ours, "torch"), (ours, "triton")):
        x = inputs.detach().to(next(module.parameters()).dtype, copy=True).requires_grad_()
        with kernels.use_backend(backend), use_schedule(schedule):
            outputs = module(x)[0]
            leaves = [x, *module.parameters()]
            gradients = torch.autograd.grad(outputs.double().square().sum(), leaves)
        found.append([outputs, *gradients])
    return compare(*found)


def decoder(batch: int, steps: int, source: int, size: int, schedule: str) -> Record:
    from kernels.bench.decoder import Case, Setting

    case = Case(batch, steps, source, size, True)
    own = Setting(case, DEVICE, DTYPE, fused=True)
    exact = Setting(case, DEVICE, torch.float64, fused=True)
    exact.loop.load_state_dict(own.loop.state_dict())
    exact.lengths, exact.direction = own.lengths, own.direction
    with torch.no_grad():
        for one, other in zip(exact.leaves[:3], own.leaves[:3], strict=True):
            one.copy_(other)
    found = []
    for setting, backend in ((exact, "torch"), (own, "torch"), (own, "triton")):
        with kernels.use_backend(backend), use_schedule(schedule):
            found.append(setting.gradients(setting.fused))
    return compare(*found)


def step(sources: int, beams: int, source: int, size: int, schedule: str) -> Record:
    from kernels.bench.decoder_step import Case, Setting

    setting = Setting(Case(sources, beams, source, size), DEVICE, DTYPE)
    with torch.no_grad():
        calls = [setting.exact, setting.prepared("torch"), setting.prepared("triton", schedule)]
        found = [[vectors, *state, weights] for vectors, state, weights in (run() for run in calls)]
    return compare(*found)


def attention(batch: int, steps: int, sources: int, size: int) -> Record:
    torch.manual_seed(0)
    shapes = [(batch, steps, size), (batch, sources, size), (batch, sources, size), (size,)]
    leaves = [torch.randn(shape, device=DEVICE).to(DTYPE) for shape in shapes]
    leaves[3] = leaves[3] * size**-0.5
    found = []
    for backend, dtype in (("torch", torch.float64), ("torch", DTYPE), ("triton", DTYPE)):
        own = [leaf.detach().to(dtype).requires_grad_() for leaf in leaves]
        with kernels.use_backend(backend):
            context = kernels.additive_attention(*own)
            found.append([context, *torch.autograd.grad(context.double().square().sum(), own)])
    return compare(*found)


def loss(rows: int, size: int, words: int) -> Record:
    from kernels.bench.loss import Case, Setting

    case = Case(rows, size, words)
    own, exact = (Setting(case, DEVICE, dtype) for dtype in (DTYPE, torch.float64))
    with torch.no_grad():
        for one, other in zip(exact.leaves, own.leaves, strict=True):
            one.copy_(other)
    exact.targets = own.targets
    found = [exact.gradients(exact.plain)]
    for backend in ("torch", "triton"):
        with kernels.use_backend(backend):
            found.append(own.gradients(own.fused))
    return compare(*found)


CASES: list[tuple[str, Callable[..., Record], tuple[object, ...]]] = [
    ("LSTM 512 step", recurrence, ("LSTM", 32, 50, 512, "step")),
    ("LSTM 512 persistent", recurrence, ("LSTM", 32, 50, 512, "persistent")),
    ("GRU 512 persistent", recurrence, ("GRU", 32, 50, 512, "persistent")),
    ("LSTM 130 persistent, B 5", recurrence, ("LSTM", 5, 40, 130, "persistent")),
    ("LSTM 64 resident, B 5", recurrence, ("LSTM", 5, 40, 64, "resident")),
    ("decoder 130 persistent, B 5", decoder, (5, 20, 17, 130, "persistent")),
    ("decoder 500 persistent, B 5", decoder, (5, 20, 17, 500, "persistent")),
    ("decoder 512 step, B 5", decoder, (5, 20, 17, 512, "step")),
    ("search step, N 1", step, (1, 1, 50, 1024, "persistent")),
    ("search step, N 160", step, (32, 5, 50, 512, "persistent")),
    ("attention", attention, (8, 50, 50, 512)),
    ("loss", loss, (3000, 512, 8001)),
]


def main() -> int:
    cases: list[Case] = [("smoke", name, partial(f, *a)) for name, f, a in CASES]
    return 0 if attempt_all(cases) else 1


if __name__ == "__main__":
    raise SystemExit(main())
