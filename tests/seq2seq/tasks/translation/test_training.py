"""What validation counts, and what chooses checkpoints."""

from __future__ import annotations

import pytest
from accelerate import Accelerator

from seq2seq.config import config_from_dict
from seq2seq.tasks.translation.training import TranslationTask
from seq2seq.training.loop import train
from tests.seq2seq.running import records

WORDS = dict(zip("abcdefgh", "我是一个人在这里", strict=True))


@pytest.fixture(scope="module")
def chinese(tmp_path_factory):
    """Letters, and a character for each, without spaces."""
    folder = tmp_path_factory.mktemp("chinese")
    lines = [[*"abcdefgh"[n % 8 :], *"abcdefgh"[: (3 * n) % 7]] for n in range(60)]
    (folder / "t.en").write_text("".join(" ".join(line) + "\n" for line in lines))
    targets = ("".join(WORDS[one] for one in line) + "\n" for line in lines)
    (folder / "t.zh").write_text("".join(targets), encoding="utf-8")
    return folder


def settings(folder, output, target="zh", **training):
    (folder / f"t.{target}").write_bytes((folder / "t.zh").read_bytes())
    path = f"{folder}/t.{{lang}}"
    return {
        "output": str(output),
        "data": {"source": "en", "target": target, "train": path, "validation": path,
                 "test": path, "batch_tokens": 200, "cache_dir": str(folder / "cache")},
        "tokenizer": {"kind": "char", "vocab_size": 40, "byte_fallback": False},
        "model": {"encoder": {"layers": 1, "hidden_size": 24}, "decoder": {"hidden_size": 32},
                  "embedding_size": 24, "dropout": 0.0},
        "training": {"max_steps": 60, "validate_every": 30, "learning_rate": 1e-2, "threads": 1,
                     "warmup_steps": 5, "device": "cpu", "precision": "fp32", "ema_decay": 0.0,
                     **training},
    }  # fmt: skip


def test_bleu_of_a_language_without_spaces_counts_characters(chinese, tmp_path):
    values = settings(chinese, tmp_path / "run", max_steps=200, validate_every=200)
    train(config_from_dict(values), quiet=True)
    assert records(tmp_path / "run")[-1]["bleu"] > 20
    assert "tok:zh" in (tmp_path / "run" / "test.scores.json").read_text()


@pytest.mark.parametrize(
    ("target", "told", "counted"),
    [("zh", "auto", "zh"), ("de", "auto", "13a"), ("de", "char", "char"), ("zh", "none", "none")],
)
def test_what_bleu_counts(chinese, tmp_path, target, told, counted):
    values = settings(chinese, tmp_path / "run", target, bleu_tokenizer=told)
    task = TranslationTask(config_from_dict(values), tmp_path, Accelerator(cpu=True), False)
    assert task._counted() == counted


@pytest.mark.parametrize(
    ("best_by", "told"),
    [("bleu", "validation BLEU "), ("chrf", "validation chrF2 "), ("loss", "loss")],
)
def test_what_chooses_checkpoints(chinese, tmp_path, best_by, told):
    values = settings(chinese, tmp_path / "run", best_by=best_by, max_steps=20, validate_every=10)
    model = train(config_from_dict(values), quiet=True)
    figures = [one for one in records(tmp_path / "run") if "bleu" in one]
    assert all(("chrf" in one) is (best_by == "chrf") for one in figures)
    assert told in (model / "README.md").read_text()
