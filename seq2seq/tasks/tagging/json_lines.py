"""Sentences as JSON lines, an object each, with words or with running text:

    {"tokens": ["Phil", "Simmons", "took", "four"], "ner": ["B-PER", "I-PER", "O", "O"]}
    {"text": "Phil Simmons took four", "ner": [{"start": 0, "end": 12, "label": "PER"}]}

Labels stand under the key that ``data.labels`` names: one for each word, or spans of characters
of ``text``, which the simple tokeniser splits into words. ``tag --json`` writes such spans. The
label of the whole sentence is text under its own key. Features are lists, a value for each word.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from seq2seq.errors import UsageError
from seq2seq.json_files import parse_json
from seq2seq.tasks.tagging.schemes import Span, write_spans
from seq2seq.tasks.tagging.sentences import Sentence
from seq2seq.text.files import check_unicode
from seq2seq.text.splitting import Token, split_words


def read_json(
    lines: Iterable[str],
    path: str,
    sources: Mapping[str, str],
    sentence_label: str | None,
    features: Mapping[str, str],
    combining: bool = True,
) -> Iterator[Sentence]:
    """The sentences of a file; blank lines are left out. ``combining`` as in ``split_words``.
    Raises UsageError, naming file and line, for what is no such object, other numbers of words and
    labels, and spans that overlap or begin or end within a word."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            values = parse_json(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{where}: not JSON ({error})") from None
        if not isinstance(values, dict):
            raise UsageError(f"{where}: expected an object, {{...}}, found {line[:40]!r}")
        check_unicode(json.dumps(values, ensure_ascii=False), where)
        tokens, text = _tokens(values, where, combining)
        labels = [
            _labels(values, name, place or name, tokens, text, where)
            for name, place in sources.items()
        ]
        whole = None
        if sentence_label is not None:
            whole = values.get(sentence_label)
            if not isinstance(whole, str) or not whole:
                raise UsageError(
                    f"{where}: '{sentence_label}' is {whole!r}; expected the label of the sentence"
                )
        beside = [
            _feature(values, name, place or name, len(tokens), where)
            for name, place in features.items()
        ]
        yield Sentence([token.text for token in tokens], labels, whole, number, beside)


def _tokens(values: dict[str, Any], where: str, combining: bool) -> tuple[list[Token], str | None]:
    """The words, and the text they were split from."""
    words = values.get("tokens", values.get("words"))
    text = values.get("text")
    if words is None and isinstance(text, str):
        tokens = split_words(text, combining)
    elif isinstance(words, list) and all(isinstance(word, str) and word for word in words):
        tokens, at = [], 0
        for word in words:
            tokens.append(Token(word, at, at + len(word)))
            at += len(word) + 1
        text = None
    else:
        raise UsageError(
            f"{where}: expected 'tokens', a list of words, or 'text'; found keys "
            f"{', '.join(values) or 'none'}"
        )
    if not tokens:
        raise UsageError(f"{where}: a sentence without words")
    return tokens, text


def _labels(
    values: dict[str, Any],
    name: str,
    key: str,
    tokens: list[Token],
    text: str | None,
    where: str,
) -> list[str]:
    found = values.get(key)
    if not isinstance(found, list):
        raise UsageError(
            f"{where}: '{key}' is {found!r}; expected a list of labels or of spans ('{name}' of "
            "'data.labels')"
        )
    if all(isinstance(one, str) and one for one in found) and (found or text is None):
        if len(found) != len(tokens):
            raise UsageError(f"{where}: {len(tokens)} words and {len(found)} labels in '{key}'")
        return found
    if text is None:
        raise UsageError(f"{where}: spans in '{key}' need 'text'; with 'tokens' give labels")
    return _from_characters(found, tokens, f"{where}: '{key}'")


def _feature(values: dict[str, Any], name: str, key: str, words: int, where: str) -> list[str]:
    found = values.get(key)
    if not isinstance(found, list) or not all(isinstance(one, str) and one for one in found):
        raise UsageError(
            f"{where}: '{key}' is {found!r:.80}; expected a list of text, a value for each word "
            f"('{name}' of 'data.features')"
        )
    if len(found) != words:
        raise UsageError(f"{where}: {words} words and {len(found)} values in '{key}'")
    return found


def _from_characters(spans: list[Any], tokens: list[Token], where: str) -> list[str]:
    """BIO labels of spans of characters."""
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
