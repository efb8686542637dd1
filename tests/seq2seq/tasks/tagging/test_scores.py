"""Scores against conlleval, written again from its rules, and against seqeval."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq import UsageError
from seq2seq.tasks.tagging.schemes import convert
from seq2seq.tasks.tagging.scores import score_labels, score_sentences

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
IOBES = [*LABELS, "E-PER", "S-PER", "E-LOC", "S-LOC"]


def conlleval(gold, predicted):
    """Spans right, in gold and found: as conlleval counts, word by word, with one flag for a span
    that has been right so far."""
    right = golds = founds = 0
    open_right = False
    before = [("O", ""), ("O", "")]
    for pair in [*zip(gold, predicted, strict=True), ("O", "O")]:
        now = [(label[0], label[2:]) for label in pair]
        ends = [_ends(b, n) for b, n in zip(before, now, strict=True)]
        begins = [_begins(b, n) for b, n in zip(before, now, strict=True)]
        if open_right:
            if all(ends) and before[0][1] == before[1][1]:
                right, open_right = right + 1, False
            elif ends[0] != ends[1] or now[0][1] != now[1][1]:
                open_right = False
        if all(begins) and now[0][1] == now[1][1]:
            open_right = True
        golds, founds = golds + begins[0], founds + begins[1]
        before = now
    return right, golds, founds


def _ends(before, now):
    if before[0] in "ES":
        return True
    if before[0] in "BI" and now[0] in "BSO":
        return True
    return before[0] != "O" and before[1] != now[1]


def _begins(before, now):
    if now[0] in "BS":
        return True
    if now[0] in "EI" and before[0] in "ESO":
        return True
    return now[0] != "O" and before[1] != now[1]


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(IOBES), st.sampled_from(IOBES)), min_size=1, max_size=12))
def test_counts_are_conllevals(pairs):
    gold, found = (list(column) for column in zip(*pairs, strict=True))
    scores = score_labels([gold], [found])
    right, golds, founds = conlleval(gold, found)
    if scores.spans is None:  # no span in gold: nothing says that labels write spans
        assert golds == 0
        return
    assert (scores.spans.right, scores.spans.gold, scores.spans.found) == (right, golds, founds)


def corpus(valid):
    """Gold labels, and labels with mistakes in them."""
    draw = random.Random(1)
    gold = [[draw.choice(LABELS) for _ in range(draw.randint(1, 9))] for _ in range(300)]
    found = [[x if draw.random() < 0.7 else draw.choice(LABELS) for x in one] for one in gold]
    if valid:
        gold, found = ([convert(one, "bio") for one in side] for side in (gold, found))
    return gold, found


@pytest.mark.parametrize("valid", [True, False])
def test_seqeval_counts_the_same_strict_too_where_sequences_are_valid(valid):
    metrics = pytest.importorskip("seqeval.metrics")
    from seqeval.scheme import IOB2

    gold, found = corpus(valid)
    scores = score_labels(gold, found)
    names = ("precision", "recall", "f1")
    ours = [getattr(scores.spans, name) / 100 for name in names]
    theirs = [getattr(metrics, f"{name}_score") for name in names]
    default = [one(gold, found) for one in theirs]
    strict = [one(gold, found, mode="strict", scheme=IOB2) for one in theirs]
    assert ours == pytest.approx(default, abs=1e-12)
    assert (ours == pytest.approx(strict, abs=1e-12)) == valid
    assert scores.accuracy / 100 == pytest.approx(metrics.accuracy_score(gold, found))
    report = metrics.classification_report(gold, found, output_dict=True)
    for kind, one in scores.types.items():
        assert one.f1 / 100 == pytest.approx(report[kind]["f1-score"])
        assert one.gold == report[kind]["support"]


def test_in_words():
    scores = score_labels([["B-X", "I-X", "O", "B-Y"]], [["B-X", "I-X", "B-Y", "O"]])
    assert scores.main == pytest.approx(50) and scores.accuracy == 50
    assert str(scores) == (
        "F1 50.00 (precision 50.00, recall 50.00, 2 spans); accuracy 50.00 (4 words)"
    )
    assert scores.table().splitlines() == [
        "X  F1 100.00 (precision 100.00, recall 100.00, 1 spans)",
        "Y  F1 0.00 (precision 0.00, recall 0.00, 1 spans)",
    ]
    plain = score_labels([["A", "B"]], [["A", "A"]])
    assert plain.spans is None and plain.main == 50 and plain.table() == ""
    assert score_sentences(["a", "b"], ["a", "a"]) == 50 and score_sentences([], []) == 0


@pytest.mark.parametrize("found", [[], [["O"]], [["O", "O"], ["O"]]])
def test_other_numbers_are_errors(found):
    with pytest.raises(UsageError, match="predicted"):
        score_labels([["O", "B-X"]], found)


@pytest.mark.parametrize("gold", [["O", "O"], ["B-PER", "X"]])
def test_a_column_of_spans_has_f1_whatever_the_file_holds(gold):
    """A file without a span, or with a stray label, would be scored by accuracy alone."""
    assert score_labels([gold], [["B-PER", "O"]]).spans is None
    found = score_labels([gold], [["B-PER", "O"]], spans=True)
    assert found.spans is not None and found.spans.found == 1
    assert found.main == (100 if gold[0] == "B-PER" else 0)
    assert score_labels([gold], [gold], spans=False).spans is None
