"""Matrix products on plain CPU tensors in float32, by the faster one of PyTorch's two libraries.

PyTorch's own float32 products go through its BLAS, which is MKL in its builds for x86. On AMD
processors with AVX-512 MKL runs at half of what the processor does; oneDNN, which every build for
x86 carries, runs at full speed there: 2.0 to 2.3 times MKL's at sizes of a training step, at the
same precision. Its products on plain tensors are ``torch.ops.mkldnn._linear_pointwise``, which
PyTorch's compiler uses, and which is private: where it is absent, all is PyTorch's own.

Which library is used follows from the processor and the size alone, never from a timing: a run that
is resumed on the same machine must come to the same bits. ``KERNELS_CPU_PRODUCTS`` ("onednn",
"blas", "auto") overrides the choice.

No gradients: these are for the inside of registered operators, forward and backward.
"""

from __future__ import annotations

import functools
import os

import torch
from torch import Tensor

from kernels.common.processor import is_amd

LIBRARIES = ("auto", "onednn", "blas")
_FILL = 64
_WORTH_IT = 1 << 20  # multiplications; below, oneDNN's start (10 us a call) costs what it saves


@functools.cache
def library() -> str:
    """The library of large float32 products on the CPU, "onednn" or "blas", for the whole process.

    Raises ValueError for an unknown name in ``KERNELS_CPU_PRODUCTS``, RuntimeError where it asks
    for oneDNN and this PyTorch lacks it.
    """
    asked = os.environ.get("KERNELS_CPU_PRODUCTS") or "auto"
    if asked not in LIBRARIES:
        raise ValueError(
            f"KERNELS_CPU_PRODUCTS: found {asked!r}; expected one of {', '.join(LIBRARIES)}"
        )
    there = _has_onednn()
    if asked == "onednn" and not there:
        raise RuntimeError(
            "KERNELS_CPU_PRODUCTS: found 'onednn', which this build of PyTorch lacks; use 'auto'"
        )
    if asked == "auto":
        faster = is_amd() and torch.backends.cpu.get_cpu_capability() == "AVX512"
        return "onednn" if there and faster else "blas"
    return asked


def product(x: Tensor, w: Tensor) -> Tensor:
    """x (M, K), w (K, N) -> x w (M, N), in new memory; transposed views are welcome."""
    if _by_onednn(x, w):
        return _onednn(x, w.t(), None)
    return torch.mm(x, w)


def product_into(out: Tensor, x: Tensor, w: Tensor) -> Tensor:
    """``product`` in ``out`` (M, N), which is returned."""
    if _by_onednn(x, w):  # which has no ``out``; the copy takes a twentieth of the product's time
        return out.copy_(_onednn(x, w.t(), None))
    return torch.mm(x, w, out=out)


def add_product(sums: Tensor, x: Tensor, w: Tensor) -> Tensor:
    """sums (M, N) += x w, in place."""
    if _by_onednn(x, w):
        return sums.add_(_onednn(x, w.t(), None))
    return sums.addmm_(x, w)


def products_into(out: Tensor, x: Tensor, w: Tensor) -> Tensor:
    """``product_into`` for each of D matrices: out (D, M, N), x (D, M, K), w (D, K, N)."""
    if x.size(0) == 1 or _by_onednn(x, w):
        for d, rows in enumerate(x):
            product_into(out[d], rows, w[d])
        return out
    return torch.bmm(x, w, out=out)


def add_products(sums: Tensor, x: Tensor, w: Tensor) -> Tensor:
    """``add_product`` for each of D matrices."""
    if x.size(0) == 1 or _by_onednn(x, w):
        for d, rows in enumerate(x):
            add_product(sums[d], rows, w[d])
        return sums
    return sums.baddbmm_(x, w)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (M, K), weight (N, K), bias (N,) -> x weight' + bias (M, N)"""
    ours = _by_onednn(x, weight.t())
    call = _onednn if ours else torch.nn.functional.linear
    halves = x.dtype == torch.bfloat16 and x.device.type == "cpu"  # by oneDNN, too
    if not (ours or halves) or not torch.is_inference_mode_enabled():
        return call(x, weight, bias)
    # oneDNN and PyTorch keep a kernel for each number of rows, which is the number of tokens of a
    # batch: a long file would meet thousands. So rows of zeros are added up to a multiple of 64.
    rows, filled = len(x), -(-len(x) // _FILL) * _FILL
    if filled == rows or rows < _FILL:
        return call(x, weight, bias)
    full = x.new_zeros(filled, x.size(1))
    full[:rows] = x
    return call(full, weight, bias)[:rows]


def _by_onednn(x: Tensor, w: Tensor) -> bool:
    """Matrices, or stacks of them."""
    rows = x.size(-2)
    return (
        x.dtype == torch.float32
        and rows * w.numel() >= _WORTH_IT * (1 if w.dim() == 2 else len(w))
        and rows > 1
        and x.device.type == "cpu"
        and library() == "onednn"
        and bool(torch.backends.mkldnn.enabled)
    )


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if not (weight.is_contiguous() or weight.t().is_contiguous()):
        weight = weight.contiguous()  # a slice has no fast kernel: a thousand times as slow
    return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")


def _has_onednn() -> bool:
    if not torch.backends.mkldnn.is_available():
        return False
    found = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    return found is not None and "default" in found.overloads()
