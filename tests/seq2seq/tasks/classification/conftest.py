"""Small data that a small model can learn, and runs on it."""

from __future__ import annotations

import random

import numpy as np
import pytest

from seq2seq.config import config_from_dict
from seq2seq.training.loop import train

GOOD, BAD = ["fine", "lovely", "great"], ["dull", "awful", "poor"]
NEUTRAL = ["the", "film", "was", "and", "a", "plot", "here", "with"]


def sentences(count: int, seed: int) -> list[tuple[str, str]]:
    """(label, text): one word of each decides; so does a negation before it."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        words = draw.choices(NEUTRAL, k=draw.randint(2, 7))
        good, negated = draw.random() < 0.5, draw.random() < 0.3
        decisive = [draw.choice(GOOD if good else BAD)]
        at = draw.randint(0, len(words))
        words[at:at] = (["not"] if negated else []) + decisive
        found.append(("good" if good != negated else "bad", " ".join(words)))
    return found


def write(path, rows) -> None:
    path.write_text("".join(f"{label}\t{text}\n" for label, text in rows))


def text_settings(folder, output, **training) -> dict:
    return {
        "task": "classification",
        "output": str(output),
        "data": {
            "train": str(folder / "train.tsv"),
            "validation": str(folder / "valid.tsv"),
            "batch_size": 16,
        },
        "model": {
            "embedding_size": 12,
            "encoder": {"hidden_size": 12},
            "pooling": ["attention", "max"],
            "input_dropout": 0.1,
            "dropout": 0.1,
            "word_dropout": 0.05,
        },
        "training": {
            "max_epochs": 100, "max_steps": 60, "log_every": 7, "validate_every": 20,
            "warmup_steps": 4, "threads": 1, "device": "cpu", "precision": "fp32",
            "ema_decay": 0.9, "accumulation": 2, "keep_best": 2, "average": True, **training,
        },
    }  # fmt: skip


@pytest.fixture(scope="session")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for name, count, seed in (("train", 400, 1), ("valid", 60, 2), ("test", 80, 3)):
        write(folder / f"{name}.tsv", sentences(count, seed))
    return folder


@pytest.fixture(scope="session")
def model(texts, tmp_path_factory):
    """The folder of a model that has learnt ``sentences``."""
    output = tmp_path_factory.mktemp("model") / "run"
    values = text_settings(
        texts, output, max_steps=300, validate_every=100, learning_rate=1e-2, ema_decay=0.0,
        accumulation=1,
    )  # fmt: skip
    values["data"]["test"] = str(texts / "test.tsv")
    return train(config_from_dict(values), quiet=True)


def waves(count: int, seed: int, irregular: bool):
    """Series whose label is the frequency of a wave; with gaps and missing values if irregular."""
    draw = np.random.default_rng(seed)
    series, times, labels = [], [], []
    for n in range(count):
        steps = int(draw.integers(10, 18))
        at = np.cumsum(draw.uniform(0.5, 1.5, steps)) if irregular else np.arange(steps)
        phase = draw.uniform(0, 6.28)
        rate = (0.4, 1.3)[n % 2]
        values = np.stack([np.sin(rate * at + phase), 5 + draw.normal(size=steps)], 1)
        if irregular:
            values[draw.random(values.shape) < 0.2] = np.nan
        series.append(values)
        times.append(at)
        labels.append(("slow", "fast")[n % 2])
    return series, times, labels


def write_npz(path, count: int, seed: int, irregular: bool) -> None:
    series, times, labels = waves(count, seed, irregular)
    arrays = {"times": np.concatenate(times)} if irregular else {}
    np.savez(
        path,
        values=np.concatenate(series).astype(np.float32),
        lengths=np.array([len(one) for one in series]),
        labels=np.array(labels),
        static=np.array([[n % 5, np.nan if n % 3 else 1.0] for n in range(count)]),
        **arrays,
    )


def series_settings(folder, output, decay: bool, **training) -> dict:
    values = text_settings(folder, output, **training)
    values["data"] |= {
        "kind": "series", "train": str(folder / "train.npz"), "validation": None,
        "validation_share": 0.2,
    }  # fmt: skip
    values["model"] = {
        "encoder": {"cell": "gru", "hidden_size": 12, "decay": decay, "bidirectional": not decay},
        "pooling": ["last", "mean"],
        "input_dropout": 0.0,
    }
    return values
