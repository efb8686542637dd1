"""Sentences as JSON lines, an object each, with words, with running text, or with both:

    {"tokens": ["Phil", "Simmons", "took", "four"], "ner": ["B-PER", "I-PER", "O", "O"]}
    {"text": "Phil Simmons took four", "ner": [{"start": 0, "end": 12, "label": "PER"}]}

Labels stand under the key that ``data.labels`` names: one for each word, or spans of characters
of ``text``, whose words are ``tokens`` or what the simple tokeniser splits it into. The label of
the whole sentence is text under its own key. Features are lists, a value for each word.

What ``tag --json`` writes is read as well: labels under ``spans.NAME`` and ``labels.NAME``, the
label of the sentence under ``sentence_label``, where the keys themselves are missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from seq2seq.errors import UsageError
from seq2seq.json_files import parse_json
from seq2seq.tasks.tagging.character_spans import find_words, labels_of_spans
from seq2seq.tasks.tagging.schemes import OUTSIDE, convert
from seq2seq.tasks.tagging.sentences import Sentence
from seq2seq.text.files import check_unicode
from seq2seq.text.splitting import Token, split_words

_ENDS = re.compile(r"[\t\n\r]")


def read_json(
    lines: Iterable[str],
    path: str,
    sources: Mapping[str, str],
    sentence_label: str | None,
    features: Mapping[str, str],
    combining: bool = True,
) -> Iterator[Sentence]:
    """The sentences of a file; blank lines are left out, and so is what ``tag --json`` writes for
    them. ``combining`` as in ``split_words``.

    Raises UsageError, naming file and line, for what is no such object, other numbers of words and
    labels, spans that overlap or begin or end within a word, spans and labels of one column that
    differ, and words or labels that hold a tab or the end of a line."""
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
        if _is_blank(values):
            continue
        said = _Said(values, where, combining)
        labels = [said.labels(name, place or name) for name, place in sources.items()]
        whole = None if sentence_label is None else said.of_sentence(sentence_label)
        beside = [said.feature(name, place or name) for name, place in features.items()]
        yield Sentence(said.words, labels, whole, number, beside)


def _is_blank(values: dict[str, Any]) -> bool:
    """Whether this is a blank line as ``tag --json`` writes it."""
    text = values.get("text")
    return values.get("tokens") == [] and isinstance(text, str) and not text.strip()


class _Said:
    """What the object of a line says of a sentence."""

    def __init__(self, values: dict[str, Any], where: str, combining: bool) -> None:
        self._values, self._where = values, where
        words, text = values.get("tokens", values.get("words")), values.get("text")
        self._text = text if isinstance(text, str) else None
        self._split: list[Token] | None = None
        if words is None and self._text is not None:
            self._split = split_words(self._text, combining)
            words = [token.text for token in self._split]
        elif not isinstance(words, list) or not all(isinstance(x, str) and x for x in words):
            raise UsageError(
                f"{where}: expected 'tokens', a list of words, or 'text'; found keys "
                f"{', '.join(values) or 'none'}"
            )
        if not words:
            raise UsageError(f"{where}: a sentence without words")
        _check_one_line(words, "the word", where)
        self.words: list[str] = words

    def labels(self, name: str, key: str) -> list[str]:
        """The labels of the column ``name``, which stand under ``key``."""
        found = self._values.get(key)
        if found is None or isinstance(found, dict):
            labels = self._written(key) or self._written(name)
            if labels:
                return labels
        if not isinstance(found, list):
            raise UsageError(
                f"{self._where}: '{key}' is {found!r:.80}; expected a list of labels or of spans "
                f"('{name}' of 'data.labels')"
            )
        if found or self._text is None:
            return self._labels(found, key)
        return self._labels_of_spans(found, key)

    def _written(self, key: str) -> list[str] | None:
        """The labels under ``labels.KEY``, else under ``spans.KEY``; if both are there, they must
        say the same."""
        spans, labels = (
            values.get(key) if isinstance(values := self._values.get(part), dict) else None
            for part in ("spans", "labels")
        )
        of_words = self._labels(labels, f"labels.{key}") if isinstance(labels, list) else None
        if not isinstance(spans, list):
            return of_words
        of_spans = self._labels_of_spans(spans, f"spans.{key}")
        if of_words is None:
            return of_spans
        pairs = zip(self.words, of_spans, convert(of_words, "bio"), strict=True)
        for word, of_span, label in pairs:
            if of_span != label:
                raise UsageError(
                    f"{self._where}: {word!r:.40} is {of_span} by 'spans.{key}' and {label} by "
                    f"'labels.{key}'; change both, or leave one of them out"
                )
        return of_words

    def _labels(self, found: list[Any], key: str) -> list[str]:
        """A list of labels, or of spans."""
        if not all(isinstance(one, str) and one for one in found):
            return self._labels_of_spans(found, key)
        if len(found) != len(self.words):
            raise UsageError(
                f"{self._where}: {len(self.words)} words and {len(found)} labels in '{key}'"
            )
        _check_one_line(found, f"'{key}' has the label", self._where)
        return found

    def _labels_of_spans(self, spans: list[Any], key: str) -> list[str]:
        if self._text is None:
            raise UsageError(
                f"{self._where}: spans in '{key}' need 'text'; with 'tokens' give labels"
            )
        if not spans:
            return [OUTSIDE] * len(self.words)
        tokens = self._split
        if tokens is None:
            offsets = self._values.get("offsets")
            tokens = find_words(self._text, self.words, offsets, self._where)
        labels = labels_of_spans(spans, tokens, f"{self._where}: '{key}'")
        _check_one_line(labels, f"'{key}' has the label", self._where)
        return labels

    def of_sentence(self, key: str) -> str:
        """The label of the sentence, which stands under ``key``."""
        whole = self._values.get(key, self._values.get("sentence_label"))
        if not isinstance(whole, str) or not whole:
            raise UsageError(
                f"{self._where}: '{key}' is {whole!r}; expected the label of the sentence"
            )
        _check_one_line([whole], "the label of the sentence is", self._where)
        return whole

    def feature(self, name: str, key: str) -> list[str]:
        """The values of the feature ``name``, which stand under ``key``."""
        found = self._values.get(key)
        if not isinstance(found, list) or not all(isinstance(one, str) and one for one in found):
            raise UsageError(
                f"{self._where}: '{key}' is {found!r:.80}; expected a list of text, a value for "
                f"each word ('{name}' of 'data.features')"
            )
        if len(found) != len(self.words):
            raise UsageError(
                f"{self._where}: {len(self.words)} words and {len(found)} values in '{key}'"
            )
        return found


def _check_one_line(texts: Sequence[str], what: str, where: str) -> None:
    """Raise UsageError for a text that columns, in which labels are written, cannot hold."""
    for text in texts:
        if _ENDS.search(text):
            raise UsageError(
                f"{where}: {what} {text!r:.60}; expected neither a tab nor the end of a line in "
                "it: labels are written in columns, a word a line"
            )
