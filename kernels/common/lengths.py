"""Checks of the lengths of ragged sequences."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from kernels.common.capture import capturing


def check_lengths(lengths: Tensor, batch: int, steps: int) -> None:
    """(B,) integers from 0 to T; raises ValueError otherwise."""
    check_lengths_form(lengths, batch)
    check_length_values(lengths, steps)


def check_lengths_form(lengths: Tensor, batch: int) -> None:
    """(B,) integers of any value; raises ValueError otherwise."""
    if not isinstance(lengths, Tensor):
        raise ValueError(f"lengths: found {type(lengths).__name__}; expected a tensor ({batch},)")
    if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool:
        raise ValueError(f"lengths: found dtype {lengths.dtype}; expected an integer dtype")
    if lengths.shape != (batch,):
        raise ValueError(f"lengths: found shape {tuple(lengths.shape)}; expected ({batch},)")


def check_length_values(lengths: Tensor, steps: int) -> None:
    """Raises ValueError unless all lengths are from 0 to T. If they have no values yet (a traced
    graph, the meta device, fake tensors), the code that computes with them checks them later. While
    a CUDA graph is captured, lengths on the GPU cannot be read: values outside count as the nearest
    inside."""
    if torch.compiler.is_compiling() or capturing(lengths.device):
        return
    lengths = unwrapped(lengths)
    if lengths.is_meta or not lengths.numel():
        return
    low, high = lengths.to("cpu").aminmax()
    if isinstance(low, FakeTensor):  # in a mode that makes real tensors fake, too
        return
    if low < 0 or high > steps:
        raise ValueError(
            f"lengths: found values from {int(low)} to {int(high)}; expected 0 to T = {steps}"
        )


def unwrapped(lengths: Tensor) -> Tensor:
    """The lengths themselves, of all samples, where torch.func.vmap and its like wrapped them."""
    while torch._C._functorch.is_functorch_wrapped_tensor(lengths):
        lengths = torch._C._functorch.get_unwrapped(lengths)
    return lengths
