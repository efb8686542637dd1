"""The same training and the same text on every backend; Triton runs in its interpreter here."""

from __future__ import annotations

import pytest
import torch

from kernels import use_backend
from seq2seq.config import config_from_dict
from seq2seq.tasks.translation.translator import Translator
from seq2seq.training.loop import train
from tests.seq2seq.running import records
from tests.seq2seq.training.test_loop import settings, write_corpus

SOURCES = ["a b c", "h", ""]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"), 1, 12, 2, longest=4)


@pytest.mark.parametrize(
    ("cell", "decoder"),
    [
        ("lstm", {"attention": "additive", "layers": 2}),
        ("gru", {"attention": "general", "input_feeding": False}),
    ],
)
def test_training_and_text_are_the_same_on_both_backends(corpus, tmp_path, cell, decoder):
    """Encoder, decoder loop and vocabulary loss, dropout and clipping, then beam search."""
    logs, texts = [], []
    for backend in ("torch", "triton"):
        values = settings(
            corpus, tmp_path / backend, max_steps=2, log_every=1, validate_every=2,
            learning_rate=2e-2,
        )  # fmt: skip
        values["data"]["batch_tokens"] = 24
        values["tokenizer"] = {"vocab_size": 24, "byte_fallback": False}
        values["decoding"] = {"min_length": 2, "max_length_extra": 2}
        values["model"]["encoder"]["cell"] = cell
        values["model"]["decoder"] |= {"cell": cell, "hidden_size": 16, **decoder}
        with use_backend(backend):
            train(config_from_dict(values), quiet=True)
        logs.append([r["loss"] for r in records(tmp_path / backend) if "loss" in r])
    assert len(logs[0]) == 2
    torch.testing.assert_close(*map(torch.tensor, logs), rtol=2e-5, atol=0)
    translator = Translator.from_pretrained(tmp_path / "torch" / "model", device="cpu")
    for backend in ("torch", "triton"):
        with use_backend(backend):
            texts.append([translator.translate(SOURCES, beam_size=k) for k in (1, 3)])
    assert texts[0] == texts[1]
    assert any(texts[0][0])
