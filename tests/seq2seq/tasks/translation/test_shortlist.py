"""Translations among the words that a source suggests."""

from __future__ import annotations

import collections
import functools
import re

import numpy as np
import pytest
import safetensors.torch
import torch

from kernels.common.quantised import why_no_int8
from seq2seq import Translator
from seq2seq.decoding import narrow
from seq2seq.errors import UsageError
from seq2seq.tasks.translation import lexicon
from seq2seq.tasks.translation.lexicon import learn_lexicon
from seq2seq.tasks.translation.shortlist import SHORTLIST_FILE
from tests.seq2seq.tasks.translation.models import ENGLISH, GERMAN, TEXTS, learn, make_translator

PRECISIONS = ["fp32", "bf16"] + ["int8"] * (why_no_int8() is None)


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch):
    """So that a part of the small vocabulary is less than all of it."""
    monkeypatch.setattr(narrow, "_SIZES", 4)


@functools.cache
def trained(**changes):
    return learn(make_translator(**changes))


def fresh(**changes):
    """A trained translator without a shortlist."""
    one = trained(**changes)
    return Translator(one.model, one.source_tokenizer, one.target_tokenizer, one.config)


@pytest.fixture(scope="module")
def short():
    translator = fresh()
    translator.learn_shortlist(ENGLISH * 2, GERMAN * 2, words=3, frequent=2)
    return translator


def everything(translator):
    """A shortlist that suggests all words."""
    translator.learn_shortlist(ENGLISH, GERMAN, words=1000, frequent=1000)
    size = len(translator.target_tokenizer)
    always = torch.arange(size, dtype=torch.int32)
    translator.shortlist = type(translator.shortlist)(translator.shortlist.words, always)
    return translator


def model_one(sources, targets, rounds):
    """IBM Model 1 word by word; None is the empty word."""
    t = collections.defaultdict(lambda: 1.0)
    for _ in range(rounds):
        counts, totals = collections.Counter(), collections.Counter()
        for source, target in zip(sources, targets, strict=True):
            given = [*source, None]
            for f in target:
                z = sum(t[f, e] for e in given)
                for e in given:
                    counts[f, e] += t[f, e] / z
                    totals[e] += t[f, e] / z
        t = {(f, e): counts[f, e] / totals[e] for f, e in counts}
    return t


@pytest.mark.parametrize("together", [1, 50, 1 << 22])
def test_the_lexicon_is_ibm_model_one(monkeypatch, together):
    monkeypatch.setattr(lexicon, "_TOGETHER", together)
    draw = np.random.default_rng(1)
    sources = [draw.integers(0, 12, draw.integers(1, 7)).tolist() for _ in range(30)]
    targets = [draw.integers(0, 9, draw.integers(1, 7)).tolist() for _ in range(30)]
    expected = model_one(sources, targets, lexicon.ROUNDS)
    found = learn_lexicon([*sources, [], [1], [1] * 500], [*targets, [2], [], [1]], 12)
    pairs = zip(*(column.tolist() for column in found), strict=True)
    assert {(f, e): p for e, f, p in pairs} == pytest.approx(
        {pair: p for pair, p in expected.items() if pair[1] is not None}, rel=1e-9
    )
    order = list(zip(found.source.tolist(), (-found.probability).tolist(), strict=True))
    assert order == sorted(order)


def test_words_that_always_stand_together_are_found():
    pairs = [([1, 2], [11, 12]), ([2, 3], [13, 12]), ([1, 3], [11, 13])] * 5
    found = learn_lexicon(*zip(*pairs, strict=True), 4)
    best = {}
    for source, target in zip(found.source.tolist(), found.target.tolist(), strict=True):
        best.setdefault(source, target)
    assert best == {1: 11, 2: 12, 3: 13}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("beam_size", [1, 3])
def test_among_all_words_nothing_changes(precision, beam_size):
    translator = everything(fresh())
    options = {"beam_size": beam_size, "precision": precision, "n_best": 1}
    plain = translator.translate_nbest(TEXTS, **options)
    found = translator.with_shortlist().translate_nbest(TEXTS, **options)
    for (one,), (other,) in zip(found, plain, strict=True):
        assert one.text == other.text
        assert one.score == pytest.approx(other.score, rel=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"tied": "none", "cell": "gru"},
        {"shared": False},
        {"tied": "all", "attention": "none"},
        {"attention": "dot"},
    ],
)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_kind_of_model(changes, precision):
    translator = everything(fresh(**changes))
    expected = translator.translate(ENGLISH, precision=precision)
    assert translator.with_shortlist().translate(ENGLISH, precision=precision) == expected
    if precision == "int8":
        assert translator.with_shortlist().in_int8().translate(ENGLISH) == expected
    translator.learn_shortlist(ENGLISH, GERMAN, words=4, frequent=0)
    narrow = translator.with_shortlist().translate_nbest(ENGLISH, n_best=1, precision=precision)
    assert all(one.text for (one,) in narrow)


def test_only_what_a_line_suggests_is_written(short):
    fast = short.with_shortlist()
    found = fast.translate_nbest(TEXTS, n_best=3)
    size, device = len(short.target_tokenizer), torch.device("cpu")
    narrowed = 0
    for text, translations in zip(TEXTS, found, strict=True):
        ids = short.source_tokenizer.encode(text)
        if ids:
            part = short.shortlist.part([ids], [[]], size, device)
            given = {part.token(i) for i in (part.barred[0] == 0).nonzero().flatten().tolist()}
            names = set(short.target_tokenizer.pieces(sorted(given)))
            narrowed += len(given) < size
            assert all(set(one.tokens) <= names for one in translations)
    assert narrowed == sum(bool(text.strip()) for text in TEXTS)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_line_alone_and_among_others(short, beam_size):
    fast = short.with_shortlist()
    every = fast.translate_nbest(TEXTS, n_best=1, beam_size=beam_size)
    drawn = fast.sample(TEXTS, samples=3, seed=1)
    for text, (one,), some in zip(TEXTS, every, drawn, strict=True):
        ((alone,),) = fast.translate_nbest([text], n_best=1, beam_size=beam_size)
        assert alone.text == one.text
        assert alone.score == pytest.approx(one.score, rel=1e-5)
        (others,) = fast.sample([text], samples=3, seed=1)
        assert [each.text for each in others] == [each.text for each in some]


def test_what_is_asked_for_may_be_written_whatever_the_line_suggests(short):
    fast = short.with_shortlist()
    far = GERMAN[2]  # nothing of it is suggested by the first line
    assert fast.translate(ENGLISH[:1], prefixes=far)[0].startswith(far)
    (found,) = fast.translate_nbest(ENGLISH[:1], require=["vögel"], forbid=["hund"], n_best=1)
    assert found[0].missing == [] and "hund" not in found[0].text.split()


def test_ensembles_and_minimum_bayes_risk():
    members = [everything(fresh()), make_translator()]
    plain = Translator.ensemble(members)
    fast = Translator.ensemble([members[0].with_shortlist(), members[1]])
    assert fast.translate(ENGLISH) == plain.translate(ENGLISH)
    drawing = {"samples": 4, "temperature": 0.2, "seed": 1}
    found, expected = (one.minimum_bayes_risk(ENGLISH, **drawing) for one in (fast, plain))
    assert [one[0].text for one in found] == [one[0].text for one in expected]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_ensemble_gives_a_line_the_same_alone_and_among_others(short, precision):
    every = Translator.ensemble([short.with_shortlist(), make_translator()])
    nested = Translator.ensemble([every, fresh()])
    for fast in (every, nested):
        options = {"n_best": 2, "beam_size": 3, "precision": precision}
        together = fast.translate_nbest(TEXTS, **options)
        for text, found in zip(TEXTS, together, strict=True):
            (alone,) = fast.translate_nbest([text], **options)
            assert [one.text for one in alone] == [one.text for one in found]
            close = {"rel": 1e-5 if precision == "fp32" else 1e-2}
            scores = [one.score for one in found]
            assert [one.score for one in alone] == pytest.approx(scores, **close)


def test_it_is_saved_with_the_model(short, tmp_path):
    short.save_pretrained(tmp_path / "model")
    loaded = Translator.from_pretrained(tmp_path / "model")
    assert torch.equal(loaded.shortlist.words, short.shortlist.words)
    assert loaded.with_shortlist().translate(TEXTS) == short.with_shortlist().translate(TEXTS)
    loaded.with_shortlist().save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / SHORTLIST_FILE).read_bytes() == (
        tmp_path / "model" / SHORTLIST_FILE
    ).read_bytes()
    fresh().save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model" / SHORTLIST_FILE).exists()
    with pytest.raises(UsageError, match=r"has no shortlist.*seq2seq shortlist"):
        Translator.from_pretrained(tmp_path / "model").with_shortlist()


def damage(change):
    def damaged(words, always):
        tensors = {"words": words.clone(), "always": always.clone()}
        change(tensors)
        return safetensors.torch.save(tensors)

    return damaged


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda *_: b"nothing", "damaged"),
        (lambda *_: b"", "damaged"),
        (damage(lambda t: t.pop("always")), "damaged"),
        (damage(lambda t: t.update(words=t["words"].long())), "int64.*expected int32"),
        (damage(lambda t: t.update(words=t["words"].flatten())), r"expected int32 words \(V, K\)"),
        (damage(lambda t: t.update(words=t["words"][:-1].clone())), "other vocabularies"),
        (damage(lambda t: t["words"].fill_(10_000)), "other vocabularies"),
        (damage(lambda t: t["words"].fill_(-2)), "other vocabularies"),
        (damage(lambda t: t["always"].fill_(-1)), "other vocabularies"),
        (damage(lambda t: t.update(always=t["always"][:0].clone())), "other vocabularies"),
    ],
)
def test_a_file_that_cannot_be_used_is_left_out(run, short, tmp_path, caplog, content, message):
    short.save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / SHORTLIST_FILE
    path.write_bytes(content(short.shortlist.words, short.shortlist.always))
    loaded = Translator.from_pretrained(tmp_path / "model")
    assert re.search(message, caplog.text) and "Make it anew: seq2seq shortlist" in caplog.text
    assert loaded.shortlist is None and loaded.translate(ENGLISH) == short.translate(ENGLISH)


def test_a_damaged_file_is_made_anew(run, short, tmp_path):
    short.save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / SHORTLIST_FILE
    path.write_bytes(path.read_bytes()[:50])
    for name, lines in (("en", ENGLISH), ("de", GERMAN)):
        (tmp_path / name).write_text("\n".join(lines), "utf-8")
    given = ("--source", tmp_path / "en", "--target", tmp_path / "de")
    status, _, err = run("shortlist", tmp_path / "model", *given)
    assert status == 0 and "damaged" in err
    assert Translator.from_pretrained(tmp_path / "model").shortlist is not None


def test_who_may_read_the_model_may_read_the_shortlist(short, tmp_path):
    short.save_pretrained(tmp_path / "model")
    files = [path.stat().st_mode for path in (tmp_path / "model").iterdir()]
    assert len(set(files)) == 1


def test_texts_that_do_not_pair(short):
    translator = make_translator()
    with pytest.raises(UsageError, match="3 sources and 2 targets"):
        translator.learn_shortlist(ENGLISH, GERMAN[:2])
    for sources, targets in (([""], ["ein hund"]), ([], []), (["a dog " * 100], ["ein hund"])):
        with pytest.raises(UsageError, match=f"none of {len(sources)} pairs of texts has 1 to 128"):
            translator.learn_shortlist(sources, targets)
    assert translator.shortlist is None


def test_pairs_left_out_are_told(caplog):
    translator = make_translator()
    translator.learn_shortlist([*ENGLISH, "", "a dog " * 100], [*GERMAN, "ein hund", "ein hund"])
    assert "2 of 5 pairs are left out" in caplog.text


def test_texts_without_most_of_the_words_are_told(caplog):
    translator = make_translator()
    translator.learn_shortlist(ENGLISH, GERMAN)
    assert "these texts have" not in caplog.text
    translator.learn_shortlist(["a"], ["ein"])
    size = len(translator.source_tokenizer)
    assert re.search(rf"these texts have \d+ of the model's {size} words", caplog.text)


def test_the_table_is_no_wider_than_any_word_needs(short):
    translator = make_translator()
    translator.learn_shortlist(ENGLISH, GERMAN, words=10**12, frequent=0)
    widest = translator.shortlist.words.shape[1]
    assert widest <= 1 + len(translator.target_tokenizer)
    assert (translator.shortlist.words[:, widest - 2] >= 0).any()


def test_by_command(run, saved, tmp_path):
    files = tmp_path / "train.en", tmp_path / "train.de"
    for path, lines in zip(files, (ENGLISH, GERMAN), strict=True):
        path.write_text("\n".join(lines) + "\n", "utf-8")
    text = "\n".join(TEXTS).encode()
    status, _, err = run("translate", saved, "--shortlist", stdin=text)
    assert status == 2 and "has no shortlist" in err
    given = ("--source", files[0], "--target", files[1], "--words", 3, "--frequent", 2)
    before = sorted(path.name for path in saved.iterdir())
    status, out, err = run("shortlist", saved, *given)
    assert (status, err) == (0, "") and out == f"{saved / SHORTLIST_FILE}\n"
    assert sorted(path.name for path in saved.iterdir()) == sorted([*before, SHORTLIST_FILE])
    translator = Translator.from_pretrained(saved).with_shortlist()
    status, out, err = run("translate", saved, "--shortlist", stdin=text)
    assert (status, err) == (0, "") and out.split("\n")[:-1] == translator.translate(TEXTS)
    for option in (["--samples", 2, "--seed", 1], ["--mbr", 2], ["--ensemble", saved]):
        assert run("translate", saved, "--shortlist", *option, stdin=text)[0] == 0
    scored = ("--source", files[0], "--reference", files[1], "--shortlist", "--json")
    assert run("evaluate", saved, *scored)[0] == 0

    files[1].write_text("ein hund\n", "utf-8")
    status, _, err = run("shortlist", saved, *given)
    assert status == 2 and ": 3 line(s), " in err and ": 1; expected as many" in err
    status, _, err = run("shortlist", "user/name", *given)
    assert status == 2 and "no such folder" in err
    given = ("--hypotheses", files[1], "--reference", files[1], "--shortlist")
    assert run("evaluate", *given)[0] == 2
