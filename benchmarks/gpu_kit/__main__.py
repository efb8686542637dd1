"""python -m benchmarks.gpu_kit first|bench|train|all|cache|dry [FOLDER]: README.md says more."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from benchmarks.gpu_kit import carried, filling
from benchmarks.gpu_kit.places import CACHE, PACKAGES, RESULTS, ROOT
from benchmarks.gpu_kit.plan import SECONDS, plan
from benchmarks.gpu_kit.records import Record
from benchmarks.gpu_kit.report import failures, tables
from benchmarks.gpu_kit.running import Log, run_parts
from benchmarks.gpu_kit.summaries import ratios, read_bench

WITHOUT_CACHE = 10.0  # times a part's limit where kernels are compiled first, for another card, say


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_kit", description="Short, prepared runs on a GPU."
    )
    parser.add_argument("run", choices=[*SECONDS, "all", "cache", "dry"])
    parser.add_argument("folder", nargs="?", type=Path, default=RESULTS, help="of results")
    parser.add_argument("--seconds", type=float, help="of the run (default: 195, 195, 105)")
    parser.add_argument("--patience", type=float, help="factor on the parts' limits (default: 1)")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds of a measurement")
    parser.add_argument("--steps", type=int, default=200, help="of training, on either backend")
    options = parser.parse_args(arguments)
    if options.run == "cache":
        return filling.fill(options.folder)
    if options.run == "dry":
        return filling.dry(options.folder)
    signal.signal(signal.SIGTERM, _end)
    runs = list(SECONDS) if options.run == "all" else [options.run]
    return max(run(name, options.folder.resolve() / name, options) for name in runs)


def _end(number: int, frame: FrameType | None) -> None:
    """The run is told to end: it kills its part and writes its tables, which a second signal must
    not keep it from."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def run(name: str, folder: Path, options: argparse.Namespace) -> int:
    """One of the three runs; -> 0 if nothing failed, else 1."""
    start = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    kernels = carried.unpack()
    missing = carried.install()
    patience = options.patience or (1.0 if kernels and carried.fits() else WITHOUT_CACHE)
    seconds = options.seconds or SECONDS[name]
    print(f"{name}: at most {seconds:.0f} s, results in {folder}; {kernels} kernels in the cache"
          + (f"; brought along: {', '.join(missing)}" if missing else ""), flush=True)  # fmt: skip
    parts = plan(name, str(folder), options.rounds, options.steps)
    seconds -= time.monotonic() - start
    records, endings = run_parts(parts, folder, seconds, environment(), patience)
    return finish(name, folder, records, endings, carried.compiled() - kernels)


def finish(
    name: str, folder: Path, records: list[Record], endings: list[Record], compiled: int
) -> int:
    """Prints and keeps the tables."""
    rows = [*records, {"table": "cache", "name": "kernels compiled in this run", "count": compiled}]
    if name == "bench":
        rows += ratios(read_bench(folder))
    bad = failures(rows, endings)
    text = tables(name, rows, endings) + f"\n\n{name}: {bad or 'no'} problem(s)\n"
    log = Log(folder / "log.txt", more=True)
    for line in text.splitlines(keepends=True):
        log.write(line)
    sys.stdout.write(text)
    sys.stdout.flush()
    return 1 if bad else 0


def environment() -> dict[str, str]:
    """What the parts run in: this tree, its cache, and the packages brought along."""
    own = dict(os.environ)
    own.pop("TRITON_PTXAS_PATH", None)  # the cache was filled with Triton's own
    paths = [str(ROOT), own.get("PYTHONPATH", ""), str(PACKAGES)]
    own |= {
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONUNBUFFERED": "1",
        "TRITON_CACHE_DIR": str(CACHE),
        "HF_DATASETS_OFFLINE": "1",
        "HF_HUB_OFFLINE": "1",
    }
    return own


if __name__ == "__main__":
    sys.exit(main())
