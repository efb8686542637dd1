"""Linear layers of the networks: products by the faster library of the processor, and the same bits
for a row wherever it stands."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels.common import products

_ALIGNED = 16  # float32 numbers in 64 bytes


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """``layer(x)``; see ``aligned_linear``."""
    return aligned_linear(x, layer.weight, layer.bias)


def aligned_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (..., K), weight (N, K), bias (N) -> (..., N)

    MKL's products with few columns sum a row in an order that follows from its place in memory, so
    on a CPU rows are filled up with zeros to a multiple of 64 bytes. Float32 products there are
    those of ``kernels.common.products``.
    """
    if x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return F.linear(x, weight, bias)
    lacking = -x.shape[-1] % _ALIGNED
    if lacking:
        x, weight = F.pad(x, (0, lacking)), F.pad(weight, (0, lacking))
    if x.dtype != torch.float32:
        return F.linear(x, weight, bias)
    rows = x.reshape(-1, x.shape[-1]).contiguous()
    found: Tensor = _Linear.apply(rows, weight.contiguous(), bias)
    return found.view(*x.shape[:-1], len(weight))


class _Linear(torch.autograd.Function):
    """x (M, K), weight (N, K), bias (N) or None -> (M, N)"""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return products.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        (found,) = gradients
        found = found.contiguous()
        needed = ctx.needs_input_grad
        return (
            products.product(found, weight) if needed[0] else None,
            products.product(found.t(), x) if needed[1] else None,
            found.sum(0) if needed[2] else None,
        )
