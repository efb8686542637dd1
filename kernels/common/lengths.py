"""Checks of the lengths of ragged sequences."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.common.capture import capturing


def check_lengths(lengths: Tensor, batch: int, steps: int) -> None:
    """(B,) integers from 0 to T; raises ValueError otherwise."""
    check_lengths_form(lengths, batch)
    if not torch.compiler.is_compiling():  # values are seen when the compiled graph runs
        check_length_values(lengths, batch, steps)


def check_lengths_form(lengths: Tensor, batch: int) -> None:
    """(B,) integers of any value; raises ValueError otherwise."""
    if not isinstance(lengths, Tensor):
        raise ValueError(f"lengths: found {type(lengths).__name__}; expected a tensor ({batch},)")
    if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool:
        raise ValueError(f"lengths: found dtype {lengths.dtype}; expected an integer dtype")
    if lengths.shape != (batch,):
        raise ValueError(f"lengths: found shape {tuple(lengths.shape)}; expected ({batch},)")


def check_length_values(lengths: Tensor, batch: int, steps: int) -> None:
    """From 0 to T; raises ValueError otherwise. While a CUDA graph is captured, lengths on the GPU
    cannot be seen: values outside count as the nearest inside."""
    if not batch or capturing(lengths.device):
        return
    low, high = lengths.to("cpu").aminmax()
    if low < 0 or high > steps:
        raise ValueError(
            f"lengths: found values from {int(low)} to {int(high)}; expected 0 to T = {steps}"
        )
