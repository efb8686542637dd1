"""Log probabilities of given translations."""

from __future__ import annotations

import gzip
import json
import math

import pytest
import torch

from kernels.common.quantised import why_no_int8
from seq2seq import Translator
from seq2seq.errors import UsageError
from seq2seq.tasks.translation.alignments import pharaoh, word_alignment
from seq2seq.tasks.translation.searching import MAX_SOURCE_TOKENS
from tests.seq2seq.tasks.translation.models import ENGLISH, GERMAN, TEXTS, make_translator

CLOSE = {"rel": 1e-4, "abs": 1e-4}  # sums of ten terms of float32 after some hundred products


def by_training(translator, text, translation):
    """The log probabilities that training computes, all steps at once."""
    source = torch.tensor([translator.source_tokenizer.encode(text)])  # (1, S)
    target = translator.target_tokenizer
    ids = target.encode(translation)
    model = translator.model
    with torch.inference_mode():
        before = torch.tensor([[target.bos, *ids]])  # (1, T)
        vectors = model(source, torch.tensor([source.shape[1]]), before)  # (1, T, A)
        log_p = model.projection(vectors)[0].double().log_softmax(1)  # (T, V)
    after = torch.tensor([*ids, target.eos]).unsqueeze(1)
    return log_p.gather(1, after).squeeze(1).tolist()


def test_as_training_computes_it(translator):
    found = translator.score(ENGLISH + ENGLISH[:1], GERMAN + GERMAN[1:2])
    for text, given, one in zip(ENGLISH + ENGLISH[:1], GERMAN + GERMAN[1:2], found, strict=True):
        assert one.token_scores == pytest.approx(by_training(translator, text, given), **CLOSE)
        assert one.log_probability == one.score == pytest.approx(sum(one.token_scores))
        assert one.text == given and one.finished
        assert len(one.token_scores) == len(one.tokens) + 1
    right, wrong = found[0], found[3]
    assert right.log_probability > wrong.log_probability + 5


@pytest.mark.parametrize("kind", ["one", "ensemble", "shortlist"])
def test_what_a_search_found_has_its_score(translator, kind):
    if kind == "ensemble":
        translator = Translator.ensemble([translator, make_translator()])
    if kind == "shortlist":  # scores over all words, not those of the search
        whole = translator.translate_nbest(ENGLISH, n_best=1)
        translator.learn_shortlist(ENGLISH, GERMAN)
        translator = translator.with_shortlist()
    found = translator.translate_nbest(ENGLISH, n_best=1, attention=True)
    expected = whole if kind == "shortlist" else found
    scored = translator.score(ENGLISH, [one[0].text for one in found], attention=True)
    for one, (before, *_) in zip(scored, expected, strict=True):
        assert one.tokens == before.tokens and one.source_tokens == before.source_tokens
        assert one.token_scores == pytest.approx(before.token_scores, **CLOSE)
        if before.attention is not None:
            torch.testing.assert_close(one.attention, before.attention)


def test_alone_and_among_others(translator):
    targets = [GERMAN[0], "", GERMAN[1], "", "ein", "im baum"]
    together = translator.score(TEXTS, targets, batch_size=2)
    for text, given, one in zip(TEXTS, targets, together, strict=True):
        (alone,) = translator.score([text], [given])
        assert alone.token_scores == pytest.approx(one.token_scores, **CLOSE)


def test_blank_texts(translator):
    found = translator.score(["", " ", "a dog"], ["", "ein hund", " "])
    assert [one.log_probability for one in found[:2]] == [0.0, -math.inf]
    assert found[1].text == "ein hund" and found[1].tokens and found[1].token_scores == []
    assert found[2].tokens == [] and len(found[2].token_scores) == 1
    assert translator.score([], []) == []


def test_precisions(translator):
    full = translator.score(ENGLISH, GERMAN)
    precisions = ["bf16"] if why_no_int8() else ["bf16", "int8"]
    for precision in precisions:
        for one, other in zip(
            full, translator.score(ENGLISH, GERMAN, precision=precision), strict=True
        ):
            assert other.log_probability == pytest.approx(one.log_probability, rel=0.1, abs=0.5)


def test_long_texts_are_cut_with_a_warning(translator, caplog):
    translator.score(["a dog " * 900], ["ein hund"], first_line=3)
    told = f"line 3 has 3600 subwords; only the first {MAX_SOURCE_TOKENS} are scored"
    assert told in caplog.text
    assert "--split-sentences" not in caplog.text


def test_misuse(translator):
    with pytest.raises(UsageError, match="2 texts and 1 translations; expected one for each"):
        translator.score(["a", "b"], ["c"])
    with pytest.raises(UsageError, match="translations is one text; expected a list of str"):
        translator.score(["a"], "c")
    with pytest.raises(UsageError, match="batch_size"):
        translator.score(["a"], ["c"], batch_size=0)


@pytest.fixture
def pairs(tmp_path):
    (tmp_path / "a.en").write_text("\n".join([*ENGLISH, "", "a dog"]) + "\n")
    with gzip.open(tmp_path / "a.de.gz", "wt", encoding="utf-8") as stream:
        stream.write("\n".join([*GERMAN, "ein", ""]) + "\n")
    return "--source", tmp_path / "a.en", "--target", tmp_path / "a.de.gz"


def test_by_command(run, saved, translator, pairs, tmp_path):
    texts, targets = [*ENGLISH, "", "a dog"], [*GERMAN, "ein", ""]
    expected = translator.score(texts, targets, attention=True)
    status, out, err = run("score-translations", saved, *pairs)
    assert (status, err) == (0, "")
    assert out.splitlines() == [f"{one.log_probability:.4f}" for one in expected]
    assert out.splitlines()[3] == "-inf"
    file = tmp_path / "scores.txt"
    status, out, _ = run(
        "score-translations", saved, *pairs, "--mean", "--output", file, "--batch-size", 2
    )
    assert (status, out) == (0, "")
    means = [one.log_probability / (len(one.tokens) + 1) for one in expected]
    assert file.read_text().splitlines() == [f"{one:.4f}" for one in means]
    links = tmp_path / "links"
    status, out, _ = run("score-translations", saved, *pairs, "--json", "--alignments", links)
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["translation"] for line in lines] == targets
    assert lines[0]["token_scores"] == pytest.approx(expected[0].token_scores)
    assert lines[3]["log_probability"] is None and lines[3]["line"] == 4
    assert links.read_text().splitlines() == [
        pharaoh(word_alignment(one)) if texts[i] else "" for i, one in enumerate(expected)
    ]


def test_an_ensemble_by_command(run, saved, translator, pairs):
    status, out, _ = run("score-translations", "--ensemble", saved, saved, *pairs)
    assert status == 0
    for line, one in zip(out.splitlines(), translator.score(ENGLISH, GERMAN), strict=False):
        assert float(line) == pytest.approx(one.log_probability, abs=1e-3)


def test_misuse_of_the_command(run, saved, pairs, tmp_path):
    for size, missing in ((40, 0), (2, 4)):  # of lines: another window, the same window
        (tmp_path / "b.de").write_text("ein\n" * size)
        arguments = ("--source", tmp_path / "a.en", "--target", tmp_path / "b.de")
        status, _, err = run("score-translations", saved, *arguments, "--batch-size", 1)
        assert status == 2 and "expected as many: line by line" in err, missing
        assert "b.de" in err and "a.en" in err
    status, _, err = run("score-translations", saved, *pairs, "--mean", "--json")
    assert status == 2 and "--mean does not go with --json" in err
    status, _, err = run("score-translations", *pairs)
    assert status == 2 and "MODEL (or --ensemble A B ...)" in err
    status, _, err = run("score-translations", saved, "--source", "no.en", "--target", "no.de")
    assert status == 2 and "--source no.en: no such file" in err
