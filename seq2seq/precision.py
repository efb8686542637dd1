"""The device that a model runs on, and the precision of its products there."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Literal

import torch

from seq2seq.errors import UsageError

Precision = Literal["fp32", "bf16"]
DecodingPrecision = Literal["fp32", "bf16", "int8"]  # int8: of translation, on a CPU
AutoPrecision = Literal["auto", "fp32", "bf16"]  # auto: bf16 where the device has it in hardware


DEVICES = "auto, cpu, cuda, cuda:N, mps or xpu"


def device_named(name: str) -> torch.device:
    """ "auto" is a GPU if there is one, of any maker. Raises UsageError for a device that is not
    there."""
    there = torch.accelerator.current_accelerator(check_available=True)
    if name == "auto":
        return there or torch.device("cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):  # such as None
        raise UsageError(f"device is {name!r}; expected {DEVICES}") from None
    if device.type == "cpu":
        return device
    if device.type not in ("cuda", "mps", "xpu"):
        raise UsageError(f"device is {name!r}; expected {DEVICES}")
    count = 0
    if there is not None and there.type == device.type:
        count = torch.accelerator.device_count()
    if (device.index or 0) >= count:
        raise UsageError(
            f"device {name}: not there ({device.type} devices found: {count}); use device auto or "
            "cpu"
        )
    return device


def check_precision(precision: object, choices: tuple[str, ...] = ("fp32", "bf16")) -> None:
    """Raises UsageError for what is none of ``choices``."""
    if precision not in choices:
        *first, last = map(repr, choices)
        raise UsageError(f"precision is {precision!r}; expected {', '.join(first)} or {last}")


def resolve_precision(precision: str, device: torch.device) -> Precision:
    """ "auto" -> "bf16" where the device multiplies bf16 in hardware, else "fp32". Raises
    UsageError for what is none of the three."""
    check_precision(precision, ("auto", "fp32", "bf16"))
    if precision != "auto":
        return "bf16" if precision == "bf16" else "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp32"
    if device.type != "cpu":
        return "fp32"
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
