"""Which processor this is."""

from __future__ import annotations

import functools
import platform
from pathlib import Path


@functools.cache
def described(field: str) -> str:
    """A field of the first core in /proc/cpuinfo, such as "model name"; "" where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    found = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in found if name.strip() == field), "")


def name() -> str:
    return described("model name") or platform.processor() or platform.machine()


def is_amd() -> bool:
    return "AuthenticAMD" in (described("vendor_id") or platform.processor())
