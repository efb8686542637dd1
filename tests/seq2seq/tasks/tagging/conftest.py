"""Sentences whose labels follow from their words, and a model of them."""

from __future__ import annotations

import random

import pytest
import torch

from seq2seq.config import config_from_dict
from seq2seq.training.loop import train

NAMES, PLACES = ["Ann", "Bo", "Cy", "Di"], ["Rome", "Oslo", "Bonn", "Lima"]


def sentence(draw):
    """Words, spans in BIO, plain labels, and the label of the whole."""
    rows = [("we", "O", "W"), (draw.choice(["met", "saw"]), "O", "V")]
    rows.append((draw.choice(NAMES), "B-PER", "N"))
    if draw.random() < 0.5:
        rows.append((draw.choice(NAMES), "I-PER", "N"))
    asks = draw.random() < 0.5
    if draw.random() < 0.7:
        rows += [("in", "O", "W"), (draw.choice(PLACES), "B-LOC", "N")]
    rows.append(("?" if asks else ".", "O", "M"))
    return rows, "question" if asks else "statement"


def write(path, count, seed):
    draw = random.Random(seed)
    blocks = []
    for _ in range(count):
        rows, kind = sentence(draw)
        lines = "".join("\t".join(row) + "\n" for row in rows)
        blocks.append(f"# kind = {kind}\n{lines}")
    path.write_text("\n".join(blocks))


def settings(folder, **changes):
    """The configuration of a small run, as plain values."""
    values = {
        "task": "tagging",
        "output": str(folder / "run"),
        "data": {
            "train": str(folder / "train.txt"),
            "validation": str(folder / "validation.txt"),
            "labels": ["ner=1", "pos=2"],
            "sentence_label": "kind",
            "batch_size": 8,
        },
        "model": {
            "embedding_size": 12,
            "characters": {"kind": "cnn", "embedding_size": 6, "hidden_size": 8},
            "shape_size": 4,
            "encoder": {"hidden_size": 16},
            "dropout": 0.2,
        },
        "training": {
            "max_epochs": 6,
            "learning_rate": 0.02,
            "ema_decay": 0.9,
            "precision": "fp32",
            "device": "cpu",
            "threads": 1,
            "log_every": 5,
        },
    }
    for key, value in changes.items():
        section, _, name = key.rpartition("__")
        (values[section] if section else values)[name] = value
    return values


@pytest.fixture
def folder(tmp_path):
    """A folder with train.txt and validation.txt."""
    write(tmp_path / "train.txt", 120, 1)
    write(tmp_path / "validation.txt", 30, 2)
    return tmp_path


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """The folder of a trained model; validation.txt and train.txt lie two folders above it."""
    folder = tmp_path_factory.mktemp("tagging")
    write(folder / "train.txt", 120, 1)
    write(folder / "validation.txt", 30, 2)
    threads = torch.get_num_threads()
    path = train(config_from_dict(settings(folder)), quiet=True)
    torch.set_num_threads(threads)
    return path
