"""The short way of plain calls on a CPU: when it is taken, and that its numbers are the truth's."""

import pytest
import torch

import kernels
from kernels.common.precision import precision
from kernels.modules.plain import plain_layers
from kernels.recurrence import direct


def taken(module, inputs):
    return direct.run(module.kind, inputs, None, None, plain_layers(module), 0.0) is not None


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_first_and_second_derivatives(name, bidirectional, layers):
    torch.manual_seed(0)
    module = getattr(kernels, name)(3, 4, layers, batch_first=True, bidirectional=bidirectional)
    inputs = torch.randn(2, 5, 3, requires_grad=True)
    assert taken(module, inputs)
    leaves = [inputs, *module.parameters()]

    def derivatives():
        outputs = module(inputs)[0]
        first = torch.autograd.grad(outputs.square().sum(), leaves, create_graph=True)
        second = torch.autograd.grad(sum(grad.square().sum() for grad in first), leaves)
        return outputs, *first, *second

    found = derivatives()
    with kernels.use_backend("reference"):
        expected = derivatives()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_second_derivatives_in_bfloat16():
    torch.manual_seed(0)
    module = kernels.LSTM(3, 4, bidirectional=True)
    inputs = torch.randn(5, 2, 3, requires_grad=True)

    def derivatives():
        outputs = module(inputs)[0]
        (first,) = torch.autograd.grad(outputs.square().sum(), inputs, create_graph=True)
        return torch.autograd.grad(first.square().sum(), inputs)[0]

    with torch.autocast("cpu", torch.bfloat16):
        assert precision(inputs).product == torch.bfloat16
        found = derivatives()
    with kernels.use_backend("reference"):
        expected = derivatives()
    assert (found - expected).norm() <= 0.05 * expected.norm()


def test_it_is_left_to_the_operator_where_something_watches():
    module, inputs = kernels.GRU(3, 4), torch.randn(2, 5, 3)
    assert taken(module, inputs)
    with kernels.use_backend("reference"):
        assert not taken(module, inputs)
    with torch.autograd.forward_ad.dual_level():
        assert not taken(module, inputs)
    with torch.utils._python_dispatch.TorchDispatchMode():
        assert not taken(module, inputs)
    assert plain_layers(kernels.GRU(3, 4, layer_norm=True)) is None
