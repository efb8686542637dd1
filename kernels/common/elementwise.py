"""tanh on a CPU, where PyTorch's own takes ten times as long as its sigmoid (2 ns an element)."""

from __future__ import annotations

import torch
from torch import Tensor

_WORTH_IT = 1 << 14  # elements; below, the way to oneDNN and back (20 us) costs what it saves


def tanh(x: Tensor, out: Tensor, rough: bool = False, fixed: bool = False) -> Tensor:
    """tanh(x) in ``out``, which may be x itself, and is returned. Both of one shape and dtype.

    On a CPU in float32, of many elements, by oneDNN: within 1e-7 of the result's own size, as
    PyTorch's is. rough: within 2e-7, whatever its size, as 2 sigmoid(2x) - 1, in half of oneDNN's
    time: for what a product rounds to half precision next. fixed: the rough way, however many
    elements there are: what is rounded to 8 bits next must not differ with the size of a batch.
    """
    if fixed:
        return torch.add(x, x, out=out).sigmoid_().mul_(2).sub_(1)
    if x.numel() < _WORTH_IT // 8 or x.dtype != torch.float32 or x.device.type != "cpu":
        return torch.tanh(x, out=out)
    if rough:
        return torch.add(x, x, out=out).sigmoid_().mul_(2).sub_(1)
    if x.numel() < _WORTH_IT or not _has_onednn():
        return torch.tanh(x, out=out)
    return out.copy_(x.to_mkldnn().tanh_().to_dense())


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and bool(torch.backends.mkldnn.enabled)
