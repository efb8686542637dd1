"""What operations keep for their backward pass: checkpoints, hooks, results changed in place."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.checkpoint import checkpoint

import kernels
from kernels import use_backend
from tests.kernels.operations import OPERATIONS

everywhere = pytest.mark.parametrize("name", OPERATIONS)


def gradients(operation, run=None):
    own = [leaf.clone().requires_grad_() for leaf in operation.leaves]
    total = operation.total(*own) if run is None else run(operation.total, *own)
    return torch.autograd.grad(total, own)


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("reentrant", [False, True])
@everywhere
def test_checkpointed(name, reentrant):
    def run(total, *leaves):
        return checkpoint(total, *leaves, use_reentrant=reentrant)

    operation = OPERATIONS[name]
    own = [leaf.clone().requires_grad_() for leaf in operation.leaves]
    run(operation.total, *own).backward()  # the one that re-enters allows no torch.autograd.grad
    assert_equal([leaf.grad for leaf in own], gradients(operation))


@everywhere
def test_saved_tensors_are_read_once_a_backward_pass(name):
    """Offloading to the CPU, compression and checkpoints pay for each look."""
    operation, looks, stored = OPERATIONS[name], Counter(), []

    def pack(tensor):
        stored.append(tensor.detach().clone())
        return len(stored) - 1

    def unpack(k):
        looks[k] += 1
        return stored[k]

    own = [leaf.clone().requires_grad_() for leaf in operation.leaves]
    with saved_tensors_hooks(pack, unpack):
        total = operation.total(*own)
    first = torch.autograd.grad(total, own, retain_graph=True)
    assert stored and set(looks.values()) == {1}
    assert_equal(first, gradients(operation))
    again = torch.autograd.grad(total, own)
    assert set(looks.values()) == {2}
    assert_equal(again, first)


@everywhere
def test_saved_on_the_cpu(name):
    def run(total, *leaves):
        with save_on_cpu():
            return total(*leaves)

    operation = OPERATIONS[name]
    assert_equal(gradients(operation, run), gradients(operation))


@pytest.mark.parametrize(
    ("name", "backend"),
    [(name, "torch") for name in OPERATIONS]
    + [
        (name, "triton") for name in ("recurrence lstm", "dot", "decoder gru, general", "loss mean")
    ],
)
def test_results_may_be_changed_in_place(name, backend):
    """The gradients are those of the same change out of place; on every result at once."""
    operation = OPERATIONS[name]
    dtype = torch.float64 if backend == "torch" else torch.float32

    def changed(inside):
        own = [leaf.to(dtype, copy=True).requires_grad_() for leaf in operation.leaves]
        with use_backend(backend):
            results = operation.function(*own)
            if inside:
                for result in results:
                    result += 1
                    result.mul_(2).relu_()
            else:
                results = [((result + 1) * 2).relu() for result in results]
            total = sum(result.square().sum() for result in results)
            return torch.autograd.grad(total, own, allow_unused=True)

    for one, other in zip(changed(True), changed(False), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_outputs_of_modules_may_be_changed_in_place(kind, layers, batch_first, packed):
    torch.manual_seed(0)
    module = getattr(kernels, kind)(2, 3, layers, bidirectional=True, batch_first=batch_first)
    inputs = torch.randn(4, 4, 2)
    if packed:
        inputs = pack_padded_sequence(inputs, [4, 3, 2, 1], batch_first=batch_first)
    grads = []
    for inside in (True, False):
        outputs, state = module(inputs)
        results = [outputs.data if packed else outputs, *([state] if kind != "LSTM" else state)]
        if inside:
            for result in results:
                result += 1
                result.relu_()
        else:
            results = [(result + 1).relu() for result in results]
        total = sum(result.square().sum() for result in results)
        grads.append(torch.autograd.grad(total, list(module.parameters())))
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)
