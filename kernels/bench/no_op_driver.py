"""A driver for Triton that compiles kernels and launches nothing.

It pretends to be an H100 and takes tensors on the CPU for those of a GPU. Python does all that it
does before a launch, so that this can be timed and tested without a GPU. Results are never
computed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.driver import GPUDriver

import kernels.backend

Launched = Callable[..., None]
_DEVICE = 1000  # no real one: Triton keeps compiled kernels and their launchers by device


class _Utilities:
    """What Triton asks of a card and of a binary."""

    def get_device_properties(self, device: int) -> dict[str, int]:
        return {"max_shared_mem": 232448, "multiprocessor_count": 132}

    def load_binary(self, name: str, kernel: bytes, shared: int, device: int) -> tuple[int, ...]:
        return 1, 1, 0, 0, 1024  # module, function, registers, spills, most threads


class NoOpDriver(GPUDriver):
    """``launched`` is called in the place of each launch, with the launcher's arguments: grid (3),
    stream, function, metadata (2), hooks (2), then the kernel's, constants included."""

    def __init__(self, launched: Launched) -> None:
        self.utils = _Utilities()
        self.launcher_cls = lambda source, metadata: launched

    def get_current_device(self) -> int:
        return _DEVICE

    def set_current_device(self, device: int) -> None:
        pass

    def get_current_stream(self, device: int = 0) -> int:
        return 0

    def get_device_capability(self, device: int = 0) -> tuple[int, int]:
        return 9, 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")

    def get_device_interface(self) -> Any:
        return torch.cuda

    @staticmethod
    def is_active() -> bool:
        return True

    def map_python_to_cpp_type(self, ty: str) -> str:
        return ty

    def get_benchmarker(self) -> Any:
        raise NotImplementedError("nothing runs: there is nothing to time")


@contextlib.contextmanager
def no_op_driver(launched: Launched) -> Iterator[None]:
    """Inside the ``with`` block the Triton backend takes tensors on the CPU and launches nothing.

    Raises RuntimeError where Triton's interpreter is on, which has no launcher.
    """
    if kernels.backend.interpreted():
        raise RuntimeError("found TRITON_INTERPRET=1; expected compiled kernels: unset it")
    drivers = triton.runtime.driver
    try:
        before = drivers.active
    except RuntimeError:  # no GPU
        before = None  # what the driver is before anyone asks for it
    drivers.set_active(NoOpDriver(launched))
    try:
        with mock.patch.object(kernels.backend, "_why_no_triton", lambda *_: None):
            yield
    finally:
        drivers.set_active(before)
