"""For each task of the registry: a data set and a configuration that train in seconds, and a
command that uses the trained model. A new task joins the soak with an entry in ``TINY``."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Values = dict[str, Any]  # a configuration as YAML has it

TRAINING = {
    "max_epochs": 100, "max_steps": 12, "log_every": 2, "validate_every": 4, "checkpoint_every": 1,
    "warmup_steps": 4, "threads": 1, "device": "cpu", "precision": "fp32", "ema_decay": 0.9,
    "accumulation": 2, "keep_best": 2, "average": True,
}  # fmt: skip


@dataclass(frozen=True)
class Tiny:
    """``make`` writes a data set into a folder and returns a configuration that trains on it; its
    ``output`` and the folder of caches are set by the caller.

    ``use`` are the arguments of a command that uses a trained model, with ``{model}`` and
    ``{data}`` in them, and ``stdin`` is what it reads.
    """

    make: Callable[[Path], Values]
    use: tuple[str, ...]
    stdin: bytes = b""


def configuration(values: Values, output: Path, cache: Path) -> Values:
    """``values`` with an output folder, and a cache folder where the task has that key."""
    changed = {**values, "output": str(output)}
    if "cache_dir" in values["data"]:
        changed["data"] = {**values["data"], "cache_dir": str(cache)}
    return changed


def write(values: Values, path: Path) -> Path:
    """The configuration as a file; JSON is YAML."""
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def _translation(folder: Path) -> Values:
    chance = random.Random(1)
    for split, count in (("train", 300), ("validation", 12), ("test", 12)):
        lines = [chance.choices("abcdefgh", k=chance.randint(1, 6)) for _ in range(count)]
        for language, shift in (("en", 0), ("de", 12)):
            text = "".join(" ".join(chr(ord(w) + shift) for w in line) + "\n" for line in lines)
            (folder / f"{split}.{language}").write_text(text, encoding="utf-8")
    return {
        "task": "translation",
        "data": {
            **{split: f"{folder}/{split}.{{lang}}" for split in ("train", "validation", "test")},
            "batch_tokens": 256,
            "cache_dir": "",
        },
        "tokenizer": {"vocab_size": 278, "sampling": 0.5},
        "model": {
            "encoder": {"layers": 1, "hidden_size": 8},
            "decoder": {"hidden_size": 8},
            "embedding_size": 8,
            "dropout": 0.1,
        },
        "training": TRAINING,
        "decoding": {"beam_size": 2, "max_length_extra": 2},
    }


def _generation(folder: Path) -> Values:
    chance = random.Random(2)
    pairs = [(chance.randint(0, 4), chance.randint(0, 4)) for _ in range(400)]
    text = "".join(f"{a} and {b} make {a + b}\n" for a, b in pairs)
    (folder / "sums.txt").write_text(text, encoding="utf-8")
    return {
        "task": "generation",
        "data": {
            "train": f"{folder}/sums.txt", "test": f"{folder}/sums.txt",
            "batch_size": 8, "bptt": 20,
        },
        "model": {"hidden_size": 16, "embedding_size": 8, "hidden_dropout": 0.1},
        "training": {**TRAINING, "reset_rate": 0.2, "variable_bptt": True},
        "generation": {"max_length": 20},
    }  # fmt: skip


def _captioning(folder: Path) -> Values:
    from PIL import Image

    for split, count in (("train", 24), ("validation", 6)):
        (folder / split).mkdir()
        lines = []
        for number in range(count):
            colour = ("red", "green", "blue")[number % 3]
            Image.new("RGB", (20, 20), colour).save(folder / split / f"{number}.png")
            captions = [f"A {colour} picture.", f"This is {colour} ."]
            lines.append(json.dumps({"file_name": f"{number}.png", "captions": captions}) + "\n")
        (folder / split / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")
    return {
        "task": "captioning",
        "data": {
            "train": f"{folder}/train", "validation": f"{folder}/validation", "image_size": 16,
            "batch_images": 6, "cache_dir": "", "augmentation": {"size": 12, "crop": 0.7},
        },
        "units": {"min_count": 1},
        "model": {
            "encoder": {"stem": 4, "widths": [8], "blocks": [1], "strides": [2]},
            "decoder": {"hidden_size": 8},
            "embedding_size": 8,
            "dropout": 0.1,
        },
        "training": {**TRAINING, "accumulation": 1},
        "decoding": {"beam_size": 2, "max_length": 5},
    }  # fmt: skip


def _classification(folder: Path) -> Values:
    chance = random.Random(3)
    words = {"good": ["fine", "lovely", "great"], "bad": ["dull", "awful", "poor"]}
    for split, count in (("train", 120), ("validation", 20)):
        lines = []
        for _ in range(count):
            label = chance.choice(list(words))
            text = [*chance.choices(["the", "film", "was", "a", "plot"], k=3), *words[label][:2]]
            lines.append(f"{label}\t{' '.join(text)}\n")
        (folder / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")
    return {
        "task": "classification",
        "data": {
            "train": f"{folder}/train.tsv", "validation": f"{folder}/validation.tsv",
            "batch_size": 8,
        },
        "model": {
            "embedding_size": 8, "encoder": {"hidden_size": 8}, "pooling": ["attention", "max"],
            "dropout": 0.1,
        },
        "training": TRAINING,
    }  # fmt: skip


def _tagging(folder: Path) -> Values:
    chance = random.Random(4)
    for split, count in (("train", 60), ("validation", 12)):
        blocks = []
        for _ in range(count):
            rows = [("we", "O"), (chance.choice(["met", "saw"]), "O")]
            rows += [(chance.choice(["Ann", "Bo"]), "B-PER"), (chance.choice(".?"), "O")]
            blocks.append("".join(f"{word}\t{label}\n" for word, label in rows))
        (folder / f"{split}.txt").write_text("\n".join(blocks), encoding="utf-8")
    return {
        "task": "tagging",
        "data": {
            "train": f"{folder}/train.txt", "validation": f"{folder}/validation.txt",
            "labels": ["ner=1"], "batch_size": 6,
        },
        "model": {
            "embedding_size": 8, "encoder": {"hidden_size": 8}, "dropout": 0.1,
            "characters": {"kind": "cnn", "embedding_size": 4, "hidden_size": 4},
        },
        "training": TRAINING,
    }  # fmt: skip


def _forecasting(folder: Path) -> Values:
    chance = random.Random(5)
    rows = ["time,y"]
    for hour in range(24 * 10):
        time = f"2024-01-{1 + hour // 24:02} {hour % 24:02}:00:00"
        rows.append(f"{time},{10 + hour % 24 + chance.gauss(0, 1):.3f}")
    (folder / "series.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return {
        "task": "forecasting",
        "data": {
            "train": f"{folder}/series.csv", "split": ["2024-01-07", "2024-01-08"],
            "batch_size": 16,
        },
        "model": {
            "context": 24, "horizon": 6, "hidden_size": 8, "segment": 6, "scaling": "window",
            "kind": "segments",
        },
        "training": TRAINING,
        "forecast": {"paths": 20, "levels": [0.1, 0.5, 0.9]},
    }  # fmt: skip


TINY = {
    "translation": Tiny(_translation, ("translate", "{model}", "--threads", "1"), b"a b\n\nc\n"),
    "generation": Tiny(
        _generation,
        ("generate", "{model}", "--seed", "1", "--prompt", "1 and", "--threads", "1"),
    ),
    "captioning": Tiny(
        _captioning, ("caption", "{model}", "{data}/validation/0.png", "--threads", "1")
    ),
    "classification": Tiny(
        _classification, ("classify", "{model}", "--threads", "1"), b"a fine film\n\n"
    ),
    "tagging": Tiny(_tagging, ("tag", "{model}", "--threads", "1"), b"we met Ann .\n\n"),
    "forecasting": Tiny(
        _forecasting, ("forecast", "{model}", "--input", "{data}/series.csv", "--threads", "1")
    ),
}
