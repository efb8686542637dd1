"""What translations must begin with, hold and not hold: given as text, handed to the search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seq2seq.arguments import listed, listed_texts
from seq2seq.errors import UsageError
from seq2seq.tasks.translation.prefixes import encode_prefixes, unknown_letters
from seq2seq.text.phrases import Phrases
from seq2seq.text.sentencepiece import Tokenizer

MAX_PHRASES = 64

# Phrases for all texts, or a list of them for each.
PhraseLists = Sequence[str] | Sequence[Sequence[str]]


@dataclass(frozen=True)
class Conditions:
    """For each text its own; None where none has any."""

    beginnings: list[list[int]] | None = None
    constraints: list[Phrases | None] | None = None

    def take(self, positions: Sequence[int]) -> Conditions:
        """The conditions of the texts at ``positions``."""
        return Conditions(
            None if self.beginnings is None else [self.beginnings[i] for i in positions],
            None if self.constraints is None else [self.constraints[i] for i in positions],
        )

    def words(self, texts: int) -> list[list[int]]:
        """For each of the ``texts`` the subwords that its translation begins with or must hold."""
        words = [list(one) for one in self.beginnings or [[] for _ in range(texts)]]
        for own, constraint in zip(words, self.constraints or (), strict=False):
            own += () if constraint is None else constraint.tokens
        return words

    def required(self, position: int) -> list[str]:
        """The phrases that a translation of the text at ``position`` must hold."""
        constraint = None if self.constraints is None else self.constraints[position]
        return [] if constraint is None else list(constraint.required)


def encode_conditions(
    texts: int,
    tokenizer: Tokenizer,
    first_line: int,
    prefixes: str | Sequence[str] | None,
    require: PhraseLists | None,
    forbid: PhraseLists | None,
) -> Conditions:
    """Raises UsageError, with the line, for another number than ``texts``, for letters that the
    vocabulary lacks, and for phrases that are no text."""
    beginnings = None
    if prefixes is not None:
        beginnings = encode_prefixes(prefixes, texts, tokenizer, first_line)
    required = _of_each("require", require, texts, first_line)
    forbidden = _of_each("forbid", forbid, texts, first_line)
    constraints = [
        _phrases(one, other, tokenizer, f"line {line}")
        for line, (one, other) in enumerate(zip(required, forbidden, strict=True), start=first_line)
    ]
    return Conditions(beginnings, constraints if any(constraints) else None)


def check_room(conditions: Conditions, limits: Sequence[int], lines: Sequence[int]) -> None:
    """Raises UsageError for phrases that contradict each other or the given beginning, or that do
    not fit into ``limits``, the most tokens of each text; ``lines``: the texts' numbers."""
    for position, constraint in enumerate(conditions.constraints or ()):
        if constraint is not None:
            given = [] if conditions.beginnings is None else conditions.beginnings[position]
            constraint.check(given, limits[position], f"line {lines[position]}")


def _of_each(
    name: str, given: PhraseLists | None, texts: int, first_line: int
) -> list[Sequence[str]]:
    if given is None:
        return [()] * texts
    lists = listed(name, given, "phrases")
    if all(isinstance(one, str) for one in lists):
        return [lists] * texts
    if len(lists) != texts:
        raise UsageError(
            f"{len(lists)} lists of phrases in {name} for {texts} texts; expected one for each, or "
            "one list for all"
        )
    return [
        listed_texts(f"line {line}: {name}", phrases, f"line {line}: {name}: phrase")
        for line, phrases in enumerate(lists, start=first_line)
    ]


def _phrases(
    required: Sequence[str], forbidden: Sequence[str], tokenizer: Tokenizer, where: str
) -> Phrases | None:
    if not required and not forbidden:
        return None
    for phrase in (*required, *forbidden):
        if not tokenizer.same_text(phrase):
            raise UsageError(f"{where}: a phrase is blank: {phrase!r}; expected words")
    if len(required) + len(forbidden) > MAX_PHRASES:
        count = len(required) + len(forbidden)
        raise UsageError(f"{where}: {count} phrases; expected at most {MAX_PHRASES}")
    forms = {}
    for phrase in required:
        ids = tokenizer.phrase_ids(phrase)
        if tokenizer.unk in ids:
            raise UsageError(
                f"{where}: {phrase!r} must come and holds letters that the model's vocabulary "
                f"lacks: {unknown_letters(phrase, tokenizer)}; leave it out, or train with "
                "'tokenizer.byte_fallback: true'"
            )
        forms[tokenizer.same_text(phrase)] = tuple(ids)
    banned = dict.fromkeys(tokenizer.same_text(phrase) for phrase in forbidden)
    return Phrases(tokenizer.spelling, forms, list(banned))
