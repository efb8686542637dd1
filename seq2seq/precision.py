"""The device that a model runs on, and the precision of its products there."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Literal

import torch

from seq2seq.errors import UsageError

Precision = Literal["fp32", "bf16"]
AutoPrecision = Literal["auto", "fp32", "bf16"]  # auto: bf16 where the device has it in hardware


def device_named(name: str) -> torch.device:
    """ "auto" is a GPU if there is one. Raises UsageError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"device is {name!r}; expected auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device is {name!r}; expected auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device {name}: not there (CUDA devices found: {torch.cuda.device_count()}); "
            "use device auto or cpu"
        )
    return device


def check_precision(precision: object, choices: tuple[str, ...] = ("fp32", "bf16")) -> None:
    """Raises UsageError for what is none of ``choices``."""
    if precision not in choices:
        *first, last = map(repr, choices)
        raise UsageError(f"precision is {precision!r}; expected {', '.join(first)} or {last}")


def resolve_precision(precision: str, device: torch.device) -> Precision:
    """ "auto" -> "bf16" where the device multiplies bf16 in hardware, else "fp32"."""
    if precision != "auto":
        return "bf16" if precision == "bf16" else "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp32"
    return "bf16" if _cpu_has_bf16() else "fp32"


def products(
    device: torch.device, precision: str, cache: bool = True
) -> contextlib.AbstractContextManager[object]:
    """Products inside are in ``precision``, "fp32" or "bf16". ``cache``: half-precision copies of
    the weights are kept, which is wrong where the weights change meanwhile."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=cache)
    return contextlib.nullcontext()


def _cpu_has_bf16() -> bool:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "").split()
    return "amx_bf16" in flags or "avx512_bf16" in flags
