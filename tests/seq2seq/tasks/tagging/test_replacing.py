"""Spans of training text in each other's places."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seq2seq import Tagger, UsageError
from seq2seq.config import config_from_dict
from seq2seq.tasks.tagging.replacing import SpanReplacer
from seq2seq.tasks.tagging.sentences import Sentence
from seq2seq.tasks.tagging.vocabulary import Column
from seq2seq.training.loop import train
from tests.seq2seq.running import assert_same_run, kill_and_resume
from tests.seq2seq.tasks.tagging.conftest import settings

NER, POS = Column("ner", ["O", "B-PER", "I-PER", "B-LOC"], True), Column("pos", ["N", "V"], False)


def sentence(text):
    """ "we:O:V Ann:B-PER:N" -> words, labels of ner and pos, and each word in capitals as a
    feature."""
    rows = [row.split(":") for row in text.split()]
    words, ner, pos = map(list, zip(*rows, strict=True))
    return Sentence(words, [ner, pos], None, 1, [[word.upper() for word in words]])


TEXT = [
    sentence("saw:O:V Ann:B-PER:N Lee:I-PER:N in:O:V Rome:B-LOC:N"),
    sentence("Cy:B-PER:N met:O:V Di:B-PER:N Wu:I-PER:N"),
    sentence("Oslo:B-LOC:N saw:O:V Cy:B-PER:N Bonn:B-LOC:V"),
    sentence("it:O:V is:O:V"),
]


def drawn(replacer, one, number=400):
    return [replacer(one, np.random.default_rng([7, n])) for n in range(number)]


def test_every_span_with_the_same_labels_and_no_other_word():
    replacer = SpanReplacer(TEXT, [NER, POS], 1.0)
    for number, one in enumerate(TEXT):
        found = drawn(replacer, one)
        assert all(f.labels == one.labels and f.line == one.line for f in found)
        assert all(f.features == [[w.upper() for w in f.words]] for f in found)
        texts = {" ".join(f.words) for f in found}
        assert (
            texts
            == [
                {f"saw {a} in {b}" for a in ("Ann Lee", "Di Wu") for b in ("Rome", "Oslo")},
                {"Cy met Ann Lee", "Cy met Di Wu"},
                # Bonn has another label in the second column
                {"Rome saw Cy Bonn", "Oslo saw Cy Bonn"},
                {"it is"},
            ][number]
        )
    assert TEXT[0].words[1] == "Ann"  # the text itself stays


def test_the_share_of_spans_and_each_different_span_as_often():
    text = [sentence(f"in:O:V {name}:B-LOC:N") for name in ["Rome"] * 7 + ["Oslo", "Bonn"]]
    found = [" ".join(f.words) for f in drawn(SpanReplacer(text, [NER], 1.0), text[0], 3000)]
    counts = [found.count(f"in {name}") for name in ("Rome", "Oslo", "Bonn")]
    assert sum(counts) == 3000 and all(abs(count - 1000) < 5 * 26 for count in counts)
    half = drawn(SpanReplacer(text, [NER], 0.3), text[0], 3000)
    others = sum(f.words[1] != "Rome" for f in half)
    assert abs(others - 600) < 5 * 22  # 0.3 of the spans, of which a third by itself


def test_a_column_without_spans_is_left_alone():
    replacer = SpanReplacer(TEXT, [Column("pos", ["N", "V"], False)], 1.0)
    assert replacer(TEXT[0], np.random.default_rng(0)) == TEXT[0]


def test_kill_9_and_resume_give_the_same_numbers(folder):
    changes = {"data__replaced_spans": 0.5, "model__word_dropout": 0.1}
    whole = settings(folder, output=str(folder / "whole"), **changes)
    train(config_from_dict(whole), quiet=True)
    part = settings(folder, output=str(folder / "part"), **changes)
    kill_and_resume(part, folder)
    assert_same_run(folder / "whole", folder / "part")


@pytest.mark.parametrize("key", ["data__replaced_spans", "training__span_bonus"])
def test_what_is_done_to_spans_needs_some(folder, key):
    values = settings(folder, data__labels=["pos=2"], **{key: 0.5})
    name = key.replace("__", ".")
    with pytest.raises(UsageError, match=rf"'{name}' is 0.5, and no column .*\(pos=2\) has spans"):
        train(config_from_dict(values), quiet=True)


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_is_from_0_to_1(folder, share):
    with pytest.raises(UsageError, match=r"'data.replaced_spans' is .*; expected 0 to 1"):
        config_from_dict(settings(folder, data__replaced_spans=share))


@pytest.mark.parametrize("validation", [True, False])
def test_a_given_bonus_of_spans(folder, validation):
    """It is in the saved model, with and without a set to score."""
    values = settings(folder, training__max_steps=4, training__ema_decay=0.0)
    if not validation:
        values["data"]["validation"] = None
    plain = Tagger.from_pretrained(train(config_from_dict(values), quiet=True))
    values["output"] = str(folder / "bonus")
    values["training"]["span_bonus"] = 1.25
    path = train(config_from_dict(values), quiet=True)
    moved = (
        Tagger.from_pretrained(path).model.heads[0].linear.bias - plain.model.heads[0].linear.bias
    )
    begins = [label[0] in "BS" for label in plain.vocabulary.columns[0].labels]
    torch.testing.assert_close(moved.detach(), 1.25 * torch.tensor(begins, dtype=torch.float32))
    values["training"]["tune_spans"] = True
    values["data"]["validation"] = str(folder / "validation.txt")
    with pytest.raises(UsageError, match=r"expected one of them"):
        config_from_dict(values)
