"""Training sentences with other names in them (mention replacement: Dai & Adel 2020, section 3).

A span gives its place to another span of the training text that has the same labels, so as many
words: "Phil Simmons took four for Leicestershire" is also read as "Sachin Tendulkar took four for
Kent". The model then learns from what stands around a name, and sees each name in many places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from seq2seq.tasks.tagging.schemes import Span, spans_of
from seq2seq.tasks.tagging.sentences import Sentence
from seq2seq.tasks.tagging.vocabulary import Column

Labels = tuple[tuple[str, ...], ...]  # of the words of a span, in each column
Mention = tuple[list[str], list[list[str]]]  # words, and the values of each feature


class SpanReplacer:
    """Puts spans of the training text in each other's places. Spans are those of the first column
    that has some; all labels of a sentence stay as they are."""

    def __init__(self, sentences: Sequence[Sentence], columns: Sequence[Column], share: float):
        """``share``: of the spans that are replaced, each by one drawn from the different spans
        with its labels (itself among them)."""
        self._share = share
        self._column = next((n for n, column in enumerate(columns) if column.spans), None)
        found: dict[Labels, dict[tuple[str, ...], Mention]] = {}
        for one in sentences:
            for span in self._spans(one):
                words = one.words[span.start : span.end]
                features = [values[span.start : span.end] for values in one.features]
                found.setdefault(_labels(one, span), {}).setdefault(tuple(words), (words, features))
        self._mentions = {labels: list(each.values()) for labels, each in found.items()}

    def _spans(self, sentence: Sentence) -> list[Span]:
        return [] if self._column is None else spans_of(sentence.labels[self._column])

    def __call__(self, sentence: Sentence, random: np.random.Generator) -> Sentence:
        """The sentence with some of its spans replaced."""
        words, features = list(sentence.words), [list(values) for values in sentence.features]
        for span in self._spans(sentence):
            if random.random() >= self._share:
                continue
            mentions = self._mentions[_labels(sentence, span)]
            new_words, new_features = mentions[random.integers(len(mentions))]
            words[span.start : span.end] = new_words
            for values, new in zip(features, new_features, strict=True):
                values[span.start : span.end] = new
        return replace(sentence, words=words, features=features)


def _labels(sentence: Sentence, span: Span) -> Labels:
    return tuple(tuple(labels[span.start : span.end]) for labels in sentence.labels)
