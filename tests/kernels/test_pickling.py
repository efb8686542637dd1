"""Modules and prepared weights are saved, copied and sent to other processes, used or not."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys

import pytest
import torch

import kernels
from kernels.common.prepared_linear import prepare_linear, prepared_linear
from kernels.decoder import DecoderState, prepared_step, step_weights
from tests.kernels.test_decoder import make

CLASSES = (
    kernels.LSTM,
    kernels.GRU,
    kernels.RNN,
    kernels.LSTMCell,
    kernels.GRUCell,
    kernels.RNNCell,
)
COPIES = {
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}
copied = pytest.mark.parametrize("way", COPIES)


def module_and_inputs(cls):
    torch.manual_seed(0)
    cell = cls.__name__.endswith("Cell")
    module = cls(2, 3, layer_norm=True, zoneout=0.1) if cell else cls(2, 3, 2, dropout=0.1)
    return module.eval(), torch.randn(*((4, 2) if cell else (5, 4, 2)))


def same(one, other):
    leaves = torch.utils._pytree.tree_leaves
    return all(torch.equal(a, b) for a, b in zip(leaves(one), leaves(other), strict=True))


@pytest.mark.parametrize("cls", CLASSES)
def test_a_saved_module_loads_as_weights_only(cls):
    module, inputs = module_and_inputs(cls)
    expected = module(inputs)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    found = torch.load(file, weights_only=True)
    assert type(found) is cls
    assert same(found(inputs), expected)


@pytest.mark.parametrize("cls", CLASSES)
def test_loading_runs_no_code_of_ours(cls):
    hooks = {
        "__setstate__",
        "__getstate__",
        "__reduce__",
        "__reduce_ex__",
        "__new__",
        "__setattr__",
    }
    for base in cls.__mro__:
        if base.__module__.startswith("kernels"):
            assert not hooks & set(vars(base))


def test_the_path_of_old_files_is_known():
    """Before kernels/modules was a folder, classes were pickled as kernels.modules.LSTM."""
    module, inputs = module_and_inputs(kernels.LSTM)
    old = b"ckernels.modules\nLSTM\n"
    data = pickle.dumps(module, protocol=2).replace(b"ckernels.modules.layers\nLSTM\n", old)
    assert old in data
    assert same(pickle.loads(data)(inputs), module(inputs))
    known = torch.serialization.get_safe_globals()
    assert (kernels.LSTM, "kernels.modules.LSTM") in known


@copied
@pytest.mark.parametrize("cls", CLASSES)
def test_modules_after_use(cls, way):
    module, inputs = module_and_inputs(cls)
    with torch.autocast("cpu", torch.bfloat16):
        module(inputs)
    outputs = module(inputs)
    torch.utils._pytree.tree_leaves(outputs)[0].sum().backward()
    again = COPIES[way](module)
    assert same(again(inputs), outputs)


@copied
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_prepared_product(way, dtype):
    linear = prepare_linear(torch.randn(7, 5), torch.randn(7), dtype)
    x = torch.randn(3, 5)
    expected = prepared_linear(x, linear)
    again = COPIES[way](linear)
    assert again.packed == linear.packed
    assert torch.equal(prepared_linear(x, again), expected)


@copied
def test_the_prepared_weights_of_a_step(way):
    leaves, _ = make("lstm", "none", layers=1)
    leaves = {name: leaf.float() for name, leaf in leaves.items()}
    layer = kernels.decoder.LayerWeights(*(leaves[name] for name in ("ih0", "hh0", "bi0", "bh0")))
    weights = kernels.decoder.DecoderWeights((layer,), leaves["output"])
    state = DecoderState(leaves["hidden"], leaves["cell"], leaves["feed"])
    inputs = leaves["inputs"][:, 0].contiguous()
    prepared = step_weights(weights, "lstm", inputs.shape[1], torch.float32)

    def run(prepared):
        vectors, after, _ = prepared_step(inputs, None, prepared, state, None, "lstm")
        return vectors, after.hidden, after.cell

    expected = run(prepared)
    assert same(run(COPIES[way](prepared)), expected)


def test_in_another_process():
    linear = prepare_linear(torch.ones(4, 3), None, torch.float32)
    code = (
        "import pickle, sys; from kernels.common.prepared_linear import prepared_linear; "
        "import torch; linear = pickle.load(sys.stdin.buffer); "
        "print(prepared_linear(torch.ones(2, 3), linear).sum().item())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(linear), capture_output=True
    )
    assert done.stdout.strip() == b"24.0", done.stderr
