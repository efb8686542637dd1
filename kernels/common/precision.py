"""In which dtypes an operation multiplies and in which it keeps its state."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

WITHOUT_FLOAT64 = ("mps",)
# Asked once, since to ask takes longer than all else that a small call decides.
_AUTOCAST = {name: torch.amp.is_autocast_available(name) for name in ("cpu", "cuda", "meta")}


class Precision(NamedTuple):
    product: torch.dtype  # operands of the matrix products
    state: torch.dtype  # sums, states and element-wise maths
    output: torch.dtype


def precision(inputs: torch.Tensor) -> Precision:
    """The dtypes for an operation on ``inputs``.

    float32 and float64 are kept. float16 and bfloat16 are multiplied as they are, with sums,
    states and element-wise maths in float32. Under ``torch.autocast`` the products run in
    autocast's dtype, everything else and the outputs in float32; autocast leaves float64 alone.
    """
    dtype, device = inputs.dtype, inputs.device.type
    if dtype == torch.float64:
        return Precision(dtype, dtype, dtype)
    if autocast_enabled(device):
        return Precision(torch.get_autocast_dtype(device), torch.float32, torch.float32)
    return Precision(dtype, torch.float32, dtype)


def autocast_enabled(device: str) -> bool:
    """Whether torch.autocast is on for a type of device; not every type has it."""
    known = _AUTOCAST.get(device)
    there = torch.amp.is_autocast_available(device) if known is None else known
    return there and torch.is_autocast_enabled(device)


def without_autocast(like: Tensor) -> AbstractContextManager[None]:
    """Where ``like`` is, torch.autocast is off: dtypes were decided before. Entering it is slow,
    and mostly there is nothing to leave."""
    device = like.device.type
    if not autocast_enabled(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)


def widest(device: torch.device) -> torch.dtype:
    """For long sums: float64, but on Apple's GPUs, which have none."""
    return torch.float32 if device.type in WITHOUT_FLOAT64 else torch.float64


def exact(tensors: Sequence[Tensor | None], dtypes: Precision) -> list[Any]:
    """In the dtype of sums, in which a reference computes: autocast, which may have mixed dtypes,
    is left by then, and half precision would round. None stays None."""
    return [
        tensor.to(dtypes.state) if tensor is not None and tensor.is_floating_point() else tensor
        for tensor in tensors
    ]
