"""Spans of characters of a text as labels of its words."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from seq2seq.errors import UsageError
from seq2seq.tasks.tagging.schemes import Span, write_spans
from seq2seq.text.splitting import Token


def find_words(text: str, words: Sequence[str], offsets: Any, where: str) -> list[Token]:
    """Where words stand in their text: at ``offsets``, a pair of start and end for each, or, where
    that is None, one behind the other. Raises UsageError for offsets that are no such pairs or have
    other words, and for a word that is not there."""
    if offsets is not None:
        return _at_offsets(text, words, offsets, where)
    tokens, at = [], 0
    for word in words:
        start = text.find(word, at)
        if start < 0:
            raise UsageError(
                f"{where}: 'tokens' has {word!r}, which 'text' lacks from character {at} on "
                f"({text[at : at + 40]!r}); spans need words that stand in 'text' in this order"
            )
        at = start + len(word)
        tokens.append(Token(word, start, at))
    return tokens


def _at_offsets(text: str, words: Sequence[str], offsets: Any, where: str) -> list[Token]:
    if not isinstance(offsets, list) or len(offsets) != len(words):
        found = f"{len(offsets)} pairs" if isinstance(offsets, list) else f"{offsets!r:.40}"
        raise UsageError(
            f"{where}: {found} in 'offsets' for {len(words)} words; expected [start, end] for each"
        )
    tokens = []
    for word, pair in zip(words, offsets, strict=True):
        if not isinstance(pair, list) or [type(side) for side in pair] != [int, int]:
            raise UsageError(f"{where}: 'offsets' has {pair!r:.40}; expected [start, end]")
        start, end = pair
        if start < 0 or text[start:end] != word:
            raise UsageError(
                f"{where}: 'offsets' has {pair} for {word!r:.40}, and 'text' has there "
                f"{text[max(0, start) : end]!r:.40}; expected characters, counted from 0"
            )
        tokens.append(Token(word, start, end))
    return tokens


def labels_of_spans(spans: Sequence[Any], tokens: Sequence[Token], where: str) -> list[str]:
    """BIO labels of spans of characters, each an object with ``start``, ``end`` and ``label``.
    Raises UsageError for what is none, and spans that overlap or begin or end within a word."""
    starts = {token.start: place for place, token in enumerate(tokens)}
    ends = {token.end: place + 1 for place, token in enumerate(tokens)}
    found = []
    for one in spans:
        label = (one.get("label") or one.get("type")) if isinstance(one, dict) else None
        if not isinstance(label, str) or not all(
            type(one.get(side)) is int for side in ("start", "end")
        ):
            raise UsageError(f"{where}: {one!r} is no span with 'start', 'end' and 'label'")
        if one["start"] not in starts or one["end"] not in ends:
            words = " | ".join(token.text for token in tokens)
            raise UsageError(
                f"{where}: the span {one['start']} to {one['end']} begins or ends within a word "
                f"({words[:80]}); move it, or give 'tokens' with labels"
            )
        found.append(Span(starts[one["start"]], ends[one["end"]], label))
    found.sort()
    for before, after in itertools.pairwise(found):
        if after.start < before.end:
            raise UsageError(f"{where}: spans overlap at word {after.start}; one must go")
    if any(span.start >= span.end for span in found):
        raise UsageError(f"{where}: a span that ends before it begins")
    return write_spans(found, len(tokens), "bio")
