"""Arguments and comparisons that the tests of the recurrences share; needs torch alone."""

import torch
from torch import Tensor

from kernels import bidirectional_recurrence, recurrence, use_backend
from kernels.common.gates import GATES
from kernels.recurrence.reference import GateNorm

KINDS = sorted(GATES)
GAINS = GateNorm._fields


def make(
    kind,
    batch,
    steps,
    features,
    size,
    *,
    seed=0,
    bias=True,
    state=True,
    directions=0,
    norm=False,
    projected=0,
):
    """Random float64 arguments by name; weights led by ``directions`` where that is not 0. ``norm``
    adds the gains of layer normalisation, ``projected`` the projection to so many features."""
    generator = torch.Generator().manual_seed(seed)
    lead = (directions,) if directions else ()

    def random(*shape, scale=1.0):
        return torch.randn(*shape, dtype=torch.float64, generator=generator) * scale

    sums, shown = GATES[kind] * size, projected or size
    arguments = {
        "inputs": random(batch, steps, features),
        "weight_ih": random(*lead, sums, features, scale=features**-0.5),
        "weight_hh": random(*lead, sums, shown, scale=shown**-0.5),
    }
    if bias:
        arguments |= {"bias_ih": random(*lead, sums), "bias_hh": random(*lead, sums)}
    if state:
        arguments["hidden"] = random(*lead, batch, shown)
        if kind == "lstm":
            arguments["cell"] = random(*lead, batch, size)
    if norm:
        for name in GAINS[: 4 if kind == "lstm" else 2]:
            shape = (size,) if name.startswith("cell") else (GATES[kind], size)
            arguments[name] = random(*lead, *shape)
    if projected:
        arguments["weight_hr"] = random(*lead, projected, size, scale=size**-0.5)
    return arguments


def call(arguments, **options):
    """``recurrence`` or ``bidirectional_recurrence`` on arguments made by ``make``."""
    named = dict(arguments)
    function, pair = recurrence, lambda tensor: tensor
    if arguments["weight_hh"].dim() == 3:
        function, pair = bidirectional_recurrence, tuple
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"):
            if name in named:
                named[name] = pair(named[name])
    if GAINS[0] in named:
        gains = [pair(named.pop(name)) for name in GAINS if name in named]
        if function is recurrence:
            named["norm"] = GateNorm(*gains)
        else:
            named["norm"] = tuple(GateNorm(*own) for own in zip(*gains, strict=True))
    return function(**named, **options)


def run(backend, arguments, dtype=torch.float64, **options):
    """Results and gradients of a fixed random function of all results, in float64."""
    tensors = {k: v.detach().to(dtype, copy=True).requires_grad_() for k, v in arguments.items()}
    with use_backend(backend):
        results = [r for r in call(tensors, **options) if r is not None]
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


def options_of(kind, batch, steps, size, directions, projected=0):
    """Every option of the recurrences that has no gradient, at once."""
    generator = torch.Generator().manual_seed(3)
    lead = (directions,) if directions else ()

    def mask(*shape):
        return torch.rand(*shape, generator=generator) < 0.3

    found = {
        "resets": mask(batch, steps),
        "zone_hidden": mask(*lead, batch, steps, projected or size),
    }
    if kind == "lstm":
        found["zone_cell"] = mask(*lead, batch, steps, size)
    return found


def relative(found: Tensor, truth: Tensor) -> float:
    norm = truth.norm().item()
    return (found - truth).norm().item() / norm if norm else found.norm().item()


def assert_close(found, truth, bound):
    """Errors relative to each tensor's norm."""
    assert bound <= 0.1, "a bound that wrong results would meet tests nothing"
    assert len(found) == len(truth)
    for k, (a, b) in enumerate(zip(found, truth, strict=True)):
        assert a.shape == b.shape
        assert relative(a, b) <= bound, (k, relative(a, b), bound)


def bound(dtype, steps):
    """Rounding of one step, grown by the number of steps; 8 covers sums over features."""
    return 8 * (steps + 1) * torch.finfo(dtype).eps
