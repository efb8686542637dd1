"""The recurrence as a registered operator: torch.compile, torch.export, and what they rely on."""

import warnings

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
    torch._dynamo.reset()  # or the graphs of earlier tests count against its limit
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
            # so small a call runs PyTorch's own loop where nothing traces it
            torch.testing.assert_close(compiled(inputs)[0], module(inputs)[0])


def test_compiled_lengths_are_still_checked():
    compiled = torch.compile(kernels.RNN(4, 6, batch_first=True), backend="aot_eager")
    with pytest.raises(ValueError, match=r"lengths: found values from 1 to 9.*T = 5"):
        compiled(torch.zeros(2, 5, 4), lengths=torch.tensor([1, 9]))


def test_exported():
    module = kernels.LSTM(4, 6, batch_first=True)
    inputs = torch.randn(3, 5, 4)
    exported = torch.export.export(module, (inputs,))
    assert torch.equal(exported.module()(inputs)[0], module(inputs)[0])


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_jit_trace_says_what_to_use(name):
    """The reference, which is plain PyTorch, can be traced."""
    module, inputs = getattr(kernels, name)(4, 6, batch_first=True), torch.randn(3, 5, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes that a trace takes for constants
        with pytest.raises(RuntimeError, match=r"torch\.export\.export.*use_backend\('reference"):
            torch.jit.trace(module, inputs)
        with kernels.use_backend("reference"):
            traced = torch.jit.trace(module, inputs)
    other = torch.randn(3, 5, 4)
    torch.testing.assert_close(traced(other)[0], module(other)[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["GRU", "LSTM"])
def test_a_package_of_aotinductor_loads_again(name, tmp_path):
    """It compiles C++, for half a minute."""
    layers = getattr(kernels, name)(4, 6, 2, bidirectional=True, batch_first=True).eval()

    class Ragged(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = layers

        def forward(self, inputs, lengths):
            return self.layers(inputs, lengths=lengths)

    batch, steps = torch.export.Dim("B"), torch.export.Dim("T")
    shapes = {"inputs": {0: batch, 1: steps}, "lengths": {0: batch}}
    with torch.no_grad():
        program = torch.export.export(
            Ragged(), (torch.randn(3, 5, 4), torch.tensor([5, 2, 3])), dynamic_shapes=shapes
        )
        path = torch._inductor.aoti_compile_and_package(
            program, package_path=str(tmp_path / "layers.pt2")
        )
        loaded = torch._inductor.aoti_load_package(path)
        inputs, lengths = torch.randn(4, 7, 4), torch.tensor([5, 0, 7, 1])
        found, expected = loaded(inputs, lengths), layers(inputs, lengths=lengths)
    for ours, theirs in zip(*map(torch.utils._pytree.tree_leaves, (found, expected)), strict=True):
        assert torch.equal(ours, theirs)
