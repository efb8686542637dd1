"""Spans of words written as one label a word, and back.

    words     Phil  Simmons  took  four  for  Leicestershire  .
    spans     PER   PER                       ORG
    BIO       B-PER I-PER    O     O     O    B-ORG           O
    BIOES     B-PER E-PER    O     O     O    S-ORG           O
    IOB1      I-PER I-PER    O     O     O    I-ORG           O    (B- only where spans touch)

All are read by one rule, that of the CoNLL shared tasks' conlleval: a span begins at B- and S-,
at a label of another type than the one before it, and at I- and E- with no span before them; it
ends before such a label, before O, and after E- and S-. BILOU's L- and U- are E- and S-. So a
sequence that a scheme forbids is repaired, and valid ones of any scheme give their spans.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import torch

from seq2seq.layers.crf import Constraints

Scheme = Literal["bio", "bioes"]
OUTSIDE = "O"
_SPAN_LABEL = re.compile(r"[BIESLU]-.+", re.DOTALL)
_SAME = {"L": "E", "U": "S"}


class Span(NamedTuple):
    """Words ``start`` to ``end``, the last one excluded."""

    start: int
    end: int
    type: str


def are_spans(labels: Iterable[str]) -> bool:
    """Whether the labels of a column write spans: O, and at least one B-TYPE or alike."""
    found = set(labels) - {OUTSIDE}
    return bool(found) and all(map(_SPAN_LABEL.fullmatch, found))


@lru_cache(maxsize=4096)
def split_label(label: str) -> tuple[str, str]:
    """B-PER -> B, PER; L and U as E and S; O and what is no label of a span -> O and nothing."""
    if not _SPAN_LABEL.fullmatch(label):
        return OUTSIDE, ""
    return _SAME.get(label[0], label[0]), label[2:]


def spans_of(labels: Sequence[str]) -> list[Span]:
    """The spans by conlleval's rule, in order."""
    spans: list[Span] = []
    if labels.count(OUTSIDE) == len(labels):
        return spans
    start, before, type_before = 0, OUTSIDE, ""
    for place, label in enumerate([*labels, OUTSIDE]):
        tag, kind = split_label(label)
        inside = before in ("B", "I")  # whether a span is still open
        if inside and (tag in ("O", "B", "S") or kind != type_before):
            spans.append(Span(start, place, type_before))
            inside = False
        if tag != OUTSIDE and not inside:
            start = place
        if tag in ("E", "S"):
            spans.append(Span(start, place + 1, kind))
        before, type_before = tag, kind
    return spans


def strict_spans(labels: Sequence[str], scheme: Scheme = "bio") -> list[Span]:
    """The spans that are written whole in ``scheme``; the others are none (seqeval's mode strict).
    Equal to ``spans_of`` for valid sequences."""
    return [
        span
        for span in spans_of(labels)
        if [_canonical(label) for label in labels[span.start : span.end]] == _written(span, scheme)
    ]


def write_spans(spans: Iterable[Span], length: int, scheme: Scheme) -> list[str]:
    """The labels of ``length`` words whose spans are these; no two may share a word."""
    labels = [OUTSIDE] * length
    for span in spans:
        labels[span.start : span.end] = _written(span, scheme)
    return labels


def convert(labels: Sequence[str], scheme: Scheme) -> list[str]:
    """The same spans in another scheme; what no scheme allows is repaired (see ``spans_of``)."""
    return write_spans(spans_of(labels), len(labels), scheme)


def in_bio(label: str) -> str:
    """The label of a valid sequence of BIOES in BIO."""
    return {"S": "B", "E": "I"}.get(label[0], label[0]) + label[1:]


def is_valid(labels: Sequence[str]) -> bool:
    """Whether the labels are valid BIO, BIOES or IOB1: nothing had to be repaired."""
    spans = spans_of(labels)
    found = [_canonical(label) for label in labels]
    valid = (_in_iob1(spans, len(labels)), *(write_spans(spans, len(labels), s) for s in _SCHEMES))
    return found in valid


def types_of(labels: Iterable[str]) -> list[str]:
    """The types of spans, sorted."""
    return sorted({kind for kind in (split_label(label)[1] for label in labels) if kind})


def labels_of(types: Sequence[str], scheme: Scheme) -> list[str]:
    """O, and every label that spans of these types can have."""
    tags = "BI" if scheme == "bio" else "BIES"
    return [OUTSIDE, *(f"{tag}-{kind}" for kind in types for tag in tags)]


def constraints_of(labels: Sequence[str]) -> Constraints:
    """What BIO (labels without S-) or BIOES allows: I- and E- go on with a span of their type, and
    in BIOES a span that B- began goes on until E-."""
    split = [split_label(label) for label in labels]
    whole = any(tag == "S" for tag, _ in split)  # BIOES
    start = [tag not in ("I", "E") for tag, _ in split]
    end = [not (whole and tag in ("B", "I")) for tag, _ in split]
    allowed = [
        [
            (tag in ("B", "I") and kind == kind_after) if tag_after in ("I", "E") else may_end
            for tag_after, kind_after in split
        ]
        for (tag, kind), may_end in zip(split, end, strict=True)
    ]
    return Constraints(torch.tensor(start), torch.tensor(allowed), torch.tensor(end))


_SCHEMES: tuple[Scheme, ...] = ("bio", "bioes")


def _written(span: Span, scheme: Scheme) -> list[str]:
    inner = span.end - span.start - 2
    if scheme == "bio":
        tags = "B" + "I" * (inner + 1)
    else:
        tags = "S" if inner < 0 else "B" + "I" * inner + "E"
    return [f"{tag}-{span.type}" for tag in tags]


def _in_iob1(spans: Sequence[Span], length: int) -> list[str]:
    labels = [OUTSIDE] * length
    before = None
    for span in spans:
        touches = before is not None and before.end == span.start and before.type == span.type
        tags = ("B" if touches else "I") + "I" * (span.end - span.start - 1)
        labels[span.start : span.end] = [f"{tag}-{span.type}" for tag in tags]
        before = span
    return labels


def _canonical(label: str) -> str:
    tag, kind = split_label(label)
    return f"{tag}-{kind}" if kind else OUTSIDE
