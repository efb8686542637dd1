"""Which precision the products run in on the device at hand."""

from __future__ import annotations

from pathlib import Path

import torch


def resolve_precision(precision: str, device: torch.device) -> str:
    """ "auto" -> "bf16" where the device multiplies bf16 in hardware, else "fp32"."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp32"
    return "bf16" if _cpu_has_bf16() else "fp32"


def _cpu_has_bf16() -> bool:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "").split()
    return "amx_bf16" in flags or "avx512_bf16" in flags
