"""Spans as labels: every scheme and back, repairs, and what the field may not write."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.tasks.tagging.schemes import (
    Span,
    are_spans,
    constraints_of,
    convert,
    is_valid,
    labels_of,
    spans_of,
    split_label,
    strict_spans,
    types_of,
    write_spans,
)

LABELS = ["O", *(f"{tag}-{kind}" for tag in "BIESLU" for kind in ("X", "Y"))]


@st.composite
def sentences(draw):
    """Words and spans of them, which may touch."""
    length = draw(st.integers(1, 12))
    cuts = sorted(draw(st.sets(st.integers(0, length), max_size=8)))
    pairs = itertools.pairwise(cuts)
    spans = [Span(a, b, draw(st.sampled_from("XY"))) for a, b in pairs if draw(st.booleans())]
    return length, spans


@given(sentences())
def test_spans_survive_every_scheme(sentence):
    length, spans = sentence
    for scheme in ("bio", "bioes"):
        labels = write_spans(spans, length, scheme)
        assert spans_of(labels) == spans and is_valid(labels)
        assert strict_spans(labels, scheme) == spans
    bilou = [
        {"E": "L", "S": "U"}.get(x[0], x[0]) + x[1:] for x in write_spans(spans, length, "bioes")
    ]
    assert spans_of(bilou) == spans and is_valid(bilou)


@pytest.mark.parametrize(
    ("labels", "spans", "valid"),
    [
        ("I-X I-X O I-Y", "0 2 X, 3 4 Y", True),  # IOB1
        ("I-X B-X O", "0 1 X, 1 2 X", True),  # IOB1: spans of a type that touch
        ("O I-X B-X I-X", "1 2 X, 2 4 X", True),
        ("B-X I-Y I-Y", "0 1 X, 1 3 Y", False),
        ("B-X I-X E-Y", "0 2 X, 2 3 Y", False),
        ("B-X E-X E-X S-X", "0 2 X, 2 3 X, 3 4 X", False),
        ("B-X O E-X", "0 1 X, 2 3 X", False),
        ("O O", "", True),
        ("B-a-b I-a-b", "0 2 a-b", True),
    ],
)
def test_sequences_and_their_repair(labels, spans, valid):
    labels = labels.split()
    found = [
        Span(int(a), int(b), kind) for a, b, kind in map(str.split, filter(None, spans.split(",")))
    ]
    assert spans_of(labels) == found
    assert is_valid(labels) == valid
    assert spans_of(convert(labels, "bio")) == found == spans_of(convert(labels, "bioes"))


def test_strict_spans_leave_out_what_is_broken():
    labels = "I-X O B-X I-X O B-Y I-X".split()
    assert strict_spans(labels) == [Span(2, 4, "X"), Span(5, 6, "Y")]
    assert len(spans_of(labels)) == 4


@given(st.lists(st.sampled_from(LABELS), min_size=1, max_size=10))
def test_any_sequence_gives_spans_that_do_not_overlap(labels):
    spans = spans_of(labels)
    inside = {place for span in spans for place in range(span.start, span.end)}
    assert inside == {place for place, label in enumerate(labels) if label != "O"}
    assert sum(span.end - span.start for span in spans) == len(inside)


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
@given(length=st.integers(1, 6), data=st.data())
def test_constraints_allow_what_is_written_whole_and_nothing_else(scheme, length, data):
    names = labels_of(["X", "Y"], scheme)
    ids = data.draw(st.lists(st.integers(0, len(names) - 1), min_size=length, max_size=length))
    rules = constraints_of(names)
    allowed = rules.start[ids[0]] and rules.end[ids[-1]]
    allowed = bool(allowed) and all(
        bool(rules.transitions[a, b]) for a, b in itertools.pairwise(ids)
    )
    labels = [names[i] for i in ids]
    assert allowed == (write_spans(spans_of(labels), length, scheme) == labels)


def test_what_writes_spans():
    assert are_spans(["O", "B-X", "I-X"]) and are_spans(["U-X"])
    assert not are_spans(["O"]) and not are_spans([]) and not are_spans(["NOUN", "B-X"])
    assert not are_spans(["O", "X"]) and not are_spans(["B-"])
    assert split_label("L-PER") == ("E", "PER") and split_label("NOUN") == ("O", "")
    assert types_of(["O", "B-b", "I-a", "E-b"]) == ["a", "b"]
    assert labels_of(["a"], "bioes") == ["O", "B-a", "I-a", "E-a", "S-a"]
    assert constraints_of(labels_of(["a"], "bio")).end.tolist() == [True, True, True]
    assert torch.equal(constraints_of(["O"]).transitions, torch.ones(1, 1, dtype=torch.bool))
