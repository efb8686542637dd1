"""Sentences with a blank, and the words that may fill it, as people write them down."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seq2seq import json_files
from seq2seq.arguments import listed
from seq2seq.errors import UsageError
from seq2seq.text.files import check_unicode

_BLANK = re.compile(r"_{2,}")
_CHOICE = re.compile(r"\[([^\[\]]*\|[^\[\]]*)\]")  # [bank|river]
_BETWEEN = " / "  # between the words for several blanks


@dataclass(frozen=True)
class Blanked:
    """A text with blanks; ``candidates`` fill it, each with a text for every blank."""

    parts: tuple[str, ...]  # what stands before, between and after the blanks
    candidates: tuple[tuple[str, ...], ...] | None  # None: any word
    where: str  # where it comes from, such as "lines.txt, line 3", for errors

    def filled(self, candidate: Sequence[str]) -> str:
        words = [*candidate, ""]
        return "".join(part + word for part, word in zip(self.parts, words, strict=True))


def name_of(candidate: Sequence[str]) -> str:
    """A candidate as it is written."""
    return _BETWEEN.join(candidate)


def make_blanked(
    text: str, candidates: Sequence[str | Sequence[str]] | None, where: str
) -> Blanked:
    """``text`` with its blanks, ``___`` (two underscores or more), or one ``[bank|river]``, which
    brings its candidates.

    A candidate is a text; where there are several blanks a list of texts, or a text with " / "
    between what goes into each.

    Raises UsageError, which begins with ``where``: no blank, no candidate or an empty one, one
    that is there twice, candidates given twice, one of another number of blanks.
    """
    if not isinstance(text, str):
        raise UsageError(f"{where}: the text is a {type(text).__name__}; expected str")
    choices = _CHOICE.findall(text)
    if choices and (candidates is not None or len(choices) > 1 or _BLANK.search(text)):
        raise UsageError(
            f"{where}: '[{choices[0]}]' is a blank with its candidates; beside it no other blank "
            "and no other candidates may be given"
        )
    if choices:
        candidates = choices[0].split("|")
    parts = tuple((_CHOICE if choices else _BLANK).split(text))
    if choices:  # the pattern's group stands between the parts
        parts = parts[::2]
    if len(parts) == 1:
        raise UsageError(f"{where}: no blank in {text!r}; write ___ where a word is missing")
    if candidates is None:
        return Blanked(parts, None, where)
    return Blanked(parts, _candidates(candidates, len(parts) - 1, where), where)


def parse_line(line: str) -> tuple[str, list[str] | None]:
    """Text and candidates of a line: the columns after the first, if any, are candidates."""
    text, *candidates = line.split("\t")
    while candidates and not candidates[-1].strip():  # a table whose rows differ in length
        candidates.pop()
    return text, candidates or None


def parse_json(line: str, where: str) -> tuple[str, list[Any] | None]:
    """The same of {"text": "the ___ .", "candidates": ["bank", "river"]}; other keys are left
    alone."""
    try:
        row = json_files.parse_json(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: not valid JSON: {error}") from None
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise UsageError(f"{where}: expected a JSON object with 'text', a text with a blank")
    check_unicode(json_files.to_json(row), where)
    candidates = row.get("candidates")
    if candidates is not None and not isinstance(candidates, list):
        raise UsageError(f"{where}: 'candidates' is no list; expected a list of texts")
    return row["text"], candidates


def _candidates(
    candidates: Sequence[str | Sequence[str]], blanks: int, where: str
) -> tuple[tuple[str, ...], ...]:
    found: list[tuple[str, ...]] = []
    for number, candidate in enumerate(listed(f"{where}: candidates", candidates, "texts"), 1):
        several: Any = candidate
        if isinstance(candidate, str):
            several = [candidate] if blanks == 1 else candidate.split(_BETWEEN)
        if not isinstance(several, (list, tuple)) or not all(isinstance(t, str) for t in several):
            raise UsageError(f"{where}: candidate {number} is {candidate!r}; expected text")
        words = tuple(" ".join(text.split()) for text in several)
        if len(words) != blanks:
            raise UsageError(
                f"{where}: candidate {number}, {candidate!r}, fills {len(words)} blank(s) and the "
                f"text has {blanks}; write '{_BETWEEN}' between the words for each"
            )
        if not all(words):
            raise UsageError(f"{where}: candidate {number} is empty; leave it out")
        if words in found:
            raise UsageError(f"{where}: candidate {name_of(words)!r} is given twice")
        found.append(words)
    if not found:
        raise UsageError(f"{where}: no candidates; give at least one, or leave the list out")
    return tuple(found)


def has_choice(text: str) -> bool:
    """Whether the text brings its candidates."""
    return _CHOICE.search(text) is not None
