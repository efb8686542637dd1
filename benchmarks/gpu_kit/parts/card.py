"""Whether this process can still use the card, and what to do if it cannot.

After an illegal address or an assert on the device, every later call of CUDA in the process fails:
what follows would look wrong without being so. Only another process can go on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import torch

from benchmarks.gpu_kit.records import Record, attempt, say

Case = tuple[str, str, Callable[[], Record]]  # table, name, what to measure
FROM, BAD = "GPU_KIT_FROM", "GPU_KIT_BAD"  # which case is next; whether one before it failed


def why_unusable() -> str:
    """What keeps this process from using the card; "" if nothing does."""
    if not torch.cuda.is_available():
        return ""
    try:
        torch.cuda.synchronize()
    except Exception as problem:
        return (str(problem).splitlines() or [type(problem).__name__])[0][:120]
    return ""


def attempt_all(cases: list[Case]) -> bool:
    """Attempts one after the other; -> whether all succeeded.

    Where one leaves the card unusable, this program starts again in the same process id, at the
    case after it, and says so.
    """
    good = os.environ.get(BAD) != "1"
    for number in range(int(os.environ.get(FROM, "0")), len(cases)):
        table, name, measure = cases[number]
        if attempt(table, name, measure):
            continue
        good = False
        why = why_unusable()
        if why:
            say("card unusable", name=name, table_of_case=table, why=why, then="a fresh process")
            _again(number + 1)
    return good


def _again(number: int) -> None:
    """This program anew. The driver's files are closed, and with them what it held of the card."""
    os.environ |= {FROM: str(number), BAD: "1"}
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
