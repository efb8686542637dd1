"""Words read by their letters: the same in every batch, capitals and unknown words told apart."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from seq2seq import Classifier, UsageError
from seq2seq.config import config_from_dict
from seq2seq.config.layers import CharacterConfig
from seq2seq.tasks.classification.config import (
    ClassDataConfig,
    ClassEncoderConfig,
    ClassModelConfig,
)
from seq2seq.tasks.classification.model import ClassificationModel, Shape
from seq2seq.tasks.classification.sources import Inputs, TextSource
from seq2seq.tasks.classification.spelling import LETTERS, spell
from seq2seq.text.splitting import ends_of
from seq2seq.text.vocabulary import Words
from seq2seq.training.loop import train
from tests.seq2seq.running import assert_same_run, kill_and_resume
from tests.seq2seq.tasks.classification.conftest import text_settings, write

TEXTS = ["a film", "The film the FILM", "", "naïve", "x" * 100]


def test_letters_are_bytes_of_the_words_as_they_stand():
    spelled = spell([["a", "É"], [], ["a"]], steps=3, longest=5)
    assert spelled.places.tolist() == [[1, 2, 0], [0, 0, 0], [1, 0, 0]]
    assert spelled.lengths.tolist() == [0, 1, 2]
    assert spelled.letters.tolist() == [[0, 0], [98, 0], [0xC3 + 1, 0x89 + 1]]
    assert int(spell([["\xff\ud800"]], 1, 9).letters.max()) < LETTERS
    assert ends_of("abcdefghij", 6) == "abcdij" and ends_of("abc", 6) == "abc"
    assert ends_of(b"abcdef", 2) == b"ab"


def source(texts, longest=30, **data):
    words = Words(["<eos>", "film", "the"])
    return TextSource(texts, words, ClassDataConfig(lowercase=True, **data), longest)


def test_words_and_letters_stand_side_by_side():
    inputs = source(TEXTS, max_length=3).collate(np.arange(len(TEXTS)))
    assert inputs.values.shape == inputs.spelled.places.shape == (5, 3)
    lengths = inputs.spelled.lengths[inputs.spelled.places]
    assert lengths.tolist() == [[1, 4, 0], [3, 4, 3], [0, 0, 0], [6, 0, 0], [30, 0, 0]]
    the, other = inputs.spelled.places[1, [0, 2]].tolist()  # The, the: one id, other letters
    assert inputs.values[1, 0] == inputs.values[1, 2] and the != other
    assert source(TEXTS, 0).collate(np.arange(2)).spelled is None


def test_words_and_letters_are_split_as_the_vocabulary_says():
    text = ["हिन्दी film!"]
    for combining, words in ((True, 3), (False, 8)):
        units = Words(["<eos>", "film", "हिन्दी"], combining=combining)
        found = TextSource(text, units, ClassDataConfig(split="simple"), 30)
        inputs = found.collate(np.arange(1))
        assert inputs.values.shape == inputs.spelled.places.shape == (1, words)
        assert (4 in inputs.values.tolist()[0]) is combining


@pytest.mark.parametrize("kind", ["cnn", "lstm", "gru"])
def test_a_text_does_not_depend_on_its_batch(kind):
    torch.manual_seed(0)
    config = ClassModelConfig(
        embedding_size=5,
        characters=CharacterConfig(kind, embedding_size=4, hidden_size=6),
        encoder=ClassEncoderConfig(hidden_size=6),
        pooling=["last", "max", "attention"],
    )
    model = ClassificationModel(config, Shape(3, units=6)).eval()
    texts = source(TEXTS)
    together = model(texts.collate(np.arange(len(TEXTS)))).logits
    for row in range(len(TEXTS)):
        alone = model(texts.collate(np.array([row]))).logits
        torch.testing.assert_close(alone[0], together[row])
    poisoned = texts.collate(np.arange(len(TEXTS)))
    past = torch.arange(poisoned.spelled.letters.shape[1]) >= poisoned.spelled.lengths[:, None]
    poisoned.spelled.letters[past] = 7
    torch.testing.assert_close(model(poisoned).logits, together, rtol=0, atol=0)
    model(texts.collate(np.arange(5))).logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    with pytest.raises(ValueError, match="'spelled' is None"):
        model(Inputs(poisoned.values, poisoned.lengths))


def endings(count, seed):
    """(label, text): a word of letters drawn at random, whose last one decides."""
    draw = random.Random(seed)
    for _ in range(count):
        letters = "".join(draw.choices("abcdefgh", k=6))
        good = draw.random() < 0.5
        yield "good" if good else "bad", f"the {letters}{'x' if good else 'z'} here"


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "train.tsv", endings(300, 1))
    write(tmp_path / "valid.tsv", endings(60, 2))
    return tmp_path


def test_words_that_training_lacks_are_read_by_their_letters(folder):
    values = text_settings(folder, folder / "run", learning_rate=2e-2, max_steps=80)
    values["model"]["characters"] = {"kind": "cnn", "embedding_size": 8, "hidden_size": 16}
    path = train(config_from_dict(values), quiet=True)
    classifier = Classifier.from_pretrained(path, device="cpu")
    texts = list(endings(60, 3))
    found = classifier.classify([text for _, text in texts], explain=True)
    right = [answer.label == label for answer, (label, _) in zip(found, texts, strict=True)]
    assert np.mean(right) > 0.95
    assert [word for word, _ in found[0].explanation] == texts[0][1].split()
    assert classifier.classify(texts[0][1]).probability == pytest.approx(found[0].probability)
    values["training"] |= {"start_from": str(path), "max_steps": 1}
    values["output"] = str(folder / "tuned")
    tuned = Classifier.from_pretrained(train(config_from_dict(values), quiet=True))
    assert tuned.classify("the abcx here").label == "good"


def test_kill_9_and_resume_give_the_same_numbers(folder):
    def settings(name):
        values = text_settings(folder, folder / name)
        values["model"] |= {"characters": {"kind": "gru", "hidden_size": 4}, "members": 2}
        return values

    train(config_from_dict(settings("whole")), quiet=True)
    kill_and_resume(settings("part"), folder)
    assert_same_run(folder / "whole", folder / "part")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"units": {"kind": "characters"}},
            "'model.characters' are those of words; .*'characters'",
        ),
        (
            {"data": {"kind": "image"}},
            "'model.characters' are those of words; 'data.kind' is 'image'",
        ),
        ({"model": {"characters": {"width": 4, "kind": "cnn"}}}, "expected an odd number"),
        (
            {"model": {"characters": {"longest": 0, "kind": "cnn"}}},
            "'model.characters.longest' is 0",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(changes, message):
    values = {"task": "classification", "model": {"characters": {"kind": "lstm"}}}
    with pytest.raises(UsageError, match=message):
        config_from_dict(values | changes)
