"""Times the operations of this package: ``python -m kernels.bench recurrent``.

On an NVIDIA GPU the Triton kernels against cuDNN and loops (``gpu.py``), else the torch backend
on the CPU (``cpu.py``).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from kernels.bench import cpu, gpu
from kernels.bench.machine import machine


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m kernels.bench", description="Time recurrences, forward and backward."
    )
    parser.add_argument("operations", nargs="+", choices=["recurrent"])
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--rounds", type=int, default=11, help="timed rounds per case")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--quick", action="store_true", help="tiny cases, to see that it runs")
    parser.add_argument("--output", type=Path, help="also write the results here, as JSON")
    parser.add_argument("--plots", type=Path, help="on a GPU: also draw them into this folder")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.threads < 1:
        parser.error("--rounds and --threads must be 1 or more")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: no NVIDIA GPU was found")
    torch.set_num_threads(options.threads)
    found = machine()
    on_gpu = options.device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        print(f"{found['gpu']}, torch {found['torch']}, triton {found['triton']}")
        results = gpu.run(
            options.quick, options.rounds, torch.device("cuda"), lambda rows: _write(rows, options)
        )
    else:
        if found["gpu"] is None:
            print("No GPU was found: timing the torch backend on the CPU.")
        print(f"{found['cpu']}, {found['threads']} thread(s), torch {found['torch']}")
        results = cpu.run(options.quick, options.rounds)
    _write(results, options)
    if options.plots is not None and on_gpu:
        gpu.plot(results, options.plots)
    return 0


def _write(results: list[dict[str, Any]], options: argparse.Namespace) -> None:
    if options.output is not None:
        text = json.dumps({"machine": machine(), "unit": "ms", "recurrent": results}, indent=2)
        options.output.write_text(text + "\n", encoding="utf-8")
