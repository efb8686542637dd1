"""Images drawn by code with captions that say what they show: small enough to learn in seconds."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

from PIL import Image, ImageDraw

COLOURS = ("red", "green", "blue")
SHAPES = ("circle", "square")


def draw(path: Path, colour: str, shape: str, place: tuple[int, int]) -> None:
    image = Image.new("RGB", (32, 32), "black")
    x, y = place
    pen = ImageDraw.Draw(image)
    form = pen.ellipse if shape == "circle" else pen.rectangle
    form((x, y, x + 14, y + 14), fill=colour)
    image.save(path)


def write_split(folder: Path, count: int, seed: int) -> Path:
    """``count`` images with two captions each."""
    folder.mkdir(parents=True)
    chance = random.Random(seed)
    lines = []
    kinds = itertools.cycle(itertools.product(COLOURS, SHAPES))
    for number, (colour, shape) in zip(range(count), kinds, strict=False):
        name = f"{number}.png"
        draw(folder / name, colour, shape, (chance.randint(2, 14), chance.randint(2, 14)))
        captions = [f"A {colour} {shape} on the black ground.", f"There is one {colour} {shape} ."]
        lines.append(json.dumps({"file_name": name, "captions": captions}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def settings(data: Path, output: Path, **training) -> dict:
    """A configuration that trains on ``data``/train in a second or two."""
    return {
        "task": "captioning",
        "output": str(output),
        "data": {
            "train": str(data / "train"),
            "validation": str(data / "validation"),
            "image_size": 32,
            "batch_images": 12,
            "cache_dir": str(data / "cache"),
            "augmentation": {"size": 28, "crop": 0.7, "colour": 0.1},
        },
        "units": {"min_count": 1},
        "model": {
            "encoder": {
                "stem": 8, "widths": [16, 24], "blocks": [1, 1], "strides": [2, 2],
            },
            "decoder": {"hidden_size": 32},
            "embedding_size": 16,
            "words": 10,
            "dropout": 0.1,
        },
        "training": {
            "max_epochs": 100, "max_steps": 12, "log_every": 2, "validate_every": 4,
            "warmup_steps": 4, "threads": 1, "device": "cpu", "precision": "fp32",
            "ema_decay": 0.9, "word_loss": 0.3, "word_epochs": 1, "learning_rate": 5e-3,
            **training,
        },
    }  # fmt: skip
