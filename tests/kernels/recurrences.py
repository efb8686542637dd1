"""Arguments and comparisons that the tests of the recurrences share; needs torch alone."""

import torch
from torch import Tensor

from kernels import bidirectional_recurrence, recurrence, use_backend
from kernels.recurrence.reference import GATES

KINDS = sorted(GATES)


def make(kind, batch, steps, features, size, *, seed=0, bias=True, state=True, directions=0):
    """Random float64 arguments by name; weights led by ``directions`` where that is not 0."""
    generator = torch.Generator().manual_seed(seed)
    lead = (directions,) if directions else ()

    def random(*shape, scale=1.0):
        return torch.randn(*shape, dtype=torch.float64, generator=generator) * scale

    sums = GATES[kind] * size
    arguments = {
        "inputs": random(batch, steps, features),
        "weight_ih": random(*lead, sums, features, scale=features**-0.5),
        "weight_hh": random(*lead, sums, size, scale=size**-0.5),
    }
    if bias:
        arguments |= {"bias_ih": random(*lead, sums), "bias_hh": random(*lead, sums)}
    if state:
        arguments["hidden"] = random(*lead, batch, size)
        if kind == "lstm":
            arguments["cell"] = random(*lead, batch, size)
    return arguments


def run(backend, arguments, dtype=torch.float64, **options):
    """Results and gradients of a fixed random function of all results, in float64."""
    tensors = {k: v.detach().to(dtype, copy=True).requires_grad_() for k, v in arguments.items()}
    function = recurrence
    called = dict(tensors)
    if arguments["weight_hh"].dim() == 3:
        function = bidirectional_recurrence
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            if name in called:
                called[name] = tuple(called[name])
    with use_backend(backend):
        results = [r for r in function(**called, **options) if r is not None]
        generator = torch.Generator().manual_seed(1)
        total = sum(
            (
                r.double().cpu() * torch.randn(r.shape, dtype=torch.float64, generator=generator)
            ).sum()
            for r in results
        )
        leaves = list(tensors.values())
        # Without steps the reference does not touch its arguments: their gradients are zero.
        total = total + sum((leaf * 0).sum() for leaf in leaves)
        grads = torch.autograd.grad(total, leaves)
    return [t.double() for t in (*results, *grads)]


def relative(found: Tensor, truth: Tensor) -> float:
    norm = truth.norm().item()
    return (found - truth).norm().item() / norm if norm else found.norm().item()


def assert_close(found, truth, bound):
    assert len(found) == len(truth)
    for k, (a, b) in enumerate(zip(found, truth, strict=True)):
        assert a.shape == b.shape
        assert relative(a, b) <= bound, (k, relative(a, b), bound)


def bound(dtype, steps):
    """Rounding of one step, grown by the number of steps; 8 covers sums over features."""
    return 8 * (steps + 1) * torch.finfo(dtype).eps
