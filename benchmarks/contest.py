"""Contenders that take turns: words per second of CPU time, median of several rounds.

CPU time, since on a shared machine wall time measures the neighbours. Taking turns, since what
disturbs a machine then disturbs all alike.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

Seconds = Callable[[], float]  # does the work once; the CPU time that it took


def cpu_time(work: Callable[[], object]) -> Seconds:
    """The CPU time of this process for something."""

    def seconds() -> float:
        started = time.process_time()
        work()
        return time.process_time() - started

    return seconds


def words_per_second(
    contenders: Mapping[str, Seconds], words: int, rounds: int
) -> dict[str, float]:
    """The rate of each contender; all work through the same ``words`` words, in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            seconds[name].append(run())
    return {name: words / statistics.median(times) for name, times in seconds.items()}


def plain_lstm(layer: nn.Module) -> nn.LSTM:
    """torch.nn's bidirectional LSTM with the weights of one of our layers."""
    plain = nn.LSTM(layer.input_size, layer.hidden_size, batch_first=True, bidirectional=True)
    plain.load_state_dict(layer.state_dict())
    return plain


def parser(description: str) -> argparse.ArgumentParser:
    """The options of every contest: --threads, --rounds, --output, --flair."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument("--threads", type=int, default=1)
    found.add_argument("--rounds", type=int, default=5)
    found.add_argument("--output", type=Path, help="write the results as JSON")
    found.add_argument("--flair", metavar="PYTHON", help="an interpreter that imports flair")
    return found


def report(key: str, results: Mapping[str, float], output: Path | None) -> None:
    """Print results; write them and the machine they are from as JSON under ``key``."""
    for name, value in results.items():
        print(f"{name:40} {value:10,.0f}")
    if output:
        record = {
            "processor": _processor(),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "unit": "words per second of CPU time, median",
            key: results,
        }
        output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
