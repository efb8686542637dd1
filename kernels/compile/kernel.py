"""One kernel compiled without a GPU, and what it then needs of a chip."""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from kernels.common.chip import CHIPS
from kernels.compile import in_place, ordering
from kernels.compile.chain import longest_chain

# Bytes of stack a thread may have: the assembler stays at 48, 64 or 80 registers by its own choice
# and then parks a few numbers that the time loop does not touch.
PARKED = 32
DTYPES = {"bf16": 2, "fp16": 2, "fp32": 4}


class Kernel(NamedTuple):
    """What is compiled, of whichever operation."""

    label: str  # what tells it from others in the table
    function: Any  # the @triton.jit function
    constants: dict[str, Any]  # constexpr arguments
    types: dict[str, str]  # Triton's types of the others: *bf16, *fp32, i32, fp32, ...
    warps: int
    stages: int
    cooperative: bool  # launched as a grid whose programs wait for each other
    shared: int | None  # bytes that the rule counts with; None: it does not count
    price: float | None  # predicted microseconds (of a step, or of a launch)
    facts: dict[str, Any]  # for the JSON
    aligned: bool = True  # whether tensors begin at multiples of 16 bytes; slices of some do not


class Report(NamedTuple):
    registers: int
    stack: int  # bytes of a thread; above 0 registers were spilled
    shared: int  # bytes of a program
    wgmma: int  # instructions of Hopper's asynchronous tensor cores
    mma: int  # and of the older ones
    chain: int  # the most of them that follow one another in a step (chain.py)
    seconds: float
    order: tuple[str, ...] = ()  # what is wrong with the order of its reads and writes


def compiled(kernel: Kernel, arch: int) -> Any:
    """Triton's compiled kernel for compute capability ``arch`` / 10. Needs Triton and no GPU."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = kernel.function.arg_names
    signature = {n: "constexpr" if n in kernel.constants else kernel.types[n] for n in names}
    aligned = {
        (k,): [["tt.divisibility", 16]]
        for k, name in enumerate(names)
        if kernel.aligned and signature[name].startswith("*")
    }
    return triton.compile(
        ASTSource(kernel.function, signature, kernel.constants, aligned),
        target=GPUTarget("cuda", arch, 32),
        options={
            "num_warps": kernel.warps,
            "num_stages": kernel.stages,
            "launch_cooperative_grid": kernel.cooperative,
        },
    )


def compile_kernel(kernel: Kernel, arch: int) -> Report:
    """Compiles ``kernel`` and reports what it needs.

    Raises RuntimeError where the tools that come with Triton are missing.
    """
    start = time.perf_counter()
    made = compiled(kernel, arch)
    seconds = time.perf_counter() - start
    ptx = made.asm["ptx"]
    used = _resources(made.asm["cubin"])
    return Report(
        registers=used["REG"],
        stack=used["STACK"] + used["LOCAL"],
        shared=made.metadata.shared,
        wgmma=ptx.count("wgmma.mma_async") + ptx.count("tcgen05.mma"),
        mma=ptx.count("mma.sync"),
        chain=longest_chain(ptx),
        seconds=round(seconds, 2),
        order=order_faults(kernel, made.asm["ttgir"], ptx),
    )


def order_faults(kernel: Kernel, ttgir: str, ptx: str) -> tuple[str, ...]:
    """What is wrong with the order of a kernel's reads and writes: ``ordering``, ``in_place``."""
    names = [n for n in kernel.function.arg_names if n not in kernel.constants]
    found = in_place.faults(ttgir, ptx)
    return tuple(found + (ordering.faults(ptx, names) if kernel.cooperative else []))


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


def faults(kernel: Kernel, report: Report, arch: int) -> Iterator[str]:
    """What is wrong with a compiled kernel, in words."""
    chip = CHIPS[arch]
    yield from report.order
    if report.stack > PARKED:
        yield f"{report.stack} bytes of stack: registers are spilled"
    if report.shared > chip.shared_memory:
        yield f"{report.shared} bytes of shared memory, the chip has {chip.shared_memory}"
    if kernel.shared is not None and report.shared > 1.25 * kernel.shared + 4096:
        yield f"{report.shared} bytes of shared memory where the rule counts with {kernel.shared}"
