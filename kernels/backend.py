"""Which implementation of an operation runs.

Every operation has twin backends: ``reference`` (plain PyTorch with autograd, any dtype) and
``torch`` (fast on CPU, and wherever no Triton kernel exists). The choice is made, innermost
first, by ``use_backend``, by the environment variable ``KERNELS_BACKEND``, by ``auto``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from contextvars import ContextVar

import torch

BACKENDS = ("auto", "torch", "triton", "reference")

# A context variable: a choice made in one thread or asyncio task is not seen by another.
_chosen: ContextVar[str | None] = ContextVar("kernels_backend", default=None)


@contextlib.contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Inside the ``with`` block, run every operation of this package on the named backend.

    ``auto`` picks the fastest one for the tensors at hand. Blocks nest; a backward pass uses
    the backend its forward pass ran on.

    Raises ValueError for an unknown name, at once. A backend that cannot run the operation at
    hand raises RuntimeError when the operation is called, never a silent change.
    """
    token = _chosen.set(_checked(name, "use_backend"))
    try:
        yield
    finally:
        _chosen.reset(token)


def resolve(operation: str, *tensors: torch.Tensor | None) -> str:
    """The backend that runs ``operation`` on ``tensors``: "torch" or "reference".

    Raises ValueError when ``KERNELS_BACKEND`` holds an unknown name, RuntimeError when the
    chosen backend cannot run this operation.
    """
    name = _chosen.get()
    if name is None:
        name = _checked(os.environ.get("KERNELS_BACKEND") or "auto", "KERNELS_BACKEND")
    if name == "triton":
        raise RuntimeError(f"{operation}: {_why_no_triton(tensors)}; use 'auto' or 'torch'")
    return "torch" if name == "auto" else name


def _why_no_triton(tensors: tuple[torch.Tensor | None, ...]) -> str:
    if importlib.util.find_spec("triton") is None:
        return "backend 'triton' was asked for, but the package triton is not installed"
    devices = sorted({t.device.type for t in tensors if t is not None})
    if "cuda" not in devices:
        found = ", ".join(devices) or "no tensor"
        return f"backend 'triton' was asked for and needs CUDA tensors, found {found}"
    return "this operation has no 'triton' backend yet"


def _checked(name: str, where: str) -> str:
    if name not in BACKENDS:
        raise ValueError(
            f"{where}: unknown backend {name!r}; expected one of {', '.join(BACKENDS)}"
        )
    return name
