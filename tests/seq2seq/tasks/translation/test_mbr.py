"""Minimum Bayes risk, with sacrebleu's sentence chrF as the oracle."""

from __future__ import annotations

import dataclasses
import math

import numpy
import pytest
import sacrebleu

from seq2seq.tasks.translation.mbr import by_expected_utility, pairwise_chrf
from seq2seq.tasks.translation.translations import Translation
from tests.seq2seq.tasks.translation.models import ENGLISH

TEXTS = [
    "ein hund rennt heim",
    "ein hund",
    "",
    "a",
    "die Katze schläft auf der Matte .",
    "hund ein",
    "ß 猫 x",
]


def test_pairwise_chrf_is_that_of_sacrebleu():
    found = pairwise_chrf(TEXTS)
    expected = [[sacrebleu.sentence_chrf(a, [b]).score for b in TEXTS] for a in TEXTS]
    assert found == pytest.approx(numpy.array(expected), abs=1e-6)
    assert pairwise_chrf([""]).tolist() == [[0.0]]


def translation(text, log_p=-1.0):
    return Translation(text, 0.0, log_p, True, [], [])


def test_the_expected_utility_counts_each_sample():
    drawn = [translation(text) for text in [TEXTS[0], TEXTS[4], TEXTS[1], TEXTS[4], TEXTS[4]]]
    found = by_expected_utility(drawn)
    assert found[0].text == TEXTS[4] and len(found) == 3
    for one in found:
        scores = [sacrebleu.sentence_chrf(one.text, [other.text]).score for other in drawn]
        assert one.score == pytest.approx(sum(scores) / len(drawn), abs=1e-6)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_an_n_best_list_is_weighed_by_probability():
    found = by_expected_utility(
        [translation(TEXTS[0], math.log(0.1)), translation(TEXTS[4], math.log(0.3))], True
    )
    both = pairwise_chrf([TEXTS[4], TEXTS[0]])
    assert [one.text for one in found] == [TEXTS[4], TEXTS[0]]
    assert found[0].score == pytest.approx(0.75 * both[0, 0] + 0.25 * both[0, 1])
    equal = [translation("b"), translation("a")]
    assert [one.text for one in by_expected_utility(equal)] == ["b", "a"]  # the first of equals


def test_of_a_translator(translator):
    texts = [*ENGLISH, "", "a cat sings"]
    options = {"samples": 12, "temperature": 1.5, "seed": 3}
    found = translator.minimum_bayes_risk(texts, **options)
    drawn = translator.sample(texts, samples=12, temperature=1.5, seed=3)
    for text, one, samples in zip(texts, found, drawn, strict=True):
        assert one == by_expected_utility(samples)
        (alone,) = translator.minimum_bayes_risk([text], **options)
        assert [(h.text, h.score) for h in alone] == [(h.text, h.score) for h in one]


def test_by_command(run, saved, translator, tmp_path):
    text = "\n".join(ENGLISH).encode()
    options = ("--mbr", 8, "--seed", 5, "--temperature", 1.2)
    status, out, _ = run("translate", saved, *options, stdin=text)
    expected = translator.minimum_bayes_risk(ENGLISH, samples=8, seed=5, temperature=1.2)
    assert status == 0 and out.splitlines() == [one[0].text for one in expected]
    _, out, _ = run("translate", saved, "--mbr", 6, "--mbr-over", "beam", "--scores", stdin=text)
    wide = dataclasses.replace(translator.config.decoding, beam_size=6)
    nbest = translator.translate_nbest(ENGLISH, n_best=6, decoding=wide)
    expected = [by_expected_utility(one, by_probability=True) for one in nbest]
    assert [line.split("\t")[1] for line in out.splitlines()] == [one[0].text for one in expected]
    over = ("--mbr", 6, "--mbr-over", "beam", "--n-best", 2)
    _, out, _ = run("translate", saved, *over, stdin=text)
    two = [translation.text for one in expected for translation in one[:2]]
    assert [line.split("\t")[2] for line in out.splitlines()] == two
    (tmp_path / "source").write_bytes(text + b"\n")
    (tmp_path / "reference").write_text("x\ny\nz\n")
    files = ("--source", tmp_path / "source", "--reference", tmp_path / "reference")
    extra = ("--bootstrap", 0, "--output", tmp_path / "out")
    status, _, _ = run("evaluate", saved, *files, *options, *extra)
    expected = translator.minimum_bayes_risk(ENGLISH, samples=8, seed=5, temperature=1.2)
    assert status == 0
    assert (tmp_path / "out").read_text().splitlines() == [one[0].text for one in expected]


def test_evaluate_refuses_what_a_beam_would_use(run):
    files = ("--source", "s", "--reference", "r")
    for extra, message in (
        (("--mbr", 8, "--beam-size", 4), "--beam-size does not go with --mbr"),
        (("--mbr", 8, "--copy-unknown"), "--copy-unknown does not go with --mbr"),
        (("--seed", 8), "--seed goes with --mbr N over samples"),
    ):
        status, _, err = run("evaluate", "no/model/needed", *files, *extra)
        assert status == 2 and message in err, err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mbr", 1], "no whole number of at least 2"),
        (["--mbr", 3, "--samples", 2], "--samples does not go with --mbr"),
        (["--mbr", 3, "--beam-size", 4], "--beam-size does not go with --mbr"),
        (["--mbr", 3, "--mbr-over", "beam", "--seed", 4], "--seed goes with --samples N"),
        (["--mbr", 3, "--mbr-over", "beam", "--alignments", "x"], "do not go with --mbr"),
        (["--mbr", 9, "--mbr-over", "beam", "--beam-size", 4], "n_best is 9; expected 1 to 4"),
    ],
)
def test_wrong_use(run, saved, arguments, message):
    status, _, err = run("translate", saved, *arguments, stdin=b"a dog\n")
    assert status == 2 and message in err
