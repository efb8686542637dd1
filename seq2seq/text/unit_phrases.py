"""Phrases as the units of a vocabulary: constraints of captions."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from seq2seq.arguments import listed_texts
from seq2seq.errors import UsageError
from seq2seq.text.phrases import Phrases, Spelling
from seq2seq.text.vocabulary import UNK, Units, Words
from seq2seq.text.words import CLOSING


def unit_phrases(
    units: Units, require: Sequence[str] | None, forbid: Sequence[str] | None
) -> Phrases | None:
    """The constraint of texts that are written in ``units``; None where there are no phrases.

    Raises UsageError for what is no list of texts, and for a phrase that is blank, or that must
    come and has something which the vocabulary lacks.
    """
    required = [] if require is None else listed_texts("require", require, "required phrase")
    forbidden = [] if forbid is None else listed_texts("forbid", forbid, "forbidden phrase")
    if not required and not forbidden:
        return None
    for phrase in (*required, *forbidden):
        if not phrase.split():
            raise UsageError(f"a phrase is blank: {phrase!r}; expected words")
    forms = {}
    required, forbidden = (
        [_cleaned(units, one) for one in given] for given in (required, forbidden)
    )
    for phrase in required:
        ids = _form(units, phrase)
        if UNK in ids:
            names = ", ".join(map(repr, units.unknown(phrase)[:10]))
            raise UsageError(
                f"{phrase!r} must come, and the model's vocabulary lacks {names}; leave it out"
            )
        forms[phrase] = tuple(ids)
    return Phrases(_spelling(units), forms, [_cleaned(units, one) for one in forbidden])


def _cleaned(units: Units, phrase: str) -> str:
    phrase = unicodedata.normalize("NFC", " ".join(phrase.split()))
    return phrase.lower() if isinstance(units, Words) and units.lowercase else phrase


def _spelling(units: Units) -> Spelling:
    """A word stands after a space, but for marks that follow a word."""
    pieces = list(units.decoder().pieces)
    if isinstance(units, Words):
        bare = CLOSING if units.split_punctuation else frozenset()
        pieces = [piece if not piece or piece in bare else b" " + piece for piece in pieces]
    return Spelling(pieces)


def _form(units: Units, phrase: str) -> list[int]:
    """After a space where the phrase begins a word."""
    spaced = phrase[0].isalnum() and not isinstance(units, Words)
    return units.encode(f" {phrase}" if spaced else phrase).tolist()
