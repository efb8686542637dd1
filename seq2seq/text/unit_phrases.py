"""Phrases as the units of a vocabulary: constraints of captions."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from seq2seq.errors import UsageError
from seq2seq.text.phrases import Phrases, Spelling
from seq2seq.text.vocabulary import UNK, Units, Words


def unit_phrases(units: Units, required: Sequence[str], forbidden: Sequence[str]) -> Phrases | None:
    """The constraint of texts that are written in ``units``; None where there are no phrases.

    Raises UsageError for a phrase that is blank, or that must come and has something which the
    vocabulary lacks.
    """
    if not required and not forbidden:
        return None
    for phrase in (*required, *forbidden):
        if not phrase.split():
            raise UsageError(f"a phrase is blank: {phrase!r}; expected words")
    forms = {}
    for phrase in map(_cleaned, required):
        ids = _form(units, phrase)
        if UNK in ids:
            names = ", ".join(map(repr, units.unknown(phrase)[:10]))
            raise UsageError(
                f"{phrase!r} must come, and the model's vocabulary lacks {names}; leave it out"
            )
        forms[phrase] = tuple(ids)
    return Phrases(_spelling(units), forms, list(map(_cleaned, forbidden)))


def _cleaned(phrase: str) -> str:
    return unicodedata.normalize("NFC", " ".join(phrase.split()))


def _spelling(units: Units) -> Spelling:
    """A word stands after a space."""
    pieces = list(units.decoder().pieces)
    if isinstance(units, Words):
        pieces = [b" " + piece if piece else b"" for piece in pieces]
    return Spelling(pieces)


def _form(units: Units, phrase: str) -> list[int]:
    """After a space where the phrase begins a word."""
    spaced = phrase[0].isalnum() and not isinstance(units, Words)
    return units.encode(f" {phrase}" if spaced else phrase).tolist()
