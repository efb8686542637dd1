"""What every launch of a Triton kernel needs. Imports no triton."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def on_device(device: torch.device) -> AbstractContextManager[None]:
    """Triton launches on the current device, which need not be the tensors'."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def pointer(tensor: Tensor | None, other: Tensor) -> Tensor:
    """A kernel's pointer must point somewhere; flags keep it from being followed."""
    return other if tensor is None else tensor
