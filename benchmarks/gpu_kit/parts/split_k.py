"""Split K over the warps against not, if the library has a switch for it: ``split_k ROUNDS``."""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.gpu_kit.parts.steps import slope
from benchmarks.gpu_kit.records import attempt, say

SWITCH = "KERNELS_SPLIT_K"  # an environment variable: 0 switches it off


def main(rounds: int, setting: str | None) -> None:
    from kernels.common import settings

    if not hasattr(settings, "split_k"):
        say("split K", name="left out", why="kernels.common.settings has no split_k")
        return
    if setting is None:  # read once in a process: one process each
        for value in ("1", "0"):
            command = [sys.executable, "-m", "benchmarks.gpu_kit.start", __spec__.name]
            environment = os.environ | {SWITCH: value}
            subprocess.run([*command, str(rounds), value], env=environment, check=False)
        return
    for kind in ("LSTM", "GRU"):
        name = f"{kind} bf16 512, {SWITCH}={setting}"
        attempt("split K", name, lambda kind=kind: slope(False, kind, 512, rounds))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
