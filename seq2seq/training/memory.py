"""Keeping freed memory: on CPU, fresh pages cost more than the arithmetic done on them."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def keep_freed_memory() -> bool:
    """Have glibc keep what tensors free instead of giving it back to the system.

    By default every tensor above 32 MB is mapped anew, page by page, each time: training on CPU
    was a tenth to a fifth slower. The price is that a process holds on to its peak. For the
    whole process; False where the C library is not glibc, and nothing was done.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, 1 << 30) and mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1))
