"""Memory and speed of ``seq2seq translate`` over a file of many lines, beside a small one.

    python benchmarks/many_lines.py --lines 100000 --output benchmarks/many-lines-cpu.json

A small model with random weights (its translations are cut at 12 subwords, or ``--subwords``)
translates made-up lines of 1 to 12 words: a small file, the large one, the small one again, each
by a process of its own with one thread. A file of one line is the price of starting. Reported are
lines per second of CPU time without the start, and the resident memory when a tenth of the lines
are written, at half of them and at the end, as read from /proc once in a quarter of a second.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORDS = 3000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--small", type=int, default=50_000)
    parser.add_argument("--subwords", type=int, default=12, help="of a translation")
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make_model(place / "model", options.subwords)
        one, small, large = (
            make_lines(place / f"{count}.txt", count) for count in (1, options.small, options.lines)
        )
        start = run(place, one, 1)
        runs = {
            "small": run(place, small, options.small),
            "large": run(place, large, options.lines),
            "small again": run(place, small, options.small),
        }
    record = {"cpu": cpu(), "threads": 1, "start_cpu_seconds": start["cpu_seconds"]}
    for name, found in runs.items():
        seconds = found["cpu_seconds"] - start["cpu_seconds"]
        record[name] = {**found, "lines_per_cpu_second": round(found["lines"] / seconds, 1)}
    rates = [record[name]["lines_per_cpu_second"] for name in runs]
    record["large_over_small"] = round(rates[1] / ((rates[0] + rates[2]) / 2), 3)
    memory = record["large"]["rss_mib"]
    record["growth_mib"] = round(memory["end"] - memory["tenth"], 1)
    print(
        f"{options.lines:,} lines: {rates[1]} lines/s of CPU time, {record['large_over_small']} of "
        f"the small file's rate; {memory['tenth']} MiB at a tenth, {memory['end']} MiB at the end"
    )
    if options.output:
        options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def make_model(folder: Path, subwords: int) -> None:
    import torch

    from seq2seq import Translator
    from seq2seq.config import config_from_dict
    from seq2seq.tasks.translation.model import TranslationModel
    from seq2seq.text.sentencepiece import Tokenizer

    config = config_from_dict(
        {
            "data": {"train": "none.{lang}"},
            "tokenizer": {"vocab_size": 2000, "kind": "bpe"},
            "model": {
                "encoder": {"layers": 1, "hidden_size": 64},
                "decoder": {"hidden_size": 128},
                "embedding_size": 64,
            },
            "decoding": {"max_length_ratio": 0.0, "max_length_extra": subwords, "beam_size": 1},
        }
    )
    draw = random.Random(0)
    tokenizer = Tokenizer.train([text(draw) for _ in range(5000)], config.tokenizer)
    torch.manual_seed(0)
    model = TranslationModel(config.model, len(tokenizer), len(tokenizer))
    Translator(model, tokenizer, tokenizer, config).save_pretrained(folder)


def text(draw: random.Random) -> str:
    words = (draw.randrange(WORDS) for _ in range(draw.randint(1, 12)))
    return " ".join("".join(chr(97 + int(digit)) for digit in f"{word:04}") for word in words)


def make_lines(path: Path, count: int) -> Path:
    draw = random.Random(count)
    with path.open("w", encoding="utf-8") as stream:
        for _ in range(count):
            stream.write(f"{text(draw)}\n")
    return path


def run(place: Path, source: Path, lines: int) -> dict:
    """CPU seconds of the command, and its memory on the way."""
    target = place / "out.txt"
    target.unlink(missing_ok=True)
    command = [sys.executable, "-m", "seq2seq", "translate", str(place / "model"), "--threads", "1"]
    command += ["--input", str(source), "--output", str(target), "--progress"]
    process = subprocess.Popen(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True
    )
    seen: list[tuple[int, float]] = []  # bytes written, MiB
    while process.poll() is None:
        time.sleep(0.25)
        memory = resident(process.pid)
        if memory is not None and target.exists():
            seen.append((target.stat().st_size, memory))
    _, told = process.communicate()
    if process.returncode:
        sys.exit(told)
    size = target.stat().st_size
    written = target.read_bytes().count(b"\n")
    if written != lines:
        sys.exit(f"{written} lines written, expected {lines}")
    at = {}
    for name, share in (("tenth", 0.1), ("half", 0.5), ("end", 1.0)):
        passed = [memory for done, memory in seen if done >= share * size] or [m for _, m in seen]
        at[name] = passed[-1 if share == 1.0 else 0] if passed else None
    return {
        "lines": lines,
        "cpu_seconds": round(children_seconds(), 2),
        "rss_mib": at,
        "told": told.strip().splitlines()[-1],
    }


_before = 0.0


def children_seconds() -> float:
    """CPU seconds of the processes that have ended since the last call."""
    global _before
    times = os.times()
    total = times.children_user + times.children_system
    found, _before = total - _before, total
    return found


def resident(pid: int) -> float | None:
    """MiB"""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = [line for line in lines if line.startswith("VmRSS")]
    return round(int(found[0].split()[1]) / 1024, 1) if found else None


def cpu() -> str:
    from kernels.common.processor import name

    return name()


if __name__ == "__main__":
    main()
