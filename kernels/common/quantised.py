"""Products in 8-bit whole numbers on a CPU, for decoding: x W' with W and x quantised.

    W ~ diag(w) Q_W,   x ~ diag(s) Q_x,   x W' ~ diag(s) (Q_x Q_W') diag(w)

Both are symmetric: a scale for each row of W, found once, and one for each row of x, found in each
call (dynamic quantisation), the largest size in the row over 127. The sums of products are exact,
so a row of the result depends on its own row of x alone.

oneDNN multiplies them, at twice the rate of bfloat16, by the operators that PyTorch's compiler uses
for quantised models (``torch.ops.onednn.qlinear_*``; ``torch.ao.quantization`` is deprecated). They
want x as unsigned bytes with 128 as zero; signed ones take some thousand times as long.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from kernels.common.processor import described

_FLAGS = ("avx512_vnni", "avx_vnni", "amx_int8")  # 8-bit products that sum in 32 bits


def why_no_int8() -> str | None:
    """Why this machine or build of PyTorch has no 8-bit products; None where it has them."""
    flags = described("flags").split()
    if not any(flag in flags for flag in _FLAGS):
        return f"the processor has none of {', '.join(_FLAGS)}"
    if not torch.backends.mkldnn.is_available():
        return "this build of PyTorch has no oneDNN"
    operators = torch.ops.onednn
    if not (hasattr(operators, "qlinear_prepack") and hasattr(operators, "qlinear_pointwise")):
        return "this build of PyTorch lacks the operators onednn::qlinear_*"
    return None if _exact() else "oneDNN's 8-bit products are wrong here"


@functools.cache
def _exact() -> bool:
    """Whether the largest products are summed without overflow, which older processors do not."""
    weight = QuantisedLinear(_packed(torch.full((32, 64), 127, dtype=torch.int8)), torch.ones(32))
    sums = _product(torch.full((16, 64), 255, dtype=torch.uint8), weight)
    return bool((sums == 127 * 127 * 64).all())


class QuantisedLinear(NamedTuple):
    """Made by ``quantise_linear``."""

    weight: Tensor  # (O, I) int8, in oneDNN's own layout
    scales: Tensor  # (O,)


class QuantisedRows(NamedTuple):
    """A table of rows: int8 (V, E), and the scale of each (V, 1)."""

    weight: Tensor
    scales: Tensor

    def take(self, rows: Tensor) -> Tensor:
        """rows (N,) -> (N, E)"""
        return self.weight.index_select(0, rows) * self.scales.index_select(0, rows)

    def select(self, rows: Tensor) -> QuantisedRows:
        """The table of these rows (N,)."""
        return QuantisedRows(self.weight.index_select(0, rows), self.scales.index_select(0, rows))


def quantise_rows(weight: Tensor) -> QuantisedRows:
    weight = weight.detach().float()
    scales = weight.abs().amax(1, keepdim=True).clamp_(min=_SMALLEST) / 127  # (V, 1)
    return QuantisedRows((weight / scales).round_().to(torch.int8), scales)


def quantise_linear(weight: Tensor) -> QuantisedLinear:
    """weight (O, I), on the CPU. Raises RuntimeError where there are no 8-bit products."""
    if weight.device.type != "cpu":
        raise RuntimeError(f"int8 products are for the CPU; the weight is on {weight.device}")
    if reason := why_no_int8():
        raise RuntimeError(f"no int8 products: {reason}; use float32 or bfloat16")
    return pack_rows(quantise_rows(weight))


def pack_rows(rows: QuantisedRows) -> QuantisedLinear:
    """The linear map whose weight (O, I) these rows are, on a machine with 8-bit products."""
    return QuantisedLinear(_packed(rows.weight), rows.scales.flatten())


def quantised_linear(x: Tensor, linear: QuantisedLinear, bias: Tensor | None) -> Tensor:
    """x (N, I), bias (O,) -> x weight' + bias (N, O) in float32. NaN and inf in a row of x make
    NaN of its row in the result."""
    x = x.float()
    scratch = x.abs()  # (N, I); used again, since new memory costs more than the arithmetic
    scale = scratch.amax(1, keepdim=True).clamp_(min=_SMALLEST).div_(127)  # (N, 1)
    whole = torch.div(x, scale, out=scratch).add_(128.5).to(torch.uint8)  # rounded
    sums = _product(whole, linear)
    if bias is None:
        return sums.mul_(scale)
    return torch.addcmul(bias, sums, scale, out=sums)


_SMALLEST = 1e-30  # a row of zeros


def _packed(weight: Tensor) -> Tensor:
    return torch.ops.onednn.qlinear_prepack(weight.contiguous(), None)


def _product(whole: Tensor, linear: QuantisedLinear) -> Tensor:
    """whole (N, I) uint8 -> (N, O) float32, with the weight's scales."""
    zeros = torch.zeros(len(linear.scales), dtype=torch.int64)
    return torch.ops.onednn.qlinear_pointwise(
        whole, 1.0, 128, linear.weight, linear.scales, zeros, None, 1.0, 0, torch.float32,
        "none", [], "",
    )  # fmt: skip
