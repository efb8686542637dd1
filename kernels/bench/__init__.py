"""Times the operations of this package: ``python -m kernels.bench recurrent``.

On an NVIDIA GPU the Triton kernels against cuDNN and loops, else the torch backend on the CPU; a
file for each operation and kind of device. ``host`` is the exception: the time that Python takes
for a call of the Triton backend, with or without a GPU.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from kernels.bench import (
    attention,
    decoder,
    decoder_step,
    host,
    loss,
    recurrent_cpu,
    recurrent_gpu,
)
from kernels.bench.machine import machine

Rows = list[dict[str, Any]]


class Operation(NamedTuple):
    """Each ``run`` prints a table and returns its rows; on a GPU it hands over those so far after
    each case, too, so that a run cut short has left something."""

    on_cpu: Callable[[bool, int], Rows]  # (quick, rounds)
    on_gpu: Callable[[bool, int, torch.device, Callable[[Rows], None]], Rows]
    plot: Callable[[Rows, Path], None]


OPERATIONS = {
    "recurrent": Operation(recurrent_cpu.run, recurrent_gpu.run, recurrent_gpu.plot),
    "attention": Operation(attention.on_cpu, attention.on_gpu, attention.plot),
    "decoder": Operation(decoder.run_cpu, decoder.run_gpu, decoder.plot),
    "step": Operation(decoder_step.run_cpu, decoder_step.run_gpu, decoder_step.plot),
    "host": Operation(host.run, host.run_gpu, host.plot),
    "loss": Operation(loss.run_cpu, loss.run_gpu, loss.plot),
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m kernels.bench", description="Time operations, forward and backward."
    )
    parser.add_argument("operations", nargs="+", choices=list(OPERATIONS))
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
    else:
        if found["gpu"] is None:
            print("No GPU was found: timing the torch backend on the CPU.")
        print(f"{found['cpu']}, {found['threads']} thread(s), torch {found['torch']}")
    results: dict[str, Rows] = {}
    for name in options.operations:
        _time(name, on_gpu, options, results)
        _write(results, options)
        if options.plots is not None and on_gpu:
            OPERATIONS[name].plot(results[name], options.plots)
    return 0


def _time(name: str, on_gpu: bool, options: argparse.Namespace, results: dict[str, Rows]) -> None:
    operation = OPERATIONS[name]
    if not on_gpu:
        results[name] = operation.on_cpu(options.quick, options.rounds)
        return

    def keep(rows: Rows) -> None:
        results[name] = rows
        _write(results, options)

    device = torch.device("cuda")
    results[name] = operation.on_gpu(options.quick, options.rounds, device, keep)


def _write(results: dict[str, Rows], options: argparse.Namespace) -> None:
    if options.output is not None:
        text = json.dumps({"machine": machine(), "unit": "ms", **results}, indent=2)
        options.output.write_text(text + "\n", encoding="utf-8")
