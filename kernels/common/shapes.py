"""Sizes in fake implementations, which have the shapes of tensors alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensor


def unknown_size(like: Tensor, most: int | torch.SymInt) -> int | torch.SymInt:
    """A size that the values of the arguments decide: a symbol where torch.compile traces with
    ``like``; elsewhere (the meta device, a fake tensor without symbols) ``most``."""
    if not isinstance(like, FakeTensor):
        return most
    try:
        return torch.library.get_ctx().new_dynamic_size()
    except DynamicOutputShapeException:
        return most
