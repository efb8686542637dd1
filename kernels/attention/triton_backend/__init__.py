"""Attention as Triton kernels: one forward, two backward, over blocks of sources and queries."""

from kernels.attention.triton_backend.launch import backward, forward

__all__ = ["backward", "forward"]
