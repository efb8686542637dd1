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


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_short_ragged_calls(name, bidirectional, layers, batch_first):
    """In any order of the lengths; outputs past them are zero, states those at the lengths."""
    torch.manual_seed(0)
    options = {"batch_first": batch_first, "bidirectional": bidirectional}
    module = getattr(kernels, name)(3, 4, layers, **options)
    inputs = torch.randn(*((4, 6) if batch_first else (6, 4)), 3, requires_grad=True)
    lengths = torch.tensor([2, 5, 1, 3])  # none as long as T
    rows = inputs if batch_first else inputs.transpose(0, 1)
    weights = plain_layers(module)
    assert direct.run(module.kind, rows, None, None, weights, 0.0, lengths) is not None
    start = torch.randn(layers * (1 + bidirectional), 4, 4, requires_grad=True)
    leaves = [inputs, start, *module.parameters()]

    def derivatives():
        states = (start, start.cos()) if name == "LSTM" else start
        outputs, after = module(inputs, states, lengths=lengths)
        after = after if name == "LSTM" else (after,)
        loss = outputs.square().sum() + sum(state.sin().sum() for state in after)
        return outputs, *after, *torch.autograd.grad(loss, leaves)

    found = derivatives()
    with kernels.use_backend("reference"):
        expected = derivatives()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert found[0].is_contiguous()  # in the order of the inputs


@pytest.mark.parametrize("lengths", [torch.tensor([0, 2]), torch.tensor([3, 2], dtype=torch.int32)])
def test_lengths_that_pytorch_cannot_pack_take_the_long_way(lengths):
    module, inputs = kernels.GRU(3, 4, batch_first=True), torch.randn(2, 5, 3)
    weights = plain_layers(module)
    assert direct.run("gru", inputs, None, None, weights, 0.0, lengths) is None
    with kernels.use_backend("reference"):
        expected = module(inputs, lengths=lengths)
    torch.testing.assert_close(module(inputs, lengths=lengths), expected)


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_autocast_of_a_small_call_stays_exact(name):
    module, inputs = getattr(kernels, name)(3, 4), torch.randn(5, 2, 3)
    expected = module(inputs)[0]
    with torch.autocast("cpu", torch.bfloat16):
        found = module(inputs)[0]
        ragged = module(inputs, lengths=torch.tensor([5, 5]))[0]
    torch.testing.assert_close([found, ragged], [expected, expected], rtol=1e-5, atol=1e-6)


def test_a_wide_lstm_in_bfloat16_trains_by_the_loop_where_that_is_faster(monkeypatch):
    from kernels.recurrence import onednn, torch_backend

    calls = []
    original = torch_backend.forward

    def counted(*arguments, **keywords):
        calls.append(arguments[0])
        return original(*arguments, **keywords)

    monkeypatch.setattr(torch_backend, "forward", counted)
    module, inputs = kernels.LSTM(3, 8).bfloat16(), torch.randn(5, 4, 3).bfloat16()
    for wide, trains in ((9, 0), (8, 1)):
        calls.clear()
        monkeypatch.setattr(onednn, "_WIDE", wide)
        monkeypatch.setattr(onednn, "is_amd", lambda: True)
        outputs = module(inputs)[0]
        has = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        assert len(calls) == (trains if has else 1)
        with torch.no_grad():
            same = module(inputs)[0]  # no backward pass follows
        assert len(calls) == (trains if has else 2)
        torch.testing.assert_close(outputs, same, rtol=0.02, atol=0.01)


@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}])
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("batch", [2, 3000])
@pytest.mark.parametrize("product", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_autocast_of_half_precision_gives_float32(name, dtype, product, batch, ragged, options):
    module = getattr(kernels, name)(3, 8, **options).to(dtype)
    inputs = torch.randn(5, batch, 3).to(dtype)
    lengths = torch.full((batch,), 4) if ragged else None
    dtypes = set()
    with torch.autocast("cpu", product):
        for graph in (True, False):
            with torch.set_grad_enabled(graph):
                outputs, state = module(inputs, lengths=lengths)
                given, after = module(inputs, state, lengths=lengths)
            for pair in ((outputs, state), (given, after)):
                leaves = torch.utils._pytree.tree_leaves(pair)
                dtypes |= {leaf.dtype for leaf in leaves}
    assert dtypes == {torch.float32}
