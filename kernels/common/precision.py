"""In which dtypes an operation multiplies and in which it keeps its state."""

from __future__ import annotations

from typing import NamedTuple

import torch


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
    if torch.is_autocast_enabled(device):
        return Precision(torch.get_autocast_dtype(device), torch.float32, torch.float32)
    return Precision(dtype, torch.float32, dtype)
