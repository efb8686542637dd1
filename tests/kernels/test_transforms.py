"""Every operation under every transform of PyTorch that asks for derivatives or batches."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

import kernels
from kernels import use_backend
from kernels.common import registration
from kernels.decoder import (
    DecoderState,
    DecoderWeights,
    LayerWeights,
    prepared_step,
    step_weights,
)
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
        pairs = zip(gradients(operation, leaves), along, strict=True)
        expected = sum((gradient * v).sum() for gradient, v in pairs)
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


def test_lengths_of_each_sample():
    """Are checked, too, all samples' at once."""
    module = kernels.LSTM(2, 3, batch_first=True)
    inputs, lengths = torch.randn(4, 2, 5, 2), torch.tensor([[1, 2], [5, 0], [3, 3], [0, 1]])

    def run(inputs, lengths):
        return module(inputs, lengths=lengths)[0]

    expected = torch.stack([run(x, n) for x, n in zip(inputs, lengths, strict=True)])
    torch.testing.assert_close(vmap(run)(inputs, lengths), expected)
    with pytest.raises(ValueError, match=r"lengths: found values from 0 to 6; expected 0 to T = 5"):
        vmap(run)(inputs, lengths + lengths.eq(5))


def test_targets_of_each_sample():
    hidden, weight = torch.randn(3, 4, 2), torch.randn(5, 2)
    targets = torch.tensor([[0, 1, 4, 2], [-100] * 4, [3, -100, 0, 0]])

    def run(hidden, targets):
        return kernels.linear_cross_entropy(hidden, weight, targets)

    expected = torch.stack([run(h, t) for h, t in zip(hidden, targets, strict=True)])
    torch.testing.assert_close(vmap(run)(hidden, targets), expected)


def test_triton_goes_through_the_reference_too():
    keys, values = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    query, along = torch.randn(2, 2, 4), torch.randn(2, 2, 4)

    def run(query):
        return kernels.dot_attention(query, keys, values)

    with use_backend("triton"):
        value, found = jvp(run, (query,), (along,))
    with use_backend("reference"):
        expected = jvp(run, (query,), (along,))
    torch.testing.assert_close((value, found), expected)


def test_directions_that_a_gradient_is_given():
    """The tangent of what arrives at a plain call's backward pass."""
    for operation in (OPERATIONS["recurrence lstm"], OPERATIONS["dot"], OPERATIONS["loss none"]):
        leaf, *rest = operation.leaves
        own = leaf.clone().requires_grad_()
        result = operation.function(own, *rest)[0]
        (expected,) = torch.autograd.grad(
            result, own, torch.full_like(result, 2.0), retain_graph=True
        )
        with forward_ad.dual_level():
            arriving = torch.ones_like(result)
            arriving = forward_ad.make_dual(arriving, torch.full_like(result, 2.0))
            (gradient,) = torch.autograd.grad(result, own, arriving)
            found = forward_ad.unpack_dual(gradient).tangent
        torch.testing.assert_close(found, expected, **NEAR)


def test_a_prepared_step_refuses_to_be_differentiated():
    """It has no derivatives, and forward mode would find zeros."""
    weights = DecoderWeights(
        (LayerWeights(*(torch.randn(shape) for shape in ((4, 5), (4, 4), (4,), (4,)))),),
        torch.randn(3, 4),
    )
    state = DecoderState(torch.zeros(1, 2, 4), None, torch.zeros(2, 3))
    prepared = step_weights(weights, "tanh", 2, torch.float32)

    def run(inputs):
        return prepared_step(inputs, None, prepared, state, None, "tanh")[0]

    with pytest.raises(RuntimeError, match=r"prepared_step has no derivatives.*decoder_step"):
        jvp(run, (torch.randn(2, 2),), (torch.randn(2, 2),))


@pytest.mark.parametrize("name", ["GRU", "concat", "loss mean"])
def test_compiled(name):
    """A transform inside what is compiled."""
    operation = OPERATIONS[name]
    first, *rest = operation.leaves

    def run(leaf):
        return grad(operation.total)(leaf, *rest), jvp(operation.total, (leaf, *rest), ones)[1]

    ones = tuple(torch.ones_like(leaf) for leaf in operation.leaves)
    torch._dynamo.reset()
    found = torch.compile(run, backend="aot_eager")(first)
    torch.testing.assert_close(found, run(first), **NEAR)


@pytest.mark.parametrize("name", ["LSTM", "additive", "decoder lstm, additive", "loss none"])
def test_gradients_of_torch_func_run_the_backend(name, monkeypatch):
    """Where nothing outside asks for gradients: the reference is not called."""
    operation = OPERATIONS[name]
    everything = tuple(range(len(operation.leaves)))
    expected = gradients(operation, operation.leaves)
    calls = []
    monkeypatch.setattr(registration, "_by_reference", lambda *_: calls.append(1))
    monkeypatch.setattr(registration, "_pulled_back", lambda *_: calls.append(1))
    found = grad(operation.total, everything)(*operation.leaves)
    assert not calls
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@everywhere
def test_nested_gradients(name):
    """torch.func.grad of grad, and autograd through what torch.func.grad gives."""
    operation = OPERATIONS[name]
    first, *rest = operation.leaves

    def norm(leaf, *others):
        return grad(operation.total)(leaf, *others).square().sum()

    own = [leaf.clone().requires_grad_() for leaf in operation.leaves]
    once = torch.autograd.grad(operation.total(*own), own[0], create_graph=True)[0]
    expected = torch.autograd.grad(once.square().sum(), own, allow_unused=True)
    everything = tuple(range(len(operation.leaves)))
    found = grad(norm, everything)(first, *rest)
    outside = torch.autograd.grad(norm(*own), own, allow_unused=True)
    for one, other, third in zip(found, expected, outside, strict=True):
        other = torch.zeros_like(one) if other is None else other
        third = torch.zeros_like(one) if third is None else third
        torch.testing.assert_close(one, other, **NEAR)
        torch.testing.assert_close(third, other, **NEAR)
