"""Scores of labels: precision, recall and F1 of spans, as conlleval counts them, and accuracy.

A span counts where its words and its type are right. ``spans_of`` reads spans by conlleval's rule,
which seqeval has as its default mode; seqeval's strict mode differs where a sequence breaks its
scheme alone, and gold labels and what ``Tagger`` writes never do (tests compare all of them).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from seq2seq.errors import UsageError
from seq2seq.tasks.tagging.schemes import are_spans, spans_of


@dataclass(frozen=True)
class SpanScore:
    """Percentages, and how many spans they are of."""

    precision: float
    recall: float
    f1: float
    gold: int
    found: int
    right: int


_OF_SPANS = ("f1", "precision", "recall")


@dataclass(frozen=True)
class LabelScores:
    """Scores of one column: percentage of words with the right label; for spans their scores, all
    together and by type."""

    words: int
    accuracy: float
    spans: SpanScore | None = None
    types: dict[str, SpanScore] | None = None

    @property
    def main(self) -> float:
        """F1 of spans, else accuracy."""
        return self.accuracy if self.spans is None else self.spans.f1

    def metrics(self) -> dict[str, float]:
        """The figures by the names of the hub's metrics."""
        spans = self.spans
        of_spans = {} if spans is None else {name: getattr(spans, name) for name in _OF_SPANS}
        return {**of_spans, "accuracy": self.accuracy}

    def __str__(self) -> str:
        if self.spans is None:
            return f"accuracy {self.accuracy:.2f} ({self.words:,} words)"
        return f"F1 {_told(self.spans)}; accuracy {self.accuracy:.2f} ({self.words:,} words)"

    def table(self) -> str:
        """The scores of each type, a line each."""
        if not self.types:
            return ""
        width = max(map(len, self.types))
        return "\n".join(f"{name:{width}}  F1 {_told(one)}" for name, one in self.types.items())


def score_labels(
    gold: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    spans: bool | None = None,
) -> LabelScores:
    """Score the labels of sentences. Raises UsageError for other numbers of them.

    ``spans``: whether the labels write spans; None: whether ``gold`` does. A model knows it better
    than a file, which may hold no span at all, or a stray label beside its spans.
    """
    if len(gold) != len(predicted):
        raise UsageError(f"{len(gold)} sentences with labels, {len(predicted)} predicted")
    words = right = 0
    if spans is None:
        spans = are_spans({label for labels in gold for label in labels})
    golds, founds, rights = Counter[str](), Counter[str](), Counter[str]()
    for number, (one, other) in enumerate(zip(gold, predicted, strict=True), start=1):
        if len(one) != len(other):
            raise UsageError(f"sentence {number}: {len(one)} labels, {len(other)} predicted")
        words += len(one)
        right += sum(a == b for a, b in zip(one, other, strict=True))
        if spans:
            wanted, found = set(spans_of(one)), set(spans_of(other))
            golds.update(span.type for span in wanted)
            founds.update(span.type for span in found)
            rights.update(span.type for span in wanted & found)
    accuracy = _percent(right, words)
    if not spans:
        return LabelScores(words, accuracy)
    types = {
        name: _score(golds[name], founds[name], rights[name]) for name in sorted(golds | founds)
    }
    return LabelScores(
        words, accuracy, _score(*(c.total() for c in (golds, founds, rights))), types
    )


def score_sentences(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """The percentage of sentences with the right label of the whole."""
    return _percent(sum(a == b for a, b in zip(gold, predicted, strict=True)), len(gold))


def _score(gold: int, found: int, right: int) -> SpanScore:
    return SpanScore(
        _percent(right, found),
        _percent(right, gold),
        _percent(2 * right, gold + found),
        gold,
        found,
        right,
    )


def _told(score: SpanScore) -> str:
    return (
        f"{score.f1:.2f} (precision {score.precision:.2f}, recall {score.recall:.2f}, "
        f"{score.gold:,} spans)"
    )


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0
