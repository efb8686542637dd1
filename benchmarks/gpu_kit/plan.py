"""What each run does: its parts, in order, and how long each may take."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from benchmarks.gpu_kit.places import RESULTS

SECONDS = {"first": 210, "bench": 210, "train": 120}  # seconds of a whole run
KIT = "benchmarks.gpu_kit.parts"
# Operations of kernels.bench, each a process: an error of the card ends one of them alone.
OPERATIONS = {"recurrent": 95, "decoder": 20, "step": 15, "attention": 15, "loss": 15}
TESTS = ("tests/kernels/test_gpu.py", "tests/kernels/test_gpu_step.py")


class Part(NamedTuple):
    name: str
    seconds: float
    module: str  # run as python -m
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    under: tuple[
        str, ...
    ] = ()  # a tool that the Python runs under; the part is left out without it


def plan(run: str, folder: str, rounds: int, steps: int) -> list[Part]:
    """The parts of ``run``; they write into ``folder``."""
    return {"first": _first, "bench": _bench, "train": _train}[run](folder, rounds, steps)


def _earlier(folder: str, name: str) -> str:
    """A result of an earlier run: beside ``folder``, or where results are kept in this tree."""
    beside = Path(folder).parent / name
    return str(beside if beside.exists() else RESULTS / name)


def _first(folder: str, rounds: int, steps: int) -> list[Part]:
    return [
        Part("versions", 20, f"{KIT}.versions"),
        # A wait at a barrier that is never reached ends in an error, not in a hang.
        Part("smoke", 55, f"{KIT}.smoke", (), (("KERNELS_DEBUG", "1"),)),
        Part("tests", 95, f"{KIT}.gpu_tests", (f"{folder}/tests.xml", *TESTS)),
        Part("costs", 25, f"{KIT}.costs", (str(rounds),)),
        Part("steps", 45, f"{KIT}.steps", (str(rounds),)),
    ]


def _bench(folder: str, rounds: int, steps: int) -> list[Part]:
    few = ("--device", "cuda", "--few", "--rounds", str(rounds), "--output")
    files = {name: f"{folder}/{name}.json" for name in OPERATIONS}
    ncu = (
        "ncu", "--target-processes", "all", "--clock-control", "none", "--kernel-name",
        "regex:forward_kernel", "--launch-skip", "2", "--launch-count", "1",
        "--section", "SpeedOfLight", "--section", "WarpStateStats", "--section", "Occupancy",
    )  # fmt: skip
    sanitizer = ("compute-sanitizer", "--tool", "memcheck", "--error-exitcode", "9")
    return [
        Part("versions", 15, f"{KIT}.versions"),
        *(
            Part(name, seconds, "kernels.bench", (name, *few, files[name]))
            for name, seconds in OPERATIONS.items()
        ),
        Part("decisions", 10, f"{KIT}.decisions", (f"{folder}/auto.json", *files.values())),
        Part("split K", 20, f"{KIT}.split_k", (str(rounds),)),
        Part("memcheck", 45, f"{KIT}.tiny", (), (("KERNELS_DEBUG", "1"),), sanitizer),
        Part("ncu", 30, f"{KIT}.one_kernel", (), (), ncu),
    ]


def _train(folder: str, rounds: int, steps: int) -> list[Part]:
    earlier, recurrent = _earlier(folder, "first/log.txt"), _earlier(folder, "bench/recurrent.json")
    return [
        Part("train triton", 40, f"{KIT}.training", ("triton", str(steps))),
        Part("train torch", 45, f"{KIT}.training", ("torch", str(steps))),
        Part("winner", 15, f"{KIT}.winner", (recurrent, str(rounds))),
        Part("failed tests", 40, f"{KIT}.failed_tests", (earlier, f"{folder}/tests.xml")),
    ]
