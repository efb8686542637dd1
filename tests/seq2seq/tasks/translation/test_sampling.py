"""Translations drawn from the model, in Python and by command."""

from __future__ import annotations

import pytest

from seq2seq.errors import UsageError
from seq2seq.tasks.translation.config import DecodingConfig
from tests.seq2seq.tasks.translation.models import ENGLISH, GERMAN, TEXTS


def texts_of(found):
    return [[one.text for one in some] for some in found]


def test_samples_follow_from_text_and_seed(translator):
    wild = {"samples": 4, "temperature": 3.0}
    found = translator.sample(TEXTS, **wild, seed=1)
    assert [len(some) for some in found] == [4] * len(TEXTS)
    assert texts_of(found)[1] == [""] * 4
    assert len({one.text for one in found[0]}) > 1
    one_by_one = DecodingConfig(batch_size=1, max_length_ratio=1.0, max_length_extra=6)
    again = translator.sample(TEXTS, **wild, seed=1, decoding=one_by_one)
    assert texts_of(again) == texts_of(found)
    assert texts_of(translator.sample(TEXTS[2:3], **wild, seed=1)) == texts_of(found[2:3])
    assert texts_of(translator.sample(TEXTS, **wild, seed=2)) != texts_of(found)
    assert texts_of(translator.sample(TEXTS, **wild)) != texts_of(translator.sample(TEXTS, **wild))
    assert all(one.score == pytest.approx(sum(one.token_scores)) for some in found for one in some)


@pytest.mark.parametrize("sure", [{"temperature": 0}, {"top_k": 1}, {"top_p": 0.01}, {"min_p": 1}])
def test_what_leaves_one_choice_is_greedy(translator, sure):
    assert texts_of(translator.sample(ENGLISH, **sure)) == [[text] for text in GERMAN]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"samples": 0}, "samples is 0"),
        ({"temperature": -1}, "temperature is -1"),
        ({"temperature": 1e-9}, "temperature is 1e-09; expected 0, or 0.001 to 1000"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_p": 0}, "top_p is 0"),
        ({"top_p": float("nan")}, "top_p is nan"),
        ({"min_p": 2}, "min_p is 2"),
        ({"decoding": DecodingConfig(min_length=2)}, "sampling has no minimum length"),
    ],
)
def test_wrong_settings(translator, wrong, message):
    with pytest.raises(UsageError, match=message):
        translator.sample(ENGLISH, **wrong)


def test_samples_by_command(run, saved, translator):
    text = "\n".join(TEXTS).encode()
    wild = ("--temperature", 3, "--seed", 1, "--scores")
    status, out, err = run("translate", saved, "--samples", 2, *wild, stdin=text)
    assert (status, err) == (0, "")
    expected = translator.sample(TEXTS, samples=2, temperature=3.0, seed=1)
    lines = [line.split("\t") for line in out.splitlines()]
    assert [line[2] for line in lines] == [one.text for some in expected for one in some]
    assert [int(line[0]) for line in lines] == [n for n in range(1, 1 + len(TEXTS)) for _ in "ab"]
    status, out, _ = run("translate", saved, "--samples", 1, "--top-k", 1, stdin=text)
    assert out.count("\n") == len(TEXTS) and "\t" not in out
    status, _, err = run("translate", saved, "--top-k", 3, stdin=text)
    assert (status, "--top-k goes with --samples N" in err) == (2, True)
    for option in (("--beam-size", 2), ("--n-best", 2), ("--prefix", "im"), ("--prefix-column",)):
        status, _, err = run("translate", saved, "--samples", 2, *option, stdin=text)
        assert (status, f"{option[0]} does not go with --samples" in err) == (2, True)
