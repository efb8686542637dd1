"""Phrases that a text must hold, or must not, read through any spelling of it."""

from __future__ import annotations

import itertools
import random

import pytest
import regex

from seq2seq.config.vocabulary import TokenizerConfig
from seq2seq.errors import UsageError
from seq2seq.text.characters import from_subwords
from seq2seq.text.phrases import Phrases, Spelling, missing
from seq2seq.text.sentencepiece import Tokenizer

PIECES = ["", " ", " a", " ab", "a", "b", ".", "é", " (", " abé", "b a", "\u0301"]
SPELLING = Spelling([piece.encode() for piece in PIECES] + [b"\xc3", b"\xa9"])
PHRASES = ["a", "ab", "b a", ".", "abé", "é", "b\u0301"]


def words_of(text: str, phrase: str) -> bool:
    """Whether a phrase stands in a text as whole words, by a regular expression."""
    letter = r"[\p{L}\p{N}\p{M}]"  # an accent or a vowel sign belongs to its word
    first = f"(?<!{letter})" if regex.match(letter, phrase) else ""
    last = f"(?!{letter})" if regex.match(letter, phrase[-1]) else ""
    return regex.search(first + regex.escape(phrase) + last, text) is not None


def test_every_spelling_of_every_text_is_read_as_its_text() -> None:
    """All sequences of up to three tokens, and longer ones by chance: what is complete is what
    stands in the text, and what the bars let pass holds nothing forbidden."""
    required = dict.fromkeys(PHRASES, (1,))
    alone = {phrase: Phrases(SPELLING, {phrase: (1,)}, [phrase]) for phrase in PHRASES}
    together = Phrases(SPELLING, required, [])
    checked, let_pass = 0, 0
    draw = random.Random(1)
    every = range(len(SPELLING.pieces))
    for size in range(1, 7):
        short = itertools.product(every, repeat=size) if size < 4 else ()
        for tokens in itertools.chain(short, (draw.choices(every, k=size) for _ in range(700))):
            raw = b"".join(SPELLING.pieces[token] for token in tokens)
            try:
                text = raw.decode()
            except UnicodeDecodeError:
                continue  # part of a character
            state = together.first()
            for token in tokens:
                state = together.advance(state, token)
            found = {
                phrase
                for bit, phrase in enumerate(PHRASES)
                if (state.met | state.pending) >> bit & 1
            }
            assert found == {phrase for phrase in PHRASES if words_of(text, phrase)}, tokens
            assert set(PHRASES) - found == set(missing(text, PHRASES))
            checked += 1
            for phrase, one in alone.items():
                state, passed = one.first(), True
                for token in tokens:
                    passed = passed and token not in one.barred(state)
                    state = one.advance(state, token)
                if passed:
                    let_pass += 1
                    assert not words_of(text, phrase), (tokens, phrase)
    assert checked > 2_500 and let_pass > 5_000


def test_longer_words_in_one_piece_are_not_barred() -> None:
    one = Phrases(SPELLING, {}, ["a"])
    barred = one.barred(one.first())
    assert PIECES.index(" a") in barred and PIECES.index(" ab") not in barred
    assert PIECES.index("b a") in barred  # as its second word


def test_what_comes_next_follows_the_form() -> None:
    one = Phrases(SPELLING, {"ab": (2, 5), "é.": (7, 6)}, [])
    state = one.first()
    assert sorted(one.wanted(state)) == [2, 7] and one.progress(state) == 0
    begun = one.advance(state, 2)
    assert sorted(one.wanted(begun)) == [5, 7] and one.progress(begun) == 1
    done = one.advance(begun, 5)
    assert one.wanted(done) == [7] and one.progress(done) == 2 and not one.complete(done)
    undone = one.advance(done, 4)  # " aba" is another word
    assert sorted(one.wanted(undone)) == [2, 7] and one.progress(undone) == 0
    kept = one.advance(done, 6)
    assert one.wanted(kept) == [7] and one.progress(kept) == 2
    both = one.advance(one.advance(kept, 7), 6)
    assert one.complete(both) and one.wanted(both) == []
    assert one.advance(done, 3) != done  # states are never changed


def test_contradictions_and_room() -> None:
    with pytest.raises(UsageError, match=r"line 3: 'ab' must come, .* without 'ab', which must"):
        Phrases(SPELLING, {"ab": (2, 5)}, ["ab"]).check([], 9, "line 3")
    with pytest.raises(UsageError, match=r"'ab \(' must come, .* without 'ab'"):
        Phrases(SPELLING, {"ab (": (2, 5, 8)}, ["ab"]).check([], 9, "line 3")
    with pytest.raises(UsageError, match=r"beginning holds 'a', which must not"):
        Phrases(SPELLING, {}, ["a"]).check([2, 6], 9, "line 3")
    with pytest.raises(UsageError, match=r"line 3: .* take 2 tokens, and there is room for 1"):
        Phrases(SPELLING, {"ab": (2, 5)}, []).check([8], 2, "line 3")
    Phrases(SPELLING, {"ab": (2, 5)}, []).check([8], 3, "line 3")
    Phrases(SPELLING, {"ab": (2, 5)}, []).check([2], 2, "line 3")  # half of it is given


def test_phrases_of_a_tokenizer() -> None:
    text = ["ein hund rennt.", "die katze (schläft) auf der matte!"] * 4
    config = TokenizerConfig(vocab_size=330, kind="bpe", byte_fallback=True)
    tokenizer = Tokenizer.train(text, config)
    for line in [*text[:2], "Ωmega ▁ tail"]:
        ids = tokenizer.encode(line)
        written = b"".join(tokenizer.spelling.pieces[i] for i in ids)
        assert from_subwords(written.decode()).strip() == line
    assert tokenizer.decode(tokenizer.phrase_ids("hund")) == "hund"
    assert tokenizer.pieces(tokenizer.phrase_ids("."))[0] == "."  # no space before it
    assert tokenizer.pieces(tokenizer.phrase_ids("("))[0].startswith("▁")
    assert tokenizer.same_text(" Ein  Hu\u0308nd ") == "Ein Hünd"
