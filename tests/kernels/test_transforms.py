"""Every operation under every transform of PyTorch that asks for derivatives or batches."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

from kernels import use_backend
from tests.kernels.operations import OPERATIONS

NEAR = {"rtol": 1e-9, "atol": 1e-9}
everywhere = pytest.mark.parametrize("name", OPERATIONS)
backends = pytest.mark.parametrize("backend", ["torch", "reference"])


def directions(leaves):
    generator = torch.Generator().manual_seed(5)
    return tuple(torch.randn(leaf.shape, dtype=leaf.dtype, generator=generator) for leaf in leaves)


def gradients(operation, leaves):
    """By autograd, without any transform."""
    own = [leaf.clone().requires_grad_() for leaf in leaves]
    return torch.autograd.grad(operation.total(*own), own)


@backends
@everywhere
def test_forward_mode(name, backend):
    """The derivative along a direction is the gradient's product with it."""
    operation = OPERATIONS[name]
    leaves, along = operation.leaves, directions(operation.leaves)
    with use_backend(backend):
        expected = sum((g * v).sum() for g, v in zip(gradients(operation, leaves), along))
        value, found = jvp(operation.total, leaves, along)
        torch.testing.assert_close(value, operation.total(*leaves), **NEAR)
        with forward_ad.dual_level():
            duals = [forward_ad.make_dual(leaf, v) for leaf, v in zip(leaves, along, strict=True)]
            dual = forward_ad.unpack_dual(operation.total(*duals)).tangent
    torch.testing.assert_close(found, expected, **NEAR)
    torch.testing.assert_close(dual, expected, **NEAR)


@backends
@everywhere
def test_reverse_mode_of_torch_func(name, backend):
    operation = OPERATIONS[name]
    everything = tuple(range(len(operation.leaves)))
    with use_backend(backend):
        found = grad(operation.total, everything)(*operation.leaves)
        expected = gradients(operation, operation.leaves)
        _, pull = vjp(operation.total, *operation.leaves)
        pulled = pull(torch.tensor(2.0, dtype=torch.float64))
    for one, other, twice in zip(found, expected, pulled, strict=True):
        torch.testing.assert_close(one, other, **NEAR)
        torch.testing.assert_close(twice, 2 * other, **NEAR)


@everywhere
def test_jacobians_and_hessians(name):
    """By both modes; of the first argument alone, which all results follow from."""
    operation = OPERATIONS[name]
    first, *rest = operation.leaves

    def results(leaf):
        return operation.function(leaf, *rest)

    def total(leaf):
        return operation.total(leaf, *rest)

    for one, other in zip(jacfwd(results)(first), jacrev(results)(first), strict=True):
        torch.testing.assert_close(one, other, **NEAR)
    leaf = first.clone().requires_grad_()
    plain = torch.autograd.functional.jacobian(results, leaf)
    batched = torch.autograd.functional.jacobian(results, leaf, vectorize=True)
    for one, other, third in zip(plain, batched, jacfwd(results)(first), strict=True):
        torch.testing.assert_close(one, other, **NEAR)
        torch.testing.assert_close(one, third, **NEAR)
    torch.testing.assert_close(
        hessian(total)(first), torch.autograd.functional.hessian(total, first), **NEAR
    )


@everywhere
def test_vmap_and_gradients_of_each_sample(name):
    operation = OPERATIONS[name]
    several = [torch.stack([leaf, 0.5 * leaf, 1.0 - leaf]) for leaf in operation.leaves]
    everything = tuple(range(len(several)))
    results = vmap(operation.function)(*several)
    found = vmap(grad(operation.total, everything))(*several)
    for k, leaves in enumerate(zip(*several, strict=True)):
        for one, other in zip(operation.function(*leaves), results, strict=True):
            torch.testing.assert_close(one, other[k], **NEAR)
        for one, other in zip(gradients(operation, leaves), found, strict=True):
            torch.testing.assert_close(one, other[k], **NEAR)


@everywhere
def test_one_argument_batched(name):
    """What is not batched is shared: the gradient of its sum is the sum of gradients."""
    operation = OPERATIONS[name]
    first, *rest = operation.leaves
    several = torch.stack([first, 0.5 * first])

    def total(shared):
        return vmap(lambda leaf: operation.total(leaf, *rest[:-1], shared))(several).sum()

    own = rest[-1].clone().requires_grad_()
    expected = sum(
        torch.autograd.grad(operation.total(leaf, *rest[:-1], own), own)[0] for leaf in several
    )
    torch.testing.assert_close(grad(total)(rest[-1]), expected, **NEAR)
    (found,) = torch.autograd.grad(total(own), own)
    torch.testing.assert_close(found, expected, **NEAR)
