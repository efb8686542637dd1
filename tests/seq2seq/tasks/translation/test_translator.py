"""Translations: what a search gives, odd texts, wrong use."""

from __future__ import annotations

import copy
import logging
import math
import pickle

import pytest
import torch

from seq2seq import Translator
from seq2seq.errors import RunError, UsageError
from seq2seq.tasks.translation.config import DecodingConfig
from seq2seq.tasks.translation.search_batches import MAX_BATCH_TOKENS, batches
from seq2seq.tasks.translation.translator import MAX_SOURCE_TOKENS
from tests.seq2seq.tasks.translation.models import ENGLISH, GERMAN, TEXTS, make_translator

# --------------------------------------------------------------------------------- translate


def test_what_was_learnt_is_translated(translator):
    assert translator.translate(ENGLISH) == GERMAN
    assert translator.translate(ENGLISH[::-1], beam_size=1) == GERMAN[::-1]


def test_one_line_for_each_text_in_order(translator):
    found = translator.translate(TEXTS)
    alone = [translator.translate([text])[0] for text in TEXTS]
    assert found == alone
    assert found[1] == found[4] == ""
    assert len({found[i] for i in (0, 2, 3, 5)}) == 4
    assert translator.translate([]) == []


def test_one_text_gives_one_text(translator):
    assert translator.translate(ENGLISH[0]) == GERMAN[0]
    assert translator.translate(ENGLISH[1], beam_size=1) == GERMAN[1]
    assert translator.translate(" \t") == ""
    assert translator.translate([ENGLISH[0]]) == [GERMAN[0]]
    assert translator.translate(text for text in ENGLISH) == GERMAN


@pytest.mark.parametrize("beam_size", [1, 4])
def test_same_text_whatever_the_batch(translator, beam_size):
    texts = [" ".join(ENGLISH[i % 3].split()[: 1 + i % 5]) for i in range(20)]
    expected = translator.translate(texts, beam_size=beam_size, batch_size=1)
    assert translator.translate(texts, beam_size=beam_size, batch_size=64) == expected
    assert translator.translate(texts, beam_size=beam_size, batch_size=7) == expected


def test_dropout_is_off_and_comes_back(translator):
    translator.model.dropout = 0.5
    translator.model.train()
    first = translator.translate(TEXTS)
    assert translator.translate(TEXTS) == first
    assert translator.model.training
    translator.model.eval()
    translator.model.dropout = 0.0


def test_settings_reach_the_search(translator):
    short = DecodingConfig(max_length_ratio=0, max_length_extra=2, beam_size=1)
    found = translator.translate_nbest([ENGLISH[0]], decoding=short)[0][0]
    assert len(found.tokens) <= 2
    long = DecodingConfig(min_length=6, max_length_extra=9, beam_size=1)
    found = translator.translate_nbest([ENGLISH[0]], decoding=long)[0][0]
    assert len(found.tokens) >= 6
    once = DecodingConfig(min_length=30, max_length_extra=30, beam_size=2, no_repeat_ngram=1)
    found = translator.translate_nbest([ENGLISH[0]], decoding=once, n_best=1)[0][0]
    assert len(set(found.tokens)) == len(found.tokens) >= 30


def test_a_minimum_length_beyond_the_longest_raises_it(translator):
    for beam_size in (1, 3):
        settings = DecodingConfig(min_length=25, max_length_ratio=1.0, max_length_extra=0)
        settings.beam_size = beam_size
        found = translator.translate_nbest([ENGLISH[0]], decoding=settings)[0][0]
        assert len(found.tokens) == 25


def test_a_minimum_length_that_no_translation_may_have(translator):
    never = DecodingConfig(min_length=6, max_length_ratio=0, max_length_extra=5)
    with pytest.raises(UsageError, match="min_length is 6 and max_length_extra is 5; expected"):
        translator.translate([ENGLISH[0]], decoding=never)


def test_n_best_is_sorted_distinct_and_scored(translator):
    found = translator.translate_nbest([ENGLISH[0], ""], beam_size=4, length_penalty=0.6)
    best, blank = found
    assert len(best) == 4
    assert len({tuple(one.tokens) for one in best}) == 4
    assert [one.score for one in best] == sorted((one.score for one in best), reverse=True)
    for one in best:
        length = len(one.tokens) + one.finished
        penalty = ((5 + length) / 6) ** 0.6
        assert one.score == pytest.approx(one.log_probability / penalty, rel=1e-5)
        assert len(one.token_scores) == length
        assert sum(one.token_scores) == pytest.approx(one.log_probability, rel=1e-5)
        assert one.source_tokens == translator.source_tokenizer.pieces(
            translator.source_tokenizer.encode(ENGLISH[0])
        )
    assert [one.text for one in blank] == [""]
    assert translator.translate([ENGLISH[0]], beam_size=4, length_penalty=0.6) == [best[0].text]


def test_attention_covers_the_real_source_tokens(translator):
    texts = ["the cat sleeps on the mat", "a dog"]
    for found in translator.translate_nbest(texts, n_best=2, attention=True):
        for one in found:
            rows = len(one.tokens) + one.finished
            assert one.attention.shape == (rows, len(one.source_tokens))
            assert torch.allclose(one.attention.sum(1), torch.ones(rows), atol=1e-5)
    assert translator.translate_nbest(texts)[0][0].attention is None


def test_bf16_gives_nearly_the_same_scores(translator):
    full = translator.translate_nbest(ENGLISH, n_best=1)
    half = translator.translate_nbest(ENGLISH, n_best=1, precision="bf16")
    for (one,), (other,) in zip(full, half, strict=True):
        assert one.text == other.text
        assert one.log_probability != other.log_probability
        # Logits of a size of about 10, each off by some of bfloat16's steps of 2**-8.
        tolerance = 4 * 10 * 2**-8 * (len(one.tokens) + 1)
        assert one.log_probability == pytest.approx(other.log_probability, abs=tolerance)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_weights_are_those_of_the_moment(precision):
    """What is prepared for one call does not outlive it: training translates in between."""
    translator = make_translator()
    first = translator.translate(ENGLISH, precision=precision)
    other = make_translator()
    with torch.no_grad():
        for parameter in (*translator.model.parameters(), *other.model.parameters()):
            parameter.mul_(-1.5)
    second = translator.translate(ENGLISH, precision=precision)
    assert second == other.translate(ENGLISH, precision=precision)
    assert second != first


@pytest.mark.parametrize("text", ["a\0dog", "\0", "a\u2028dog", "dog\r\n", "\udcff dog", "🐕 犬"])
def test_odd_characters_give_one_line(translator, text):
    found = translator.translate([text, "a dog"])
    assert len(found) == 2
    assert all(len(line.splitlines()) <= 1 and "\0" not in line for line in found)


def test_line_breaks_spelt_in_bytes_do_not_leave_the_line(translator, monkeypatch):
    monkeypatch.setattr(
        translator.target_tokenizer, "decode_batch", lambda batch: ["a\nb\0\u2028\tc\n"]
    )
    assert translator.translate(["a dog"]) == ["a b c"]


def test_ten_thousand_words_are_cut_with_a_warning(translator, caplog):
    text = "dog " * 10_000
    limits = DecodingConfig(max_length_ratio=0.05, max_length_extra=0, beam_size=2)
    with caplog.at_level(logging.WARNING, logger="seq2seq"):
        found = translator.translate_nbest(["a dog", text], decoding=limits, first_line=41)
    assert "line 42 has " in caplog.text
    assert f"first {MAX_SOURCE_TOKENS} are translated" in caplog.text
    assert len(caplog.records) == 1
    assert len(found[1][0].source_tokens) == MAX_SOURCE_TOKENS
    assert found[1][0].text == translator.translate([text], decoding=limits)[0]


def test_batches_are_bounded_by_sentences_and_by_tokens():
    lengths = [3, 0, 1000, 7, 900, 7, 0, 2] + [5] * 100
    found = list(batches(lengths, batch_size=64))
    assert sorted(i for batch in found for i in batch) == [
        i for i, length in enumerate(lengths) if length
    ]
    assert found[0][:2] == [2, 4]
    for batch in found:
        longest = max(lengths[i] for i in batch)
        assert len(batch) <= 64
        assert len(batch) == 1 or len(batch) * longest <= MAX_BATCH_TOKENS
    long = list(batches([MAX_BATCH_TOKENS + 1] * 2, batch_size=64))
    assert long == [[0], [1]]


def test_wrong_use(translator):
    with pytest.raises(UsageError, match="texts is one text; expected a list"):
        translator.translate_nbest("a dog")
    with pytest.raises(UsageError, match="texts is a int; expected a list of str"):
        translator.translate(3)
    with pytest.raises(UsageError, match="text 2 is a NoneType; expected str"):
        translator.translate(["a dog", None])
    with pytest.raises(UsageError, match="beam_size is 0"):
        translator.translate(["a dog"], beam_size=0)
    with pytest.raises(UsageError, match="length_penalty is nan"):
        translator.translate(["a dog"], length_penalty=math.nan)
    with pytest.raises(UsageError, match=r"n_best is 4; expected 1 to 3"):
        translator.translate_nbest(["a dog"], n_best=4)
    with pytest.raises(UsageError, match="precision is 'fp16'"):
        translator.translate(["a dog"], precision="fp16")


def test_weights_that_are_not_numbers(saved):
    broken = Translator.from_pretrained(saved)
    with torch.no_grad():
        broken.model.projection.bias.fill_(math.nan)
    with pytest.raises(RunError, match="NaN"):
        broken.translate(["a dog"])


@pytest.mark.parametrize("again", [copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_a_translator_is_copied_after_use(translator, again):
    assert translator.translate(ENGLISH, precision="bf16")
    assert translator.translate(ENGLISH) == GERMAN
    assert again(translator).translate(ENGLISH) == GERMAN
