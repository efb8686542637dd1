"""A linear map whose weight is laid out once for many calls.

A decoding step multiplies a few hundred rows with weights of megabytes. Casting the weights to
bfloat16, and copying them into the order in which the processor wants them, would cost each step
as much as the products; the bias costs another pass over the results. oneDNN takes weights that
were packed before and adds the bias itself. PyTorch has this for its compiler, in
``torch.ops.mkldnn``; its public linear packs anew at each call.

For the dtype int8 the weight is quantised (``quantised.py``), and so are the rows in each call.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.common.quantised import (
    QuantisedLinear,
    QuantisedRows,
    pack_rows,
    quantise_linear,
    quantised_linear,
)

_ROWS = 16


class PreparedLinear(NamedTuple):
    """Made by ``prepare_linear``; later changes of the parameters do not reach it."""

    weight: Tensor  # (O, I); packed: an opaque tensor of oneDNN's, of the same shape and dtype
    bias: Tensor | None  # (O,)
    packed: bool
    scales: Tensor | None = None  # (O,) of a weight in int8

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the products, of ``prepared_linear``'s input and, but for int8, of its
        result."""
        return self.weight.dtype

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """Copies and pickles take the plain weight, and pack it anew: oneDNN's layout is that of
        one processor, and cannot be read. Raises TypeError for int8."""
        if self.scales is not None:
            raise TypeError("a linear map in int8 cannot be copied; prepare it anew")
        weight = self.weight.to_dense() if self.packed else self.weight
        return prepare_linear, (weight, self.bias, self.dtype)


def prepare_linear(weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> PreparedLinear:
    """weight (O, I) and bias (O,) for products in ``dtype``: packed for float32 and bfloat16 on
    a CPU where oneDNN has them, else cast; quantised for int8, where RuntimeError says what is
    missing on a machine without."""
    if dtype == torch.int8:
        quantised = quantise_linear(weight.detach())
        bias = None if bias is None else bias.detach().float()
        return PreparedLinear(quantised.weight, bias, True, quantised.scales)
    weight = weight.detach().to(dtype)
    bias = None if bias is None else bias.detach().to(dtype)
    packed = weight.device.type == "cpu" and weight.numel() > 0 and _packs(dtype)
    if packed:
        weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())
    return PreparedLinear(weight, bias, packed)


def prepare_rows(rows: QuantisedRows, bias: Tensor | None) -> PreparedLinear:
    """``prepare_linear`` in int8 for a weight (O, I) that is quantised already; bias (O,)."""
    quantised = pack_rows(rows)
    return PreparedLinear(quantised.weight, bias, True, quantised.scales)


def prepared_linear(x: Tensor, linear: PreparedLinear) -> Tensor:
    """x (N, I), cast to the dtype of ``linear`` -> x weight^T + bias (N, O) in that dtype (int8:
    in float32). No gradients."""
    x = x.detach()
    if not linear.packed:
        return F.linear(x.to(linear.dtype), linear.weight, linear.bias)
    # oneDNN makes a kernel for each new number of rows, in up to 3 ms, and keeps some hundred:
    # numbers above 16 are filled up to the next multiple of 16, of which there are fewer.
    rows, dtype = len(x), linear.dtype if linear.scales is None else torch.float32
    filled = rows if rows <= _ROWS else -(-rows // _ROWS) * _ROWS
    if filled == rows:
        x = x.to(dtype)
    else:
        x, given = x.new_empty(filled, x.shape[1], dtype=dtype), x
        x[:rows] = given
        x[rows:] = 0
    if linear.scales is not None:
        quantised = QuantisedLinear(linear.weight, linear.scales)
        return quantised_linear(x, quantised, linear.bias)[:rows]
    no_activation: tuple[str, list[float], str] = ("none", [], "")
    y = torch.ops.mkldnn._linear_pointwise(x, linear.weight, linear.bias, *no_activation)
    return y[:rows]


def _packs(dtype: torch.dtype) -> bool:
    if not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return dtype == torch.float32
