"""Times the operations of this package: ``python -m kernels.bench recurrent``.

On an NVIDIA GPU the Triton kernels against cuDNN and loops, else the torch backend on the CPU; a
file for each operation and kind of device. ``host`` is the exception: the time that Python takes
for a call of the Triton backend, with or without a GPU.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from kernels import automatic
from kernels.bench import (
    attention,
    decoder,
    decoder_step,
    host,
    loss,
    recurrent_cpu,
    recurrent_gpu,
)
from kernels.bench.deciding import OPERATIONS as DECIDED
from kernels.bench.deciding import decide, save
from kernels.bench.machine import machine

Rows = list[dict[str, Any]]


class Operation(NamedTuple):
    """Each ``run`` prints a table and returns its rows; on a GPU it hands over those so far after
    each case, too, so that a run cut short has left something."""

    on_cpu: Callable[[bool, int], Rows]  # (quick, rounds)
    on_gpu: Callable[[bool, int, torch.device, Callable[[Rows], None]], Rows]
    plot: Callable[[Rows, Path], None]
    few: Callable[..., Rows] | None = None  # as on_gpu, the cases alone that decide


OPERATIONS = {
    "recurrent": Operation(
        recurrent_cpu.run,
        recurrent_gpu.run,
        recurrent_gpu.plot,
        partial(recurrent_gpu.run, few=True),
    ),
    "attention": Operation(
        attention.on_cpu, attention.on_gpu, attention.plot, partial(attention.on_gpu, few=True)
    ),
    "decoder": Operation(
        decoder.run_cpu, decoder.run_gpu, decoder.plot, partial(decoder.run_gpu, few=True)
    ),
    "step": Operation(
        decoder_step.run_cpu,
        decoder_step.run_gpu,
        decoder_step.plot,
        partial(decoder_step.run_gpu, few=True),
    ),
    "host": Operation(host.run, host.run_gpu, host.plot),
    "loss": Operation(loss.run_cpu, loss.run_gpu, loss.plot, partial(loss.run_gpu, few=True)),
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m kernels.bench", description="Time operations, forward and backward."
    )
    parser.add_argument("operations", nargs="*", metavar="operation", help=", ".join(OPERATIONS))
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--rounds", type=int, default=11, help="timed rounds per case")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--quick", action="store_true", help="tiny cases, to see that it runs")
    parser.add_argument(
        "--few", action="store_true", help="on a GPU: the cases alone that decide, without loops"
    )
    parser.add_argument(
        "--save",
        action="store_true",
        help="on a GPU: 'auto' takes Triton on this card for what is right and faster (with no "
        f"operation named: few cases of all); written to {automatic.user_table()}",
    )
    parser.add_argument("--output", type=Path, help="also write the results here, as JSON")
    parser.add_argument("--plots", type=Path, help="on a GPU: also draw them into this folder")
    options = parser.parse_args(arguments)
    if options.save and not options.operations:
        options.operations, options.few = list(DECIDED), True
    unknown = [name for name in options.operations if name not in OPERATIONS]
    if unknown or not options.operations:
        found = f"unknown operation {unknown[0]!r}" if unknown else "no operation was named"
        parser.error(f"{found}; expected one or more of {', '.join(OPERATIONS)}")
    if options.rounds < 1 or options.threads < 1:
        parser.error("--rounds and --threads must be 1 or more")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: no NVIDIA GPU was found")
    if options.save and not torch.cuda.is_available():
        parser.error("--save: no NVIDIA GPU was found; 'auto' is the torch backend without one")
    torch.set_num_threads(options.threads)
    chip = machine()
    on_gpu = options.device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        print(f"{chip['gpu']}, torch {chip['torch']}, triton {chip['triton']}")
    else:
        if chip["gpu"] is None:
            print("No GPU was found: timing the torch backend on the CPU.")
        print(f"{chip['cpu']}, {chip['threads']} thread(s), torch {chip['torch']}")
    results: dict[str, Rows] = {}
    for name in options.operations:
        _time(name, on_gpu, options, results)
        _write(results, options)
        if options.plots is not None and on_gpu:
            OPERATIONS[name].plot(results[name], options.plots)
    if options.save:
        _save(results)
    return 0


def _save(results: dict[str, Rows]) -> None:
    table = decide([{"machine": machine(), **results}])
    path = automatic.user_table()
    save(table, path)
    automatic.forget()
    print(f"\n'auto' on this card, saved in {path}:")
    for entry in table["entries"]:
        low, high = entry["sizes"]
        speed = f", {entry['speed']} times the torch backend" if entry["speed"] else ""
        name = f"{entry['operation']} {entry['kind']}".strip()
        print(f"  {name}, {entry['dtype']}, sizes {low} to {high}: {entry['backend']}{speed}")


def _time(name: str, on_gpu: bool, options: argparse.Namespace, results: dict[str, Rows]) -> None:
    operation = OPERATIONS[name]
    if not on_gpu:
        results[name] = operation.on_cpu(options.quick, options.rounds)
        return

    def keep(rows: Rows) -> None:
        results[name] = rows
        _write(results, options)

    device = torch.device("cuda")
    run = operation.few if options.few and operation.few is not None else operation.on_gpu
    results[name] = run(options.quick, options.rounds, device, keep)


def _write(results: dict[str, Rows], options: argparse.Namespace) -> None:
    if options.output is not None:
        text = json.dumps({"machine": machine(), "unit": "ms", **results}, indent=2)
        options.output.write_text(text + "\n", encoding="utf-8")
