"""python -m benchmarks.soak: commands under bad conditions, many times, with seeds."""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import resource
import shutil
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.soak import report
from benchmarks.soak.tiny_tasks import TINY

PARTS = {  # name -> what it does
    "kills": "runs killed at random moments end as undisturbed ones do",
    "full_disk": "a disk that fills at every write",
    "odd_lines": "odd lines through translate, generate and score",
    "damaged_models": "model folders with damaged files",
    "configurations": "configurations made by hypothesis",
}
RESULTS = Path(__file__).with_name("results.json")


def main() -> int:
    options = _options()
    missing = _tasks() - TINY.keys()
    failed = bool(missing)
    for task in sorted(missing):
        print(f"soak: task {task} has no entry in tiny_tasks.py and is not tried", file=sys.stderr)
    for part in options.parts or PARTS:
        result = _run(part, options)
        report.add(options.output, part, result)
        for line in result["failures"]:
            print(f"FAILURE {part}: {line}", flush=True)
        failed = failed or bool(result["failures"])
    print(report.table(json.loads(options.output.read_text("utf-8"))))
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    names = ", ".join(PARTS)
    parser.add_argument("parts", metavar="PART", nargs="*", help=f"of {names}; left out: all")
    parser.add_argument(
        "--scale", type=float, default=0.1, help="share of the whole (default: 0.1)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, help="folder to work in (default: a temporary one)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="results as JSON")
    options = parser.parse_args()
    for part in options.parts:
        if part not in PARTS:
            parser.error(f"unknown part {part!r}; there are: {names}")
    return options


def _run(part: str, options: argparse.Namespace) -> dict[str, Any]:
    """One part in a folder of its own, which is removed."""
    print(f"{part} (scale {options.scale:g}, seed {options.seed}): {PARTS[part]}", flush=True)
    work = Path(tempfile.mkdtemp(prefix=f"soak-{part}-", dir=options.work))
    module = importlib.import_module(f"benchmarks.soak.{part}")
    started, before = time.monotonic(), _cpu_seconds()
    try:
        found = module.run(
            work, options.scale, options.seed, lambda text: print(f"  {text}", flush=True)
        )
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return {
        "scale": options.scale,
        "seed": options.seed,
        **found,
        "seconds": round(time.monotonic() - started),
        "cpu_seconds": round(_cpu_seconds() - before),
        "versions": {name: metadata.version(name) for name in ("torch", "numpy", "datasets")},
        "python": platform.python_version(),
    }


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _tasks() -> set[str]:
    from seq2seq import registry

    return set(registry.TASKS)


if __name__ == "__main__":
    sys.exit(main())
