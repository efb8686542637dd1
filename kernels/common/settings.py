"""What the environment decides about the kernels: precision of float32 products, debugging."""

from __future__ import annotations

import os

import torch


def input_precision(weight: torch.Tensor) -> str:
    """float32 products follow torch's switch for TF32; half precision has nothing to choose."""
    tf32 = weight.is_cuda and torch.backends.cuda.matmul.fp32_precision == "tf32"
    return "tf32" if weight.dtype == torch.float32 and tf32 else "ieee"


def graphs_wanted() -> bool:
    """KERNELS_GRAPHS=1: loops of launches are replayed as CUDA graphs (``cuda_graphs.py``)."""
    return os.environ.get("KERNELS_GRAPHS", "0").lower() in ("1", "true", "on", "yes", "y")


def debug_spins() -> int:
    """KERNELS_DEBUG=1 bounds the wait at a barrier and looks at the outcome of each launch (slow);
    another number is the bound itself."""
    value = int(os.environ.get("KERNELS_DEBUG") or 0)
    return 1 << 22 if value == 1 else value
