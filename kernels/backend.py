"""Which implementation of an operation runs.

Every operation has twin backends: ``reference`` (plain PyTorch with autograd, any dtype) and
``torch`` (fast on CPU, and wherever no Triton kernel exists); recurrences have ``triton``, too
(NVIDIA GPUs). The choice is made, innermost first, by ``use_backend``, by the environment
variable ``KERNELS_BACKEND``, by ``auto``.
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


def resolve(operation: str, *tensors: torch.Tensor | None, triton: bool = False) -> str:
    """The backend that runs ``operation`` on ``tensors``: "torch", "triton" or "reference".

    triton: whether the operation has a Triton kernel for what is asked; ``auto`` then takes it
    for CUDA tensors. Raises ValueError when ``KERNELS_BACKEND`` holds an unknown name,
    RuntimeError when the chosen backend cannot run this operation.
    """
    name = _chosen.get()
    if name is None:
        name = _checked(os.environ.get("KERNELS_BACKEND") or "auto", "KERNELS_BACKEND")
    if name not in ("auto", "triton"):
        return name
    why_not = _why_no_triton(tensors, triton)
    if name == "triton" and why_not is not None:
        raise RuntimeError(f"{operation}: {why_not}; use 'auto' or 'torch'")
    if why_not is None and (name == "triton" or not interpreted()):
        return "triton"
    return "torch"


def interpreted() -> bool:
    """Whether Triton kernels run on the CPU, in Triton's interpreter (slow: for tests)."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes", "y")


def _why_no_triton(tensors: tuple[torch.Tensor | None, ...], offered: bool) -> str | None:
    """What stands against the Triton backend; None: nothing."""
    if importlib.util.find_spec("triton") is None:
        return "backend 'triton' was asked for, but the package triton is not installed"
    found = [t for t in tensors if t is not None]
    devices = sorted({t.device.type for t in found})
    if devices != ["cuda"] and not interpreted():
        found_on = ", ".join(devices) or "no tensor"
        return f"backend 'triton' was asked for and needs CUDA tensors, found {found_on}"
    if not offered:
        return "there is no 'triton' kernel for this operation"
    if any(t.dtype == torch.float64 for t in found):
        return "the 'triton' backend has no float64"
    if devices == ["cuda"]:
        major, minor = torch.cuda.get_device_capability(found[0].device)
        if major < 8:
            return f"the 'triton' backend needs compute capability 8.0, found {major}.{minor}"
    return None


def _checked(name: str, where: str) -> str:
    if name not in BACKENDS:
        raise ValueError(
            f"{where}: unknown backend {name!r}; expected one of {', '.join(BACKENDS)}"
        )
    return name
