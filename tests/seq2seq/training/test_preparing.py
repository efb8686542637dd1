"""What tasks do alike before the first step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seq2seq.config import VocabularyConfig
from seq2seq.errors import RunError, UsageError
from seq2seq.text.vocabulary import Bytes, Characters
from seq2seq.training.preparing import copy_weights, units_of_run


def test_the_vocabulary_of_a_run(tmp_path, capsys):
    config = VocabularyConfig(kind="characters")
    made = units_of_run(config, tmp_path, iter(["abc"]), None, keep=False)
    assert made.characters == ["a", "b", "c"]
    assert "learning the vocabulary: characters" in capsys.readouterr().err
    kept = units_of_run(config, tmp_path, iter(["xyz"]), None, keep=True)
    assert kept.characters == ["a", "b", "c"]
    first = Characters(["q"], knows_unknown=False)
    assert units_of_run(config, tmp_path, iter(["xyz"]), first, keep=False) is first
    assert units_of_run(config, tmp_path, iter([]), None, keep=True).characters == ["q"]
    with pytest.raises(UsageError, match=r"units\.kind is characters; .* has bytes"):
        units_of_run(config, tmp_path, iter([]), Bytes(), keep=False)


def test_weights_to_begin_with():
    first, model = nn.Linear(2, 3), nn.Linear(2, 3)
    copy_weights(first, model, "old/model")
    assert torch.equal(first.weight, model.weight)
    with pytest.raises(RunError, match=r"training\.start_from old/model: 'weight' has shape"):
        copy_weights(nn.Linear(2, 4), model, "old/model")
