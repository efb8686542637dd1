"""Runs a module as the kit needs it: ``python -m benchmarks.gpu_kit.start MODULE ARGUMENTS``.

Where the kit was filled beforehand, Triton takes the carried key, should its own differ. With
GPU_KIT_PRETEND=1 the process pretends to have a card (pretend.py).
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import traceback

from benchmarks.gpu_kit.places import ABOUT, CACHE

CRASHED = 70  # the exit status of a program's own failure; 1 is that of checks that fail


def prepare() -> None:
    """What every process of the kit does before it imports a kernel."""
    if os.environ.get("GPU_KIT_PRETEND") == "1":
        from benchmarks.gpu_kit.pretend import pretend

        pretend()
    if ABOUT.exists() and os.environ.get("TRITON_CACHE_DIR") == str(CACHE):
        _take_key()


def _take_key() -> None:
    """Two builds of one Triton version give the same code, but not the same key."""
    import triton
    from triton.runtime import cache

    about = json.loads(ABOUT.read_text(encoding="utf-8"))
    if triton.__version__ == about["triton"] and hasattr(cache, "triton_key"):
        plain = getattr(cache.triton_key, "plain", cache.triton_key)
        cache.triton_key = lambda: about["key"]
        cache.triton_key.plain = plain


def main() -> None:
    module, sys.argv = sys.argv[1], sys.argv[1:]
    try:
        prepare()
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except Exception:
        traceback.print_exc()
        sys.exit(CRASHED)


if __name__ == "__main__":
    main()
