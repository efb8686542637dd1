"""The simple tokeniser: words and where they stand."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.text.splitting import split_spaces, split_words
from tests.seq2seq.text.test_words import COMBINED


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's great, isn't it?", "It 's great , is n't it ?"),
        ("Don't! (They'll pay $3,500.50.)", "Do n't ! ( They 'll pay $ 3,500.50 . )"),
        ("well-known O'Neill at 10:30", "well-known O'Neill at 10:30"),
        ("see http://a.b/c?d=1 or me@x.org ...", "see http://a.b/c?d=1 or me@x.org ..."),
        ("the 1st of the U.S. #tag @you", "the 1st of the U.S. #tag @you"),
        ("Größe 日本 naïve", "Größe 日本 naïve"),
        ("5² and 3½ in 1990s", "5² and 3½ in 1990s"),
        ("\u2764\ufe0flove #हिन्दी, @राम", "\u2764\ufe0f love #हिन्दी , @राम"),
        (COMBINED, COMBINED),
        (" \t\n", ""),
    ],
)
def test_words_and_marks(text, words):
    assert [token.text for token in split_words(text)] == words.split()


@settings(max_examples=200)
@given(st.text())
def test_places_are_right_and_only_white_space_is_left_out(text):
    for split in (split_words, split_spaces, partial(split_words, combining=False)):
        end = 0
        for token in split(text):
            assert token.text == text[token.start : token.end] and token.text
            assert not text[end : token.start].strip()
            end = token.end
        assert not text[end:].strip()
