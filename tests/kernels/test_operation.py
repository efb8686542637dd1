"""The recurrence as a registered operator: torch.compile, torch.export, and what they rely on."""

import pytest
import torch

import kernels
from kernels.recurrence import operation
from kernels.recurrence.layout import Arguments
from tests.kernels.recurrences import make


@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize(
    ("kind", "lengths", "norm", "recompute"),
    [
        ("lstm", None, False, False),
        ("lstm", [4, 0, 2], False, False),
        ("lstm", [4, 0, 2], True, False),
        ("lstm", [4, 0, 2], False, True),
        ("gru", [4, 0, 2], False, False),
        ("gru", None, True, True),
        ("tanh", [4, 0, 2], False, False),
    ],
)
def test_the_operator_keeps_its_contract(kind, lengths, backend, norm, recompute):
    """Schema, fake version, autograd formula and tracing, as torch.library checks them."""
    dtype = torch.float64 if backend == "torch" else torch.float32
    made = {k: v.to(dtype) for k, v in make(kind, 3, 4, 2, 5, directions=1, norm=norm).items()}
    made["hidden_mask"] = made["hidden"].detach().clone()
    tensors = [made[n].requires_grad_() if n in made else None for n in Arguments._fields]
    lengths = None if lengths is None else torch.tensor(lengths)
    rest = ([0.0, 0.0], None, None, None, lengths, kind, [False], backend, *[dtype] * 3, "")
    assert len(tensors) + len(rest) == operation.CALL
    torch.library.opcheck(torch.ops.kernels.recurrence.default, (*tensors, *rest, True, recompute))


@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"recurrent_dropout": 0.3},
        {"weight_dropout": 0.3},
        {"layer_norm": True, "zoneout": 0.1},
        {"recompute": True},
    ],
)
def test_compiled_without_a_graph_break(backend, options):
    torch.manual_seed(0)
    module = kernels.LSTM(4, 6, 2, bidirectional=True, batch_first=True, **options).eval()
    lengths = torch.tensor([5, 0, 3])
    with kernels.use_backend(backend):
        compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
        results = []
        for function in (module, compiled):
            inputs = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1))
            inputs.requires_grad_()
            outputs, _ = function(inputs, lengths=lengths)
            outputs.square().sum().backward()
            results.append((outputs, inputs.grad, module.weight_hh_l0.grad.clone()))
            module.zero_grad()
    for plain, traced in zip(*results, strict=True):
        assert torch.equal(plain, traced)


def test_one_compilation_serves_every_batch_and_length():
    module = kernels.GRU(4, 6, batch_first=True)
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend="aot_eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        for batch, steps in ((3, 5), (4, 7), (9, 2)):
            inputs = torch.randn(batch, steps, 4)
            assert torch.equal(compiled(inputs)[0], module(inputs)[0])


def test_compiled_lengths_are_still_checked():
    compiled = torch.compile(kernels.RNN(4, 6, batch_first=True), backend="aot_eager")
    with pytest.raises(ValueError, match=r"lengths: found values from 1 to 9.*T = 5"):
        compiled(torch.zeros(2, 5, 4), lengths=torch.tensor([1, 9]))


def test_exported():
    module = kernels.LSTM(4, 6, batch_first=True)
    inputs = torch.randn(3, 5, 4)
    exported = torch.export.export(module, (inputs,))
    assert torch.equal(exported.module()(inputs)[0], module(inputs)[0])
