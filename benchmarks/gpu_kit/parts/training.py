"""Multi30k for a number of steps on one backend: ``training triton|torch STEPS``.

Both backends see the same batches, weights and dropout seeds; the run ends with a validation, whose
loss and BLEU (greedy) are reported with the rate of the steps after the first tenth.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
from pathlib import Path

import torch

from benchmarks.gpu_kit.places import CORPUS, ROOT, RUNS, TOKENIZER
from benchmarks.gpu_kit.records import Record, attempt

CONFIG = ROOT / "recipes" / "translation" / "multi30k.yaml"


def arguments(folder: Path, corpus: Path, steps: int) -> list[str]:
    options = {
        "data.train": corpus / "train.{lang}.gz",
        "data.validation": corpus / "val.{lang}.gz",
        "data.test": "null",
        "output": folder,
        "training.max_steps": steps,
        "training.warmup_steps": max(1, steps // 2),
        "training.ema_decay": 0.0,
        "training.validate_every": steps,
        "training.checkpoint_every": "null",
        "training.average": "false",
        "training.log_every": max(1, steps // 20),
        "training.precision": "bf16",
        "training.device": "cuda",
    }
    if TOKENIZER.exists():
        options["tokenizer.model"] = TOKENIZER
    return ["train", str(CONFIG), *(f"--{name}={value}" for name, value in options.items())]


def summary(records: list[Record]) -> Record:
    rates = [r["tokens_per_second"] for r in records if "tokens_per_second" in r]
    steady = rates[max(1, len(rates) // 10) :] or rates
    last = [r for r in records if "tokens_per_second" not in r][-1:]
    found: Record = {
        "target_tokens_per_second": round(statistics.median(steady)) if steady else None
    }
    losses = [r["loss"] for r in records if "loss" in r and "tokens_per_second" in r]
    found["training_loss"] = round(losses[-1], 4) if losses else None
    numbers = {k: v for r in last for k, v in r.items() if isinstance(v, (int, float))}
    return found | {k: v for k, v in numbers.items() if k not in ("seconds", "epoch")}


def train(backend: str, steps: int) -> Record:
    from seq2seq.cli import main as seq2seq

    os.environ["KERNELS_BACKEND"] = backend
    folder = RUNS / backend
    shutil.rmtree(folder, ignore_errors=True)
    corpus = CORPUS if CORPUS.exists() else ROOT.parent / "shared" / "data" / "multi30k"
    status = seq2seq(arguments(folder, corpus, steps))
    log = folder / "log.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    found = {"card": torch.cuda.get_device_name()}
    found |= summary([json.loads(line) for line in lines])
    return found if status == 0 else found | {"problem": f"seq2seq train ended with {status}"}


def main(backend: str, steps: int) -> int:
    if backend == "torch" and os.environ.get("GPU_KIT_PRETEND") == "1":
        steps = min(steps, 2)  # it compiles nothing, and these try every line
    good = attempt("training", f"Multi30k, {backend}, {steps} steps", lambda: train(backend, steps))
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], int(sys.argv[2])))
