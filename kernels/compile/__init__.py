"""Compiles the Triton kernels without a GPU and reports what they need:
``python -m kernels.compile --arch 80 90 100``.

For each architecture, every configuration that the operations' rules pick over a grid of sizes is
compiled; the table shows registers and stack of a thread, shared memory of a program, the
tensor-core instructions and how many of them follow one another in a step. A spill (stack or
local memory beyond a few parked numbers) or shared memory beyond the chip's is a failure: exit
status 1.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from kernels.common.chip import CHIPS
from kernels.compile import attention, decoder, loss, projected, recurrence
from kernels.compile.kernel import DTYPES, Kernel, compile_kernel, faults
from kernels.compile.summary import read, summary

# operation -> kernels(arch, shapes, dtypes, options) -> list[Kernel]
OPERATIONS = {
    "recurrent": recurrence.kernels,
    "projected": projected.kernels,
    "attention": attention.kernels,
    "decoder": decoder.kernels,
    "loss": loss.kernels,
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m kernels.compile", description=__doc__)
    parser.add_argument(
        "operations", nargs="*", metavar="OPERATION", default=[],
        help=f"of: {', '.join(OPERATIONS)} (default: all)",
    )  # fmt: skip
    parser.add_argument("--arch", type=int, nargs="+", choices=sorted(CHIPS), default=list(CHIPS))
    parser.add_argument("--dtype", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument(
        "--shapes", choices=["quick", "bench", "all"], default="all",
        help="few sizes, the benchmarks' shapes, or also a grid of sizes (default)",
    )  # fmt: skip
    parser.add_argument("--options", action="store_true", help="with ragged lengths and all masks")
    parser.add_argument("--output", type=Path, help="also write the report here, as JSON")
    parser.add_argument("--summary", type=Path, help="also write one table of it here (Markdown)")
    parser.add_argument(
        "--reports", type=Path, nargs="+", metavar="JSON",
        help="compile nothing: --summary is of these reports, of several versions of Triton",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    if options.reports is not None:
        if options.summary is None:
            parser.error("--reports: expected --summary with it, where the table goes")
        options.summary.write_text(summary(read(options.reports)), encoding="utf-8")
        return 0
    for name in options.operations:
        if name not in OPERATIONS:
            parser.error(f"operation {name!r}: expected one of {', '.join(OPERATIONS)}")
    import triton

    print(f"triton {triton.__version__}; price: predicted microseconds, not measured")
    rows: list[dict[str, Any]] = []
    for arch in options.arch:
        for name in options.operations or OPERATIONS:
            print(
                f"{name}\n {'sm':>3} {'':52} {'warps':>5} {'regs':>4} {'stack':>5} {'shared':>7} "
                f"{'wgmma':>5} {'mma':>4} {'chain':>5} {'price':>8}"
            )
            found = OPERATIONS[name](arch, options.shapes, options.dtype, options.options)
            rows += [{"operation": name} | _row(kernel, arch) for kernel in found]
    failed = sum(bool(row["faults"]) for row in rows)
    print(f"{len(rows)} kernels compiled, {failed} failed")
    report = {"triton": triton.__version__, "kernels": rows}
    if options.output is not None:
        options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.summary is not None:
        options.summary.write_text(summary([report]), encoding="utf-8")
    return 1 if failed else 0


def _row(kernel: Kernel, arch: int) -> dict[str, Any]:
    """Compiles, prints a line, and returns it for the JSON."""
    try:
        report = compile_kernel(kernel, arch)
    except Exception as error:  # one kernel that does not compile hides no other
        print(f" {arch:3} {kernel.label:52}\n    FAILED: {type(error).__name__}: {error}")
        return {"arch": arch, **kernel.facts, "faults": [str(error)]}
    price = "" if kernel.price is None else f"{kernel.price:8.2f}"
    print(
        f" {arch:3} {kernel.label:52} {kernel.warps:5} {report.registers:4} {report.stack:5} "
        f"{report.shared:7} {report.wgmma:5} {report.mma:4} {report.chain:5} {price}",
        flush=True,
    )
    wrong = list(faults(kernel, report, arch))
    for fault in wrong:
        print(f"    FAILED: {fault}")
    price_us = None if kernel.price is None else round(kernel.price, 3)
    return {"arch": arch, **kernel.facts, **report._asdict()} | {
        "price_us": price_us,
        "faults": wrong,
    }
