"""Compiles the Triton kernels without a GPU and reports what they need:
``python -m kernels.compile --arch 80 90 100``.

For each architecture, every configuration that the rule of ``schedule.py`` picks over a grid of
sizes is compiled; the table shows registers and stack of a thread, shared memory of a program and
the tensor-core instructions. A spill (stack or local memory beyond a few parked numbers) or shared
memory beyond the chip's is a failure: exit status 1.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from kernels.bench.gpu import SHAPES
from kernels.recurrence.schedule import (
    CHIPS,
    Problem,
    Schedule,
    pick,
    price,
    shared_bytes,
)

# Bytes of stack a thread may have: the assembler stays at 48, 64 or 80 registers by its own choice
# and then parks a few numbers that the time loop does not touch.
PARKED = 32
DTYPES = {"bf16": 2, "fp16": 2, "fp32": 4}
KINDS = ("lstm", "gru", "tanh")
SIZES = (64, 128, 168, 256, 512, 768, 1024, 1536, 2048)
BATCHES = (1, 16, 64, 128, 160, 512)
QUICK = ((64, 2, 128), (64, 2, 512))


class Configuration(NamedTuple):
    """What a kernel is compiled for."""

    problem: Problem
    schedule: Schedule
    dtype: str
    options: bool = False  # ragged, masked, with resets and zoneout masks

    @property
    def key(self) -> tuple[Any, ...]:
        """The batch is no constant of the kernel: it only led to the schedule."""
        return (self.problem._replace(batch=0, directions=1, steps=0), *self[1:])


class Report(NamedTuple):
    registers: int
    stack: int  # bytes of a thread; above 0 registers were spilled
    shared: int  # bytes of a program
    wgmma: int  # instructions of Hopper's asynchronous tensor cores
    mma: int  # and of the older ones
    seconds: float


def configurations(
    arch: int, shapes: Iterable[tuple[int, int, int]], dtypes: Iterable[str], options: bool
) -> list[Configuration]:
    """What the rule picks for (batch, steps, size), each kernel once."""
    found: dict[tuple[Any, ...], Configuration] = {}
    for batch, steps, size in shapes:
        for kind in KINDS:
            for dtype in dtypes:
                for directions in (1, 2):
                    for backward in (False, True):
                        problem = Problem(
                            kind, batch, size, directions, DTYPES[dtype], backward, steps
                        )
                        schedule = pick(problem, CHIPS[arch])
                        one = Configuration(problem, schedule, dtype, options)
                        found.setdefault(one.key, one)
    return list(found.values())


def compile_one(configuration: Configuration, arch: int) -> Report:
    """Compiles a configuration for ``arch``. Needs Triton and no GPU.

    Raises RuntimeError where the tools that come with Triton are missing.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from kernels.recurrence.triton_backend.backward import backward_kernel
    from kernels.recurrence.triton_backend.forward import forward_kernel

    problem, schedule, _, _ = configuration
    kernel = backward_kernel if problem.backward else forward_kernel
    constants = _constants(configuration)
    signature = {
        name: "constexpr" if name in constants else _type(name, configuration)
        for name in kernel.arg_names
    }
    aligned = {
        (k,): [["tt.divisibility", 16]]
        for k, name in enumerate(kernel.arg_names)
        if signature[name].startswith("*")
    }
    start = time.perf_counter()
    compiled = triton.compile(
        ASTSource(kernel, signature, constants, aligned),
        target=GPUTarget("cuda", arch, 32),
        options={
            "num_warps": schedule.warps,
            "num_stages": 3 if schedule.name == "step" else 1,
            "launch_cooperative_grid": schedule.name == "persistent",
        },
    )
    seconds = time.perf_counter() - start
    ptx = compiled.asm["ptx"]
    used = _resources(compiled.asm["cubin"])
    return Report(
        registers=used["REG"],
        stack=used["STACK"] + used["LOCAL"],
        shared=compiled.metadata.shared,
        wgmma=ptx.count("wgmma.mma_async") + ptx.count("tcgen05.mma"),
        mma=ptx.count("mma.sync"),
        seconds=round(seconds, 2),
    )


def _constants(configuration: Configuration) -> dict[str, Any]:
    problem, schedule, _, options = configuration
    constants: dict[str, Any] = {
        "H": problem.size,
        "KIND": problem.kind,
        "SCHEDULE": schedule.name,
        "RAGGED": options,
        "MASKED": options,
        "RESETS": options,
        "ZONEOUT": 2 if options else 0,
        "BB": schedule.sequences,
        "BH": schedule.units,
        "KC": schedule.inner,
        "PRECISION": "ieee",
        "MAX_SPIN": 0,
    }
    if not problem.backward:
        constants |= {"SEEN": options, "SAVE": True}
    return constants


def _type(name: str, configuration: Configuration) -> str:
    product = configuration.dtype
    if name in ("candidate_bias", "cells", "d_hidden", "d_cell", "hidden_mask"):
        return "*fp32"
    if name in ("starts", "steps_of", "counters", "status"):
        return "*i32"
    if name in ("resets", "zone_hidden", "zone_cell"):
        return "*u8"
    if name in ("zone_hidden_rate", "zone_cell_rate"):
        return "fp32"
    tensors = ("sums", "gates", "weight", "states", "seen", "extra", "d_sums", "d_candidate")
    if name in (*tensors, "d_outputs"):
        return "*fp32" if name == "d_outputs" else f"*{product}"
    return "i32"


def _resources(cubin: bytes) -> dict[str, int]:
    """REG, STACK, SHARED, LOCAL of the kernel in a cubin, from the cuobjdump beside Triton."""
    import triton

    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    if not tool.exists():
        raise RuntimeError(f"{tool.name}: not found beside Triton's NVIDIA backend")
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run(
            [tool, "-res-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    found = {name: int(value) for name, value in re.findall(r"\b([A-Z]+):(\d+)", text)}
    if "REG" not in found:
        raise RuntimeError(f"cuobjdump: no resource usage in its output: {text!r}")
    return found


def faults(configuration: Configuration, report: Report, arch: int) -> Iterator[str]:
    """What is wrong with a compiled kernel, in words."""
    chip = CHIPS[arch]
    if report.stack > PARKED:
        yield f"{report.stack} bytes of stack: registers are spilled"
    if report.shared > chip.shared_memory:
        yield f"{report.shared} bytes of shared memory, the chip has {chip.shared_memory}"
    expected = shared_bytes(configuration.schedule, configuration.problem)
    if configuration.schedule.name != "step" and report.shared > 1.25 * expected + 4096:
        yield f"{report.shared} bytes of shared memory where the rule counts with {expected}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m kernels.compile", description=__doc__)
    parser.add_argument("--arch", type=int, nargs="+", choices=sorted(CHIPS), default=list(CHIPS))
    parser.add_argument("--dtype", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument(
        "--shapes", choices=["quick", "bench", "all"], default="all",
        help="two sizes, the benchmarks' shapes, or also a grid of batches and sizes (default)",
    )  # fmt: skip
    parser.add_argument("--options", action="store_true", help="with ragged lengths and all masks")
    parser.add_argument("--output", type=Path, help="also write the report here, as JSON")
    options = parser.parse_args(arguments)
    shapes = list(SHAPES)
    if options.shapes == "quick":
        shapes = list(QUICK)
    if options.shapes == "all":
        shapes += [(batch, t, size) for size in SIZES for batch in BATCHES for t in (1, 2)]
    import triton

    print(f"triton {triton.__version__}; price: predicted microseconds a step, not measured")
    print(
        f"{'sm':>3} {'pass':8} {'kind':4} {'H':>4} {'dtype':5} {'schedule':10} {'tile':>7} "
        f"{'KC':>4} {'warps':>5} {'regs':>4} {'stack':>5} {'shared':>7} {'wgmma':>5} {'mma':>4} "
        f"{'price':>6}"
    )
    rows, failed = [], 0
    for arch in options.arch:
        for one in configurations(arch, shapes, options.dtype, options.options):
            problem, schedule = one.problem, one.schedule
            cost = price(schedule, problem, CHIPS[arch])
            try:
                report = compile_one(one, arch)
            except Exception as error:  # one kernel that does not compile hides no other
                print(f"    FAILED: {one}: {type(error).__name__}: {error}")
                rows.append({"arch": arch, **one._asdict(), "faults": [str(error)]})
                failed += 1
                continue
            print(
                f"{arch:3} {'backward' if problem.backward else 'forward':8} {problem.kind:4} "
                f"{problem.size:4} {one.dtype:5} {schedule.name:10} "
                f"{schedule.sequences:>3}x{schedule.units:<3} {schedule.inner:4} "
                f"{schedule.warps:5} {report.registers:4} {report.stack:5} {report.shared:7} "
                f"{report.wgmma:5} {report.mma:4} {cost:6.2f}",
                flush=True,
            )
            wrong = list(faults(one, report, arch))
            for fault in wrong:
                print(f"    FAILED: {fault}")
            failed += bool(wrong)
            rows.append(
                {"arch": arch, **problem._asdict(), "schedule": schedule._asdict()}
                | {"dtype": one.dtype, "options": one.options, **report._asdict()}
                | {"price_us": round(cost, 3), "faults": wrong}
            )
    print(f"{len(rows)} kernels compiled, {failed} failed")
    if options.output is not None:
        text = json.dumps({"triton": triton.__version__, "kernels": rows}, indent=1)
        options.output.write_text(text + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
