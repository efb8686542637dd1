"""Training on data larger than memory: peak memory of all processes, time before the first step.

    python benchmarks/large_data.py translation --pairs 1000000        155 MB of sentence pairs
    python benchmarks/large_data.py generation --gigabytes 3           a text of 3 GB
    python benchmarks/large_data.py generation --gigabytes 3 --stream  the same as a stream

The data are made by code in ``--folder`` (kept there for another run, with the caches taken away)
and trained on by ``seq2seq train`` in a process of its own, which is watched from outside. Memory:
``resident`` is the sum of RSS over all its processes, in which shared pages count for each;
``proportional`` (PSS) counts them once; ``own`` leaves out pages of files, which the system takes
back when it needs them. ``--output FILE.json`` writes the figures down.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

SYLLABLES = [c + v + e for c in "bdfgklmnprstvz" for v in "aeiou" for e in ("", "n", "r", "s", "l")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=("translation", "generation"))
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--gigabytes", type=float, default=3.0)
    parser.add_argument("--units", default="characters", help="of generation: units.kind")
    parser.add_argument("--stream", action="store_true", help="data.streaming: true")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--folder", type=Path, default=Path("large_data"))
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    make = translation_run if options.task == "translation" else generation_run
    values, size = make(options)
    figures = watch(values, options.folder, options.steps)
    figures = {"task": options.task, "streaming": options.stream, "bytes": size, **figures}
    figures |= {"machine": processor(), "cores": os.cpu_count()}
    print(json.dumps(figures, indent=1))
    if options.output:
        options.output.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def processor() -> str:
    """Its name, where the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def words_of(random: np.random.Generator, count: int) -> np.ndarray:
    """Made-up words, the frequent ones short."""
    lengths = np.minimum(1 + np.arange(count) // (count // 4), 4)
    return np.array(["".join(random.choice(SYLLABLES, n)) for n in lengths], dtype=object)


def sentences(random: np.random.Generator, words: np.ndarray, count: int) -> list[str]:
    """Words drawn by Zipf's law, 5 to 29 in a sentence."""
    ranks = (len(words) ** random.random(29 * count)).astype(np.int64) - 1
    lengths = random.integers(5, 30, count)
    found, at = [], 0
    for length in lengths.tolist():
        found.append(" ".join(words[ranks[at : at + length]]).capitalize() + ".")
        at += length
    return found


def translation_run(options: argparse.Namespace) -> tuple[dict[str, Any], int]:
    """Both sides tell the same with other words, in the other order."""
    random = np.random.default_rng(1)
    paths = [options.folder / f"pairs-{options.pairs}.{side}" for side in ("en", "de")]
    if not all(path.exists() for path in paths):
        sides = [words_of(random, 50_000) for _ in paths]
        with open(paths[0], "w") as first, open(paths[1], "w") as second:
            for start in range(0, options.pairs, 10_000):
                count = min(10_000, options.pairs - start)
                state = random.bit_generator.state
                first.writelines(text + "\n" for text in sentences(random, sides[0], count))
                random.bit_generator.state = state
                second.writelines(text + "\n" for text in sentences(random, sides[1], count))
    data = {"train": str(options.folder / f"pairs-{options.pairs}.{{lang}}")}
    values = {
        "task": "translation",
        "data": {**data, "batch_tokens": 2000},
        "model": {"encoder": {"hidden_size": 128}, "decoder": {"hidden_size": 256}},
    }
    if options.stream:
        values["data"]["streaming"] = True
    return values, sum(path.stat().st_size for path in paths)


def generation_run(options: argparse.Namespace) -> tuple[dict[str, Any], int]:
    random = np.random.default_rng(2)
    path = options.folder / f"text-{options.gigabytes:g}.txt"
    if not path.exists():
        words, size = words_of(random, 50_000), 0
        blocks = ["\n".join(sentences(random, words, 20_000)) + "\n" for _ in range(20)]
        with open(path, "w") as file:
            while size < options.gigabytes * 1e9:
                text = blocks[int(random.integers(len(blocks)))]
                start = int(random.integers(len(text) // 2))  # lines in ever new neighbourhoods
                size += file.write(text[text.index("\n", start) + 1 :])
    values = {
        "task": "generation",
        "data": {"train": str(path), "validation_share": 0.00001, "batch_size": 32},
        "units": {"kind": options.units},
        "model": {"hidden_size": 128, "embedding_size": 32, "layers": 1},
    }
    if options.stream:
        values["data"] |= {"streaming": True, "validation_share": 0.0}
    return values, path.stat().st_size


def watch(values: dict[str, Any], folder: Path, steps: int) -> dict[str, Any]:
    """Train from nothing, and look at the processes once in a while."""
    for name in ("run", "cache", "home"):
        shutil.rmtree(folder / name, ignore_errors=True)
    values["output"] = str(folder / "run")
    values["data"]["cache_dir"] = str(folder / "cache")
    values["training"] = {
        "max_steps": steps, "log_every": max(1, steps // 20), "device": "cpu", "threads": 1,
        "precision": "fp32", "validate_every": steps,
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(values))
    command = [sys.executable, "-m", "seq2seq", "train", str(folder / "run.json"), "--quiet"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HOME": str(folder / "home")}
    started = time.monotonic()
    log = folder / "stderr.txt"
    with open(log, "w") as errors:
        process = subprocess.Popen(command, stderr=errors, env=environment)
    samples: list[dict[str, float]] = []
    before: float | None = None
    while process.poll() is None:
        now = time.monotonic() - started
        if before is None and "at most" in log.read_text():
            before, cpu = now, samples[-1]["cpu"] if samples else 0.0
        if found := memory(process.pid):
            samples.append({"seconds": now, **found})
        time.sleep(0.25)
    print(log.read_text(), file=sys.stderr)
    if process.returncode:
        sys.exit(process.returncode)
    assert before is not None
    training = [s for s in samples if s["seconds"] >= before]
    peak = {
        kind: max(sample[kind] for sample in samples)
        for kind in ("resident", "proportional", "own")
    }
    return {
        "seconds_before_step_1": round(before, 1),
        "cpu_seconds_before_step_1": round(cpu, 1),
        "load_average": os.getloadavg()[1],
        "peak_megabytes": peak,
        # flat: the same at a quarter, at half and at the end of the training
        "megabytes_while_training": [
            training[(len(training) - 1) * n // 4]["resident"] for n in range(1, 5)
        ],
        "seconds": round(samples[-1]["seconds"], 1),
        "steps": steps,
    }


def memory(pid: int) -> dict[str, float] | None:
    """Megabytes of a process and its children, and the CPU time of all since they began."""
    total = {"resident": 0, "proportional": 0, "own": 0, "cpu": 0.0}
    names = {"Rss": "resident", "Pss": "proportional", "Anonymous": "own"}
    for one in (pid, *descendants(pid)):
        try:
            for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()[1:]:
                name, value = line.split()[:2]
                if kind := names.get(name.rstrip(":")):
                    total[kind] += int(value) / 1000
            fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
            own = slice(11, 15) if one == pid else slice(11, 13)  # with children that have ended
            total["cpu"] += sum(map(int, fields[own])) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError):
            if one == pid:
                return None
    return {kind: round(value) for kind, value in total.items()}


def descendants(pid: int) -> list[int]:
    try:
        tasks = Path(f"/proc/{pid}/task").glob("*/children")
        children = [int(child) for path in tasks for child in path.read_text().split()]
    except OSError:
        return []
    return [one for child in children for one in (child, *descendants(child))]


if __name__ == "__main__":
    main()
