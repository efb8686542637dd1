"""Which implementation of an operation runs.

Every operation has the backends ``reference`` (plain PyTorch with autograd, any dtype) and
``torch`` (fast on a CPU, and wherever no Triton kernel exists). Recurrences, attention, the
attention decoder and the vocabulary loss also have ``triton`` (NVIDIA GPUs). The innermost
``use_backend`` decides; without one, the environment variable ``KERNELS_BACKEND``; without that,
``auto``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from contextvars import ContextVar
from functools import lru_cache

import torch

from kernels import automatic
from kernels.common.compiling import constant_result
from kernels.common.precision import precision

BACKENDS = ("auto", "torch", "triton", "reference")

# A context variable: a choice made in one thread or asyncio task is not seen by another.
_chosen: ContextVar[str | None] = ContextVar("kernels_backend", default=None)
# The last choice again, as a plain global: torch.compile cannot read a context variable, but it
# compiles again when a global that it has read changes.
_seen_by_compile: str | None = None


@contextlib.contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Inside the ``with`` block, run every operation of this package on the named backend.

    ``auto`` picks ``triton`` on a GPU for what was measured right and faster there
    (kernels/automatic.py), else ``torch``. Blocks nest; a backward pass uses
    the backend its forward pass ran on.

    Entering the block raises ValueError for an unknown name. If the backend cannot run an
    operation, calling the operation raises RuntimeError; another backend never takes its place
    silently.
    """
    global _seen_by_compile
    token = _chosen.set(_checked(name, "use_backend"))
    _seen_by_compile = name
    try:
        yield
    finally:
        _chosen.reset(token)
        _seen_by_compile = _chosen.get()


def asked_backend() -> str:
    """The backend that ``use_backend`` or ``KERNELS_BACKEND`` asks for here, else "auto"."""
    name = _chosen.get()
    if name is None:
        name = _checked(os.environ.get("KERNELS_BACKEND") or "auto", "KERNELS_BACKEND")
    return name


def resolve(
    operation: str,
    *tensors: torch.Tensor | None,
    triton: bool = False,
    kind: str = "",
    size: int = 0,
    product: torch.dtype | None = None,
    decided: str | None = None,
) -> str:
    """The backend that runs ``operation`` on ``tensors``: "torch", "triton" or "reference".

    triton: whether the operation has a Triton kernel for what is asked.
    kind, size, product: what ``auto`` looks up in the table of measurements: kind of cell ("" where
        there is none), hidden size, and dtype of the products (None: that of the first tensor,
        autocast's under autocast). Without a size ``auto`` is "torch".
    decided: what ``auto`` means here, where it has decided before.

    Raises ValueError when ``KERNELS_BACKEND`` holds an unknown name, RuntimeError when the chosen
    backend cannot run this operation, or under ``torch.jit.trace``.
    """
    found = [t for t in tensors if t is not None]
    devices = ", ".join(sorted(map(str, {t.device for t in found})))
    double = any(t.dtype == torch.float64 for t in found)
    asked = ("", "", 0)
    if size and triton and not double and devices.startswith("cuda"):
        # int: under torch.compile the choice holds for this size alone
        asked = (
            kind,
            str(product or precision(found[0]).product).removeprefix("torch."),
            int(size),
        )
    name = _decide(operation, devices, double, triton, decided, *asked, _seen_by_compile)
    if name != "reference" and torch.jit.is_tracing():
        raise RuntimeError(
            f"{operation}: torch.jit.trace cannot record this operator; use torch.export.export "
            "(whose programs torch._inductor.aoti_compile_and_package compiles) or "
            "torch.onnx.export(dynamo=True), or trace inside kernels.use_backend('reference'), "
            "which writes the steps of one fixed length"
        )
    return name


def without_kernels() -> bool:
    """Whether the torch backend runs what lies on a CPU: by ``auto`` or by its name."""
    name = _chosen.get() or os.environ.get("KERNELS_BACKEND") or "auto"
    return name in ("auto", "torch")


@constant_result
def _decide(
    operation: str,
    devices: str,
    double: bool,
    offered: bool,
    decided: str | None,
    kind: str,
    dtype: str,
    size: int,
    seen: str | None,
) -> str:
    """The name of the backend. ``seen`` is an argument for torch.compile, which does not trace into
    this function, so that it compiles again when ``seen`` changes. size 0: do not look it up."""
    name = asked_backend()
    if name == "auto":
        if decided is not None:
            return decided
        one = size and ", " not in devices
        faster = one and automatic.prefers_triton(operation, kind, dtype, size, devices)
        return "triton" if faster else "torch"
    why_not = _why_no_triton(devices, double, offered) if name == "triton" else None
    if why_not is not None:
        raise RuntimeError(f"{operation}: {why_not}; use 'auto' or 'torch'")
    return name


def interpreted() -> bool:
    """Whether Triton kernels run on the CPU, in Triton's interpreter (slow: for tests)."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes", "y")


def _why_no_triton(devices: str, double: bool, offered: bool) -> str | None:
    """What stands against the Triton backend; None: nothing."""
    if importlib.util.find_spec("triton") is None:
        return "backend 'triton' was asked for, but the package triton is not installed"
    on_cuda = devices.startswith("cuda") and ", " not in devices
    if not on_cuda and not interpreted():
        found = devices or "no tensor"
        return f"backend 'triton' was asked for and needs CUDA tensors, found {found}"
    if not offered:
        return "there is no 'triton' kernel for this operation"
    if double:
        return "the 'triton' backend has no float64"
    if on_cuda:
        major, minor = _capability(devices)
        if major < 8:
            return f"the 'triton' backend needs compute capability 8.0, found {major}.{minor}"
    return None


@lru_cache
def _capability(device: str) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


def _checked(name: str, where: str) -> str:
    if name not in BACKENDS:
        raise ValueError(
            f"{where}: unknown backend {name!r}; expected one of {', '.join(BACKENDS)}"
        )
    return name
