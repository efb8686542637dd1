"""What tasks do alike before the first step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seq2seq.config import VocabularyConfig
from seq2seq.errors import RunError, UsageError
from seq2seq.tasks.tagging.config import TaggingEncoderConfig, TaggingModelConfig
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


def test_another_shape_is_told_by_its_keys():
    before = TaggingModelConfig(dropout=0.1, encoder=TaggingEncoderConfig(hidden_size=4))
    here = TaggingModelConfig(crf="none", encoder=TaggingEncoderConfig(hidden_size=3))
    told = (
        r"old/model: its 'model.encoder.hidden_size' is 4, here 3; its 'model.crf' is spans, here "
        "none; expected a model of the same shape"
    )
    with pytest.raises(UsageError, match=told):
        copy_weights(nn.Linear(2, 4), nn.Linear(2, 3), "old/model", configs=(before, here))
    with pytest.raises(RunError, match="has shape"):
        copy_weights(nn.Linear(2, 4), nn.Linear(2, 3), "old/model", configs=(here, here))
