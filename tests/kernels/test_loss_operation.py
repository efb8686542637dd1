"""The vocabulary loss as a registered operator."""

from __future__ import annotations

import pytest
import torch

from kernels.backend import use_backend
from kernels.loss import linear_cross_entropy
from tests.kernels.recurrences import relative
from tests.kernels.test_loss import make

REDUCTIONS = ("mean", "sum", "none")


@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("with_bias", [True, False])
def test_the_operator_keeps_its_contract(backend, reduction, with_bias):
    dtype = torch.float64 if backend == "torch" else torch.float32
    *tensors, targets = make()
    hidden, weight, bias = (t.to(dtype).requires_grad_() for t in tensors)
    needed = [True, True, with_bias]
    torch.library.opcheck(
        torch.ops.kernels.linear_cross_entropy.default,
        (
            hidden, weight, bias if with_bias else None, targets, 0.1, -100, dtype, dtype, dtype,
            backend, reduction, needed,
        ),
    )  # fmt: skip


@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_compiled_without_a_graph_break(backend, reduction):
    def run(hidden, weight, bias, targets):
        loss = linear_cross_entropy(hidden, weight, targets, bias, 0.1, reduction=reduction)
        return loss.square().sum()

    torch._dynamo.reset()
    *tensors, targets = make()
    results = []
    for function in (run, torch.compile(run, fullgraph=True, backend="aot_eager")):
        leaves = [t.float().requires_grad_() for t in tensors]
        with use_backend(backend):
            loss = function(*leaves, targets)
        results.append((loss, *torch.autograd.grad(loss, leaves)))
    for eager, traced in zip(*results, strict=True):
        assert torch.equal(eager, traced)


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_what_needs_no_gradient_gets_none(frozen):
    *tensors, targets = make()
    leaves = [t.requires_grad_(k != frozen) for k, t in enumerate(tensors)]
    results = []
    for backend in ("torch", "reference"):
        with use_backend(backend):
            loss = linear_cross_entropy(leaves[0], leaves[1], targets, leaves[2])
        results.append(torch.autograd.grad(loss, [t for t in leaves if t.requires_grad]))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_second_derivatives_of_the_torch_backend(reduction):
    *tensors, targets = make(5, 3, 7)
    leaves = [t.requires_grad_() for t in tensors]

    def run(hidden, weight, bias):
        with use_backend("torch"):
            return linear_cross_entropy(hidden, weight, targets, bias, 0.1, reduction=reduction)

    assert torch.autograd.gradgradcheck(run, leaves)


@pytest.mark.parametrize("backend", ["torch", "triton", "reference"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_autocast_may_mix_dtypes_and_gives_a_float32_loss(backend, reduction):
    """As cross entropy does, which autocast takes to float32; gradients twice over, too."""
    *tensors, targets = make()
    leaves = [t.to(torch.float32 if k else torch.float16) for k, t in enumerate(tensors)]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    with use_backend(backend), torch.autocast("cpu", torch.float16):
        loss = linear_cross_entropy(leaves[0], leaves[1], targets, leaves[2], reduction=reduction)
    assert loss.dtype == torch.float32
    once = torch.autograd.grad(loss.sum(), leaves, retain_graph=True)
    twice = torch.autograd.grad(loss.sum(), leaves, create_graph=True)
    for leaf, one, other in zip(leaves, once, twice, strict=True):
        assert one.dtype == other.dtype == leaf.dtype
        assert relative(one.double(), other.double()) <= 4 * torch.finfo(torch.float16).eps


@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_what_ignored_rows_hold_stays_there(backend):
    hidden, weight, bias, targets = make()
    results = []
    for there in (0.0, float("nan")):
        hidden[targets == -100] = there
        leaves = [t.clone().requires_grad_() for t in (hidden, weight, bias)]
        with use_backend(backend):
            loss = linear_cross_entropy(leaves[0], leaves[1], targets, leaves[2], 0.1)
        first = torch.autograd.grad(loss, leaves, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), leaves)
        results.append((loss, *first, *second))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("backend", ["torch", "triton", "reference"])
def test_gradients_that_arrive_at_ignored_rows_count_for_nothing(backend):
    """Infinite gradients arrive there from the losses' logarithms, for example."""
    *tensors, targets = make()
    leaves = [t.float().requires_grad_() for t in tensors]
    arriving = torch.where(targets == -100, float("inf"), 1.0)
    with use_backend(backend):
        losses = linear_cross_entropy(
            leaves[0], leaves[1], targets, leaves[2], 0.1, reduction="none"
        )
        total = linear_cross_entropy(leaves[0], leaves[1], targets, leaves[2], 0.1, reduction="sum")
    found = torch.autograd.grad(losses, leaves, arriving)
    for one, other in zip(found, torch.autograd.grad(total, leaves), strict=True):
        torch.testing.assert_close(one, other)
