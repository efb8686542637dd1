"""Shapes without values: the meta device, fake tensors, modules whose parameters come later."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.fsdp import fully_shard
from torch.fx.experimental.symbolic_shapes import ShapeEnv

import kernels
from kernels import use_backend
from tests.kernels.operations import LENGTHS, OPERATIONS

CLASSES = (
    kernels.LSTM,
    kernels.GRU,
    kernels.RNN,
    kernels.LSTMCell,
    kernels.GRUCell,
    kernels.RNNCell,
)
everywhere = pytest.mark.parametrize("name", OPERATIONS)


def shapes(operation, leaves):
    """The shapes of results and gradients."""
    own = [leaf.requires_grad_() for leaf in leaves]
    results = operation.function(*own)
    total = sum(result.square().sum() for result in results)
    return [(tensor.shape, tensor.dtype) for tensor in (*results, *torch.autograd.grad(total, own))]


@pytest.mark.parametrize("backend", ["torch", "reference", "triton"])
@everywhere
def test_on_the_meta_device(name, backend):
    operation = OPERATIONS[name]
    dtype = torch.float32 if backend == "triton" else torch.float64
    with use_backend("reference"):
        expected = shapes(operation, [leaf.to(dtype, copy=True) for leaf in operation.leaves])
    with use_backend(backend):
        found = shapes(operation, [leaf.to("meta", dtype, copy=True) for leaf in operation.leaves])
    assert found == expected


@pytest.mark.parametrize("symbols", [False, True])
@everywhere
def test_fake_tensors(name, symbols):
    operation = OPERATIONS[name]
    expected = shapes(operation, [leaf.clone() for leaf in operation.leaves])
    mode = FakeTensorMode(shape_env=ShapeEnv() if symbols else None, allow_non_fake_inputs=True)
    with mode:
        leaves = [torch.empty(leaf.shape, dtype=leaf.dtype) for leaf in operation.leaves]
        assert shapes(operation, leaves) == expected


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("cls", CLASSES[:3])
def test_lengths_of_a_module_on_the_meta_device(cls, device):
    module = cls(2, 3, 2, bidirectional=True, device="meta")
    inputs = torch.empty(3, 2, 2, device="meta")
    outputs, state = module(inputs, lengths=LENGTHS.to(device))
    assert outputs.shape == (3, 2, 6)
    assert (state[0] if cls is kernels.LSTM else state).shape == (4, 2, 3)
    outputs.sum().backward()
    assert module.weight_hh_l1.grad.shape == module.weight_hh_l1.shape


@pytest.mark.parametrize("cls", CLASSES)
def test_parameters_that_come_later(cls):
    """As torch.nn.utils.skip_init, FSDP and loaders of large models do it."""
    torch.manual_seed(0)
    real, inputs = cls(2, 3), torch.randn(4, 2)
    late = torch.nn.utils.skip_init(cls, 2, 3)
    late.load_state_dict(real.state_dict())
    with torch.device("meta"):
        deferred = cls(2, 3)
    assert all(p.is_meta for p in deferred.parameters())
    moved = cls(2, 3).to("meta").to_empty(device="cpu")
    moved.load_state_dict(real.state_dict())
    assigned = cls(2, 3, device="meta")
    assigned.load_state_dict(real.state_dict(), assign=True)
    leaves = torch.utils._pytree.tree_leaves
    for module in (late, moved, assigned):
        for one, other in zip(leaves(module(inputs)), leaves(real(inputs)), strict=True):
            assert torch.equal(one, other)
    torch.manual_seed(0)
    deferred.to_empty(device="cpu").reset_parameters()
    for one, other in zip(deferred.parameters(), real.parameters(), strict=True):
        assert torch.equal(one, other)


def test_sharded_parameters():
    """fully_shard of a module made on the meta device; one process, so that nothing is sent."""
    distributed = torch.distributed
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        mesh = distributed.device_mesh.init_device_mesh("cpu", (1,))
        real = kernels.LSTM(2, 3, 2, bidirectional=True)
        module = kernels.LSTM(2, 3, 2, bidirectional=True, device="meta")
        fully_shard(module, mesh=mesh).to_empty(device="cpu")
        options = StateDictOptions(full_state_dict=True)
        set_model_state_dict(module, real.state_dict(), options=options)
        inputs = torch.randn(3, 2, 2)
        for one in (module, real):
            one(inputs, lengths=LENGTHS)[0].square().sum().backward()
        for one, other in zip(module.parameters(), real.parameters(), strict=True):
            assert torch.equal(one.grad.full_tensor(), other.grad)
    finally:
        distributed.destroy_process_group()
