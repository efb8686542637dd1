"""Products with weights that are laid out once and used many times, a few rows at a time.

The result of a row must not depend on the rows beside it: text generated alone and in a batch is
the same text. Products of one row and of many are different routines in most libraries, with other
orders of summation. So, on CPU: in bfloat16 oneDNN's prepacked product, which was found to give
each row the same bits from 1 to 100 rows; in float32 never fewer than two rows, from where on
the order of summation was found to stay, in PyTorch's own products on Intel processors and in
oneDNN's on AMD, where those of PyTorch change it at four rows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.common import products


class PackedLinear:
    """x W' (+ bias): x (N, K) float32 -> (N, M) float32, multiplied in ``dtype``."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.dtype, self.cpu = dtype, weight.device.type == "cpu"
        self.bias = None if bias is None else bias.detach().float()
        weight = weight.detach().to(dtype)
        onednn = _onednn_bf16() if dtype == torch.bfloat16 else products.library() == "onednn"
        self.prepacked = self.cpu and onednn
        if self.prepacked:
            self.weight = _pack(weight)
        elif self.cpu:
            self.weight = weight.t().contiguous()  # (K, M)
        else:
            self.weight = weight  # (M, K)

    def __getstate__(self) -> dict[str, object]:
        """Copies and pickles take the plain weight: oneDNN's layout cannot be read."""
        weight = self.weight.to_dense() if self.prepacked else self.weight
        return {**vars(self), "weight": weight}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        if self.prepacked:
            self.weight = _pack(self.weight)

    def __call__(self, x: Tensor) -> Tensor:
        product = self._multiply(x)
        if self.bias is not None:
            return torch.add(self.bias, product)  # in float32, whatever the product's dtype
        return product.float()

    def add_to(self, sums: Tensor, x: Tensor) -> Tensor:
        """sums (N, M) += x W', without the bias; -> sums"""
        return sums.add_(self._multiply(x))

    def _multiply(self, x: Tensor) -> Tensor:
        """(N, M) in ``dtype``"""
        x = x.to(self.dtype)
        if not self.cpu:
            return F.linear(x, self.weight)
        rows = x.shape[0]
        if rows == 1 and self.dtype == torch.float32:
            x = x.expand(2, -1)
        if self.prepacked:
            product = torch.ops.mkldnn._linear_pointwise(x, self.weight, None, "none", [], "")
        else:
            product = torch.mm(x, self.weight)
        return product[:rows]


def _pack(weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), 1)


def _onednn_bf16() -> bool:
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
