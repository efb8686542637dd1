"""Texts scored by a language model."""

from __future__ import annotations

import logging
import math

import pytest
import torch

from seq2seq import UsageError
from seq2seq.tasks.generation import perplexity
from seq2seq.tasks.generation.perplexity import Cache, Dynamic
from seq2seq.text.vocabulary import END
from tests.seq2seq.tasks.generation.test_generator import TEXT, make

# ------------------------------------------------------------------------------------- scores


def log_p(generator, ids, scored_from):
    network = generator.model.eval()
    logits = network.projection(network(torch.tensor([ids[:-1]])).vectors)[0]
    every = logits.log_softmax(1)[range(len(ids) - 1), ids[1:]]
    return every[scored_from - 1 :].sum().item()


def test_scores_are_log_probabilities_of_the_text_alone():
    generator = make()
    texts = ["or not", "", "W", TEXT]
    context = generator.prompt_units("To be")
    found = generator.score(texts, context="To be")
    for text, score in zip(texts, found, strict=True):
        ids = [*context, *generator.units.encode(text).tolist()]
        expected = log_p(generator, ids, len(context)) if text else 0.0
        assert score.log_probability == pytest.approx(expected, abs=1e-3)
        assert score.tokens == len(text)
    ending = make(documents="line")
    ids = [END, *ending.units.encode("or").tolist(), END]
    assert ending.score(["or"])[0].log_probability == pytest.approx(log_p(ending, ids, 1), abs=1e-3)


def test_what_was_never_seen_is_reported_when_scored(caplog):
    generator = make()
    logging.getLogger("seq2seq").propagate = True
    for score in (lambda: generator.score(["be", "Ω Ω"]), lambda: generator.perplexity("be Ω Ω")):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "seq2seq"):
            score()
        assert caplog.text.count("'Ω'") == 1 and "never seen; scored as <unk>" in caplog.text
    caplog.clear()
    words = make("words")
    assert math.isfinite(words.perplexity("to be <unk> Ω").nats) and not caplog.text


def test_dynamic_evaluation_in_bf16_uses_the_weights_it_learns():
    generator = make(embedding_size=24, layers=1)
    text, dynamic = TEXT * 3, Dynamic(rate=1.0)
    exact = generator.perplexity(text, dynamic=dynamic).nats
    found = generator.perplexity(text, dynamic=dynamic, precision="bf16").nats
    assert found == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (lambda: Cache(size=0), "cache size is 0"),
        (lambda: Cache(weight=1.0), "cache weight is 1.0"),
        (lambda: Cache(flatness=math.nan), "cache flatness is nan"),
        (lambda: Dynamic(rate=-1.0), "dynamic rate is -1.0"),
        (lambda: Dynamic(decay=2.0), "dynamic decay is 2.0"),
        (lambda: Dynamic(steps=0), "dynamic steps is 0"),
    ],
)
def test_options_of_evaluation_out_of_range_are_named(make_it, message):
    with pytest.raises(UsageError, match=message):
        make_it()


def test_perplexity_counts_every_unit_but_the_first():
    generator = make()
    found = generator.perplexity(TEXT)
    ids = generator.units.encode(TEXT).tolist()
    assert found.tokens == found.characters == len(TEXT) - 1
    assert found.total == pytest.approx(-log_p(generator, ids, 1), rel=1e-5)
    assert found.bits_per_character == pytest.approx(found.nats / math.log(2))
    with pytest.raises(UsageError, match="holds no text"):
        generator.perplexity(" \n")
    with pytest.raises(UsageError, match="one unit"):
        generator.perplexity("T")


def test_dynamic_evaluation_in_cold_windows_learns_from_nothing_that_follows(monkeypatch):
    generator, dynamic = make(), Dynamic(rate=0.5, decay=0.0, steps=10)
    read, found = perplexity._read, []
    for after in ("", TEXT[41:], "q" * 60):
        scored: list[float] = []

        def kept(*given, scored=scored):
            values = read(*given)
            scored += values.tolist()
            return values

        monkeypatch.setattr(perplexity, "_read", kept)
        generator.perplexity(TEXT[:41] + after, dynamic=dynamic, cold_window=20)
        found.append(scored)
    assert len(found[0]) == 2 and found[1][:2] == found[2][:2] == found[0]
    monkeypatch.undo()
    plain = generator.perplexity(TEXT, cold_window=20)
    learned = generator.perplexity(TEXT, dynamic=dynamic, cold_window=20)
    assert learned.tokens == plain.tokens and learned.total != plain.total


def test_the_end_of_a_document_counts_as_a_line_that_ends():
    text = "To be\nor not\nto be\n"
    ended, plain = make(documents="line"), make()
    assert ended.perplexity(text).characters == len(text)
    assert ended.perplexity(text).words == 6 + 3
    assert plain.perplexity(text).characters == len(text) - 1  # the first is not predicted
    (score,) = ended.score(["or not"])
    assert (score.tokens, score.characters, score.words) == (7, 7, 3)
    words = make("words")
    assert words.perplexity("to be").tokens == words.perplexity("to be").words == 1
