"""PyTorch's own module tests for RNN, GRU, LSTM and their cells, with our classes in their place.

PyTorch 2.13 lists 174 inputs (training and evaluation counted apart), for float32 and float64: 348.
"""

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence

import kernels
from tests.kernels.recurrences import bound, relative

pytest.importorskip("expecttest", reason="torch.testing's list of module inputs needs expecttest")
common_modules = pytest.importorskip(
    "torch.testing._internal.common_modules", reason="this torch has no list of module inputs"
)
# That import forbids to set flags of torch.backends from then on; tests beside this one set some.
torch.backends.flags_frozen.__globals__["__allow_nonbracketed_mutation_flag"] = True
ENTRIES = {
    info.module_cls.__name__: info
    for info in common_modules.module_db
    if info.module_cls.__module__ == "torch.nn.modules.rnn"
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell"])
def test_results_and_gradients_of_torch_nn(name, training, dtype):
    torch.manual_seed(0)
    entry = ENTRIES[name]
    found = entry.module_inputs_func(
        entry, device="cpu", dtype=dtype, requires_grad=True, training=training
    )
    assert found
    for made in found:
        constructor = made.constructor_input
        theirs = entry.module_cls(*constructor.args, **constructor.kwargs, dtype=dtype)
        ours = getattr(kernels, name)(*constructor.args, **constructor.kwargs, dtype=dtype)
        ours.load_state_dict(theirs.state_dict())
        theirs.load_state_dict(ours.state_dict())
        assert list(ours.state_dict()) == list(theirs.state_dict())
        compare(ours.train(training), theirs.train(training), made.forward_input)


def compare(ours, theirs, call):
    """Outputs, states and the gradients of inputs, states and parameters."""
    given = [tensor for argument in call.args for tensor in flat(argument)]
    given += [tensor for argument in call.kwargs.values() for tensor in flat(argument)]
    given = [tensor for tensor in given if tensor.requires_grad]
    sides = []
    for module in (ours, theirs):
        results = flat(module(*call.args, **call.kwargs))
        generator = torch.Generator().manual_seed(1)
        total = sum(
            (r * torch.randn(r.shape, generator=generator).to(r.dtype)).sum() for r in results
        )
        sides.append(results + list(torch.autograd.grad(total, [*given, *module.parameters()])))
    for mine, their in zip(*sides, strict=True):
        assert mine.shape == their.shape and mine.dtype == their.dtype
        assert relative(mine, their) <= bound(their.dtype, 5)  # the longest has 5 steps


def flat(value):
    """The tensors with values of nested arguments or results."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, PackedSequence):
        return [value.data]
    return [tensor for part in value for tensor in flat(part)]
