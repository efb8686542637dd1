"""A labelled sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from seq2seq.tasks.tagging.schemes import spans_of
from seq2seq.text.splitting import Token


class Labels(NamedTuple):
    """The labels of a sentence's words, and the marginal probability of each."""

    labels: list[str]
    probabilities: list[float] | None


@dataclass(frozen=True)
class TaggedSpan:
    """text[start:end], which are the words ``words[0]`` to ``words[1]``, the last one excluded."""

    text: str
    type: str
    start: int
    end: int
    words: tuple[int, int]
    probability: float | None = None  # the lowest marginal of its words' labels


@dataclass(frozen=True)
class Tagged:
    """A sentence with its labels.

    ``labels`` are those of each word by the name of their column; ``spans`` those that the labels
    write, by the name of the column, for columns that write spans. ``sentence_label`` is that of
    the whole, where the model has one; of a sentence without words it is None. ``labels_whole``
    says whether the model has one. Probabilities are None where they were not asked for.
    """

    text: str
    tokens: list[Token]
    labels: dict[str, list[str]]
    spans: dict[str, list[TaggedSpan]]
    probabilities: dict[str, list[float]] | None = None
    sentence_label: str | None = None
    sentence_probability: float | None = None
    labels_whole: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``tag --json`` writes them."""
        values: dict[str, Any] = {"text": self.text}
        values["tokens"] = [token.text for token in self.tokens]
        values["offsets"] = [[token.start, token.end] for token in self.tokens]
        values["labels"] = self.labels
        values["spans"] = {
            name: [
                {
                    "start": span.start,
                    "end": span.end,
                    "label": span.type,
                    "text": span.text,
                    **({} if span.probability is None else {"probability": span.probability}),
                }
                for span in spans
            ]
            for name, spans in self.spans.items()
        }
        if self.probabilities is not None:
            values["probabilities"] = self.probabilities
        if self.labels_whole or self.sentence_label is not None:
            values["sentence_label"] = self.sentence_label
            values["sentence_probability"] = self.sentence_probability
        return values


def make_tagged(
    text: str,
    tokens: Sequence[Token],
    columns: Mapping[str, Labels],
    spans: frozenset[str] | set[str],
    whole: tuple[str, float] | tuple[None, None] | None,
) -> Tagged:
    """A sentence from its words and their labels; ``spans`` names the columns that write spans;
    ``whole`` is the label of the sentence and its probability, None of a model without one."""
    probabilities = {
        name: found.probabilities
        for name, found in columns.items()
        if found.probabilities is not None
    }
    label, sure = whole or (None, None)
    return Tagged(
        text,
        list(tokens),
        {name: found.labels for name, found in columns.items()},
        {name: _spans(text, tokens, found) for name, found in columns.items() if name in spans},
        probabilities or None,
        label,
        sure,
        whole is not None,
    )


def _spans(text: str, tokens: Sequence[Token], found: Labels) -> list[TaggedSpan]:
    spans = []
    for one in spans_of(found.labels):
        start, end = tokens[one.start].start, tokens[one.end - 1].end
        sure = (
            None if found.probabilities is None else min(found.probabilities[one.start : one.end])
        )
        spans.append(TaggedSpan(text[start:end], one.type, start, end, (one.start, one.end), sure))
    return spans
