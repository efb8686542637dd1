"""A small captioning model for tests."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("PIL")


from seq2seq import Captioner
from seq2seq.config import config_from_dict
from seq2seq.tasks.captioning.model import CaptioningModel
from seq2seq.text.vocabulary import Words

WORDS = "<eos> a red green blue circle square on the black ground".split()


def make(size=32, **model) -> Captioner:
    """A model of random weights, whose logits are far apart."""
    torch.manual_seed(0)
    encoder = {"stem": 8, "widths": [16, 24], "blocks": [1, 1], "strides": [2, 2]}
    values = {
        "task": "captioning",
        "data": {"image_size": size},
        "model": {
            "encoder": encoder | model.pop("encoder", {}),
            "decoder": {"hidden_size": 16} | model.pop("decoder", {}),
            "embedding_size": 8,
            "init_range": 1.0,
            "tied_embeddings": False,
            **model,
        },
        "decoding": {"beam_size": 3, "max_length": 8, "min_length": 1},
    }
    config = config_from_dict(values)
    units = Words(WORDS)
    return Captioner(CaptioningModel(config.model, len(units)), units, config)
