"""What each run does: its parts, in order, and how long each may take.

The limits of a run's parts come to no more than the run may take, so that one that hangs keeps no
other from starting.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from benchmarks.gpu_kit.places import RESULTS

CALLS = {"first": 210, "bench": 210, "train": 120}  # seconds after which a call is cut off
MARGIN = 15  # seconds that a run ends before that: one process may be slow to die, and make to end
SECONDS = {name: seconds - MARGIN for name, seconds in CALLS.items()}  # of a whole run
KIT = "benchmarks.gpu_kit.parts"
# Operations of kernels.bench, each a process: an error of the card ends one of them alone.
OPERATIONS = {"recurrent": 66, "decoder": 15, "step": 11, "attention": 11, "loss": 11}
TESTS = ("tests/kernels/test_gpu.py", "tests/kernels/test_gpu_step.py")
ONE_THREAD = (("OMP_NUM_THREADS", "1"),)  # many processes share few cores
# Memory that PyTorch keeps for later looks allocated to a checker: an access beyond a tensor's end
# is found only where each tensor is an allocation of its own.
CHECKED = (("KERNELS_DEBUG", "1"), ("PYTORCH_NO_CUDA_MEMORY_CACHING", "1"))
SANITIZER = ("compute-sanitizer", "--tool", "memcheck", "--error-exitcode", "9")
# Only kernels whose name holds this are looked at: all of ours and some of PyTorch's, but not those
# of cuBLAS, which take most of the time.
ONLY_OURS = ("--kernel-regex", "kns=_kernel")


class Part(NamedTuple):
    name: str
    seconds: float
    module: str  # run as python -m
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    # A tool that the Python runs under, and its options; the part is left out without it.
    under: tuple[str, ...] = ()
    where_known: tuple[str, ...] = ()  # options for it, given if its help names the first


def plan(run: str, folder: str, rounds: int, steps: int) -> list[Part]:
    """The parts of ``run``; they write into ``folder``."""
    return {"first": _first, "bench": _bench, "train": _train}[run](folder, rounds, steps)


def _earlier(folder: str, name: str) -> str:
    """A result of an earlier run: beside ``folder``, or where results are kept in this tree."""
    beside = Path(folder).parent / name
    return str(beside if beside.exists() else RESULTS / name)


def _first(folder: str, rounds: int, steps: int) -> list[Part]:
    return [
        Part("versions", 15, f"{KIT}.versions"),
        # A wait at a barrier that is never reached ends in an error, not in a hang.
        Part("smoke", 45, f"{KIT}.smoke", (), (("KERNELS_DEBUG", "1"),)),
        Part("tests", 72, f"{KIT}.gpu_tests", (f"{folder}/tests.xml", *TESTS), ONE_THREAD),
        Part("costs", 18, f"{KIT}.costs", (str(rounds),)),
        Part("steps", 38, f"{KIT}.steps", (str(rounds),)),
    ]


def _bench(folder: str, rounds: int, steps: int) -> list[Part]:
    few = ("--device", "cuda", "--few", "--rounds", str(rounds), "--output")
    files = {name: f"{folder}/{name}.json" for name in OPERATIONS}
    ncu = (
        "ncu", "--target-processes", "all", "--clock-control", "none", "--kernel-name",
        "regex:forward_kernel", "--launch-skip", "2", "--launch-count", "1",
        "--section", "SpeedOfLight", "--section", "WarpStateStats", "--section", "Occupancy",
    )  # fmt: skip
    return [
        Part("versions", 14, f"{KIT}.versions"),
        *(
            Part(name, seconds, "kernels.bench", (name, *few, files[name]))
            for name, seconds in OPERATIONS.items()
        ),
        Part("decisions", 6, f"{KIT}.decisions", (f"{folder}/auto.json", *files.values())),
        Part("split K", 14, f"{KIT}.split_k", (str(rounds),)),
        Part("memcheck", 25, f"{KIT}.tiny", (), CHECKED, SANITIZER, ONLY_OURS),
        Part("ncu", 15, f"{KIT}.one_kernel", (), (), ncu),
    ]


def _train(folder: str, rounds: int, steps: int) -> list[Part]:
    earlier, recurrent = _earlier(folder, "first/log.txt"), _earlier(folder, "bench/recurrent.json")
    again = (earlier, f"{folder}/tests.xml")
    return [
        Part("train triton", 38, f"{KIT}.training", ("triton", str(steps))),
        Part("train torch", 30, f"{KIT}.training", ("torch", str(steps))),
        Part("winner", 10, f"{KIT}.winner", (recurrent, str(rounds))),
        Part("failed tests", 20, f"{KIT}.failed_tests", again, ONE_THREAD),
    ]
