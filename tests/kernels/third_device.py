"""Runs every operation on a device that is neither CPU nor CUDA, forward and backward.

PyTorch's device for other vendors stands for it, with fake tensors: PyTorch refuses operators on
two devices, and the operators' real implementations run here, not the fake ones. A process of its
own, since the device cannot be taken away again. Prints what went wrong, by name, as JSON.
"""

from __future__ import annotations

import json
import os
import traceback

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from kernels.attention import operation as attention
from kernels.common import precision
from kernels.decoder import operation as decoder
from kernels.loss import operation as loss
from kernels.loss import torch_backend as loss_backend
from kernels.recurrence import operation as recurrence
from tests.kernels import operations

DEVICE = "third"
IMPLEMENTATIONS = {
    "recurrence": recurrence._forward,
    "recurrence_backward": recurrence._backward,
    "attention": attention._forward,
    "attention_backward": attention._backward,
    "attention_decoder": decoder._forward,
    "attention_decoder_backward": decoder._backward,
    "linear_cross_entropy": loss._forward,
    "linear_cross_entropy_backward": loss._backward,
}


class RealImplementations(TorchDispatchMode):
    """Runs the operators of kernels as on a real device; like Apple's, it has no float64."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "kernels":
            with self:
                return IMPLEMENTATIONS[func.__name__.split(".")[0]](*args)
        results = func(*args, **(kwargs or {}))
        for result in torch.utils._pytree.tree_leaves(results):
            if isinstance(result, torch.Tensor) and result.device.type == DEVICE:
                assert result.dtype != torch.float64, f"{func} gives float64"
        return results


def beside(constant, leaf):
    dtype = leaf.dtype if constant.is_floating_point() else constant.dtype
    return torch.empty(constant.shape, dtype=dtype, device=leaf.device)


def run(operation):
    with FakeTensorMode(allow_non_fake_inputs=True), RealImplementations():
        leaves = [torch.empty(leaf.shape, device=DEVICE) for leaf in operation.leaves]
        own = [leaf.requires_grad_() for leaf in leaves]
        results = operation.function(*own)
        grads = torch.autograd.grad([result.sum() for result in results], own)
    assert {tensor.device.type for tensor in (*results, *grads)} == {DEVICE}
    assert [grad.shape for grad in grads] == [leaf.shape for leaf in operation.leaves]


def main():
    _setup_privateuseone_for_python_backend(DEVICE)
    # Values are what fake tensors lack.
    operations.LENGTHS = None
    operations.beside = beside
    loss_backend.check_targets = lambda *_: None
    loss_backend.chunks = loss_backend._chunks
    precision.WITHOUT_FLOAT64 = ("mps", DEVICE)
    found = {}
    for name, operation in operations.OPERATIONS.items():
        try:
            run(operation)
            found[name] = None
        except Exception:
            found[name] = traceback.format_exc()
    print(json.dumps(found), flush=True)
    # Autograd's thread for this device calls Python as it lets go of tensors. One that does so as
    # the interpreter shuts down aborts the process, now and then: so the interpreter does not.
    os._exit(0)


if __name__ == "__main__":
    main()
