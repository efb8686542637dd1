"""Decoding beside OpenNMT-py in processes that stay: the clock sees no start of Python.

    python -m benchmarks.peers_decoding --data ../shared/data/multi30k --work /tmp/peers \
        --opennmt PYTHON --preload LIBRARY --output benchmarks/peers-decoding-cpu.json

The contenders are those of ``peers.py``, which trains the models that are not in the work folder
(``--steps``). Each contender is one process, which translates when it is told to: once to
warm up, then in turn with the others. A figure is the median over the rounds of the process's
CPU time from reading the model to the last line written; memory is its largest resident size so
far, greedy search before beams.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
from pathlib import Path
from typing import Any

from benchmarks import peers

_WORKER = """
import importlib, json, resource, sys, time
module, name = sys.argv[1:]
main = getattr(importlib.import_module(module), name)
for line in sys.stdin:
    sys.argv[1:] = json.loads(line)
    start = time.process_time()
    main()
    taken = time.process_time() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print("@@", json.dumps([taken, memory]), flush=True)
"""
_MODULES = {"this project": "seq2seq.cli", "OpenNMT-py": "onmt.bin.translate"}


class Worker:
    """A contender that waits for what to translate."""

    def __init__(self, one: peers.Contender, folder: Path, threads: int) -> None:
        self.one, self.folder = one, folder
        command = one.translate(folder, Path("a"), Path("b"), 1)
        self._module = command.index("-m") + 2  # what follows are the arguments
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), **one.environment}
        self._process = subprocess.Popen(
            [*command[: command.index("-m")], "-c", _WORKER, _MODULES[one.toolkit], "main"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env=environment,
        )  # fmt: skip

    def translate(self, text: Path, output: Path, beam: int) -> tuple[float, int]:
        """CPU seconds and MiB."""
        arguments = self.one.translate(self.folder, text, output, beam)[self._module :]
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(arguments) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("@@"):
                seconds, memory = json.loads(line[2:])
                return seconds, memory
        raise SystemExit(f"{self.one.name} ended: run {' '.join(map(str, arguments))}")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    options = _options()
    work = options.work.resolve()
    peers.prepare(options.data, work, options.test)
    trusted = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}  # the peer's checkpoint, of this run
    contenders = [peers.ours(work, precision) for precision in options.precisions]
    if options.shortlist:
        contenders += [peers.ours(work, precision, True) for precision in options.precisions]
    contenders.append(peers.opennmt(work, options.opennmt, "", trusted))
    if options.preload:
        forced = {**trusted, "LD_PRELOAD": str(options.preload)}
        label = f" with {options.preload.name}"
        contenders.append(peers.opennmt(work, options.opennmt, label, forced))
    folders = [peers.trained(one, contenders, work, options) for one in contenders]
    if options.shortlist:
        peers.learn_shortlist(work, folders[0])
    workers = [
        Worker(one, folder, options.threads)
        for one, folder in zip(contenders, folders, strict=True)
    ]
    record: dict[str, Any] = {"machine": peers.machine(), "threads": options.threads}
    record["sentences"] = options.test
    for beam in sorted(options.beams):
        record[f"decoding, beam {beam}"] = found = timed(workers, work, beam, options)
        peers.report(found, f"target subwords a second of CPU time, beam {beam}")
        if options.output:
            options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for worker in workers:
        worker.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of Multi30k, gzipped")
    parser.add_argument("--work", type=Path, required=True, help="a folder for runs; kept")
    parser.add_argument("--opennmt", required=True, help="an interpreter with OpenNMT-py")
    parser.add_argument("--preload", type=Path, help="a library to preload for the peer, too")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16", "int8"], help="ours")
    parser.add_argument("--shortlist", action="store_true", help="ours with shortlists, too")
    parser.add_argument("--beams", nargs="+", type=int, default=[1, 5])
    parser.add_argument("--steps", type=int, default=1500, help="of training")
    parser.add_argument("--test", type=int, default=1000, help="sentences to translate")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def timed(
    workers: list[Worker], work: Path, beam: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Each worker's figures, as ``peers.report`` takes them."""
    seconds: dict[str, list[float]] = {worker.one.name: [] for worker in workers}
    found: dict[str, Any] = {}
    for number in range(options.rounds + 1):
        for worker in workers:
            pieces = "pieces." if worker.one.pieces else ""
            name = "test" if number else "short"  # the first is to warm up
            output = worker.folder / f"{name}.out"
            cpu, memory = worker.translate(work / f"{name}.{pieces}en", output, beam)
            if not number:
                continue
            own = seconds[worker.one.name]
            own.append(round(cpu, 2))
            subwords = peers.count_pieces(work, output, worker.one.pieces)
            median = statistics.median(own)
            found[worker.one.name] = {
                "subwords_per_second": round(subwords / median, 1),
                "sentences_per_second": round(options.test / median, 1),
                "seconds": own[:],
                "subwords": subwords,
                "memory_mib": memory,
            }
    return found


if __name__ == "__main__":
    main()
