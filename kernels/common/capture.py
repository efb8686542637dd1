"""CUDA graphs: whether one is being captured, and numbers for the device without a copy.

While a stream is captured nothing may wait for the device, and a copy from memory of the CPU would
read that memory again at every replay. The arguments of kernels are a part of the graph.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def capturing(device: torch.device) -> bool:
    """Whether the current stream records a CUDA graph instead of running."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def filled(numbers: Sequence[int], device: torch.device) -> Tensor:
    """(len(numbers),) int64 on ``device``, written by kernels whose arguments the numbers are."""
    tensor = torch.zeros(len(numbers), dtype=torch.int64, device=device)
    if len(numbers):
        torch._foreach_add_(list(tensor.unbind()), [int(number) for number in numbers])
    return tensor
