"""Translation in int8."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from kernels.common import quantised
from kernels.common.quantised import why_no_int8
from seq2seq import Translator
from seq2seq.errors import UsageError
from tests.seq2seq.tasks.translation.models import ENGLISH, GERMAN, TEXTS, learn, make_translator

needs_int8 = pytest.mark.skipif(why_no_int8() is not None, reason=str(why_no_int8()))


@needs_int8
@pytest.mark.parametrize("beam_size", [1, 3])
def test_what_was_learnt_is_translated(translator, beam_size):
    options = {"beam_size": beam_size, "precision": "int8"}
    assert translator.translate(ENGLISH, **options) == GERMAN
    exact = translator.translate_nbest(ENGLISH, n_best=1, beam_size=beam_size)
    found = translator.translate_nbest(ENGLISH, n_best=1, **options)
    for (one,), (other,) in zip(exact, found, strict=True):
        assert one.score != other.score and one.score == pytest.approx(other.score, abs=0.1)


@needs_int8
def test_a_line_alone_and_among_others(translator):
    small = translator.in_int8()
    every = small.translate_nbest(TEXTS, n_best=2)
    for text, found in zip(TEXTS, every, strict=True):
        (alone,) = small.translate_nbest([text], n_best=2)
        assert [one.text for one in alone] == [one.text for one in found]
        assert [one.score for one in alone] == pytest.approx([one.score for one in found], rel=1e-4)
    drawn = translator.sample(TEXTS, samples=3, seed=1, precision="int8")
    assert [[one.text for one in found] for found in drawn] == [
        [one.text for one in small.sample([text], samples=3, seed=1)[0]] for text in TEXTS
    ]


@needs_int8
@pytest.mark.parametrize(
    "changes",
    [
        {"cell": "gru", "attention": "dot"},
        {"cell": "tanh", "attention": "general"},
        {"cell": "relu", "attention": "concat", "tied": "none"},
        {"attention": "none", "shared": False},
        {"tied": "all"},
    ],
)
def test_every_kind_of_model(changes):
    translator = learn(make_translator(**changes))
    exact = translator.translate_nbest(ENGLISH, n_best=1, beam_size=2)
    found = translator.in_int8().translate_nbest(ENGLISH, n_best=1, beam_size=2)
    for (one,), (other,) in zip(exact, found, strict=True):
        assert one.score == pytest.approx(other.score, abs=0.25)


@needs_int8
def test_the_float_weights_are_let_go():
    translator = make_translator()
    weights = [weakref.ref(p) for p in translator.model.parameters() if p.dim() == 2]
    small = translator.in_int8()
    expected = translator.translate(ENGLISH, precision="int8")
    del translator
    gc.collect()
    assert len(weights) > 8 and not any(one() is not None for one in weights)
    assert small.translate(ENGLISH) == expected


@needs_int8
def test_ensembles_and_command(run, saved, translator):
    both = Translator.ensemble([translator, translator])
    assert both.translate(ENGLISH, precision="int8") == GERMAN
    assert both.in_int8().translate(ENGLISH) == GERMAN
    text = "\n".join(ENGLISH).encode()
    for models in ([saved], ["--ensemble", saved, saved]):
        status, out, err = run("translate", *models, "--precision", "int8", stdin=text)
        assert (status, err) == (0, "") and out.splitlines() == GERMAN
    with pytest.raises(UsageError, match="a model in int8 cannot be saved"):
        translator.in_int8().save_pretrained(saved.parent / "other")


def test_a_machine_without_it(run, saved, translator, monkeypatch):
    monkeypatch.setattr(quantised, "described", lambda field: "fpu avx2")
    status, _, err = run("translate", saved, "--precision", "int8", stdin=b"a dog\n")
    assert status == 2 and "precision int8: the processor has none of avx512_vnni" in err
    assert "use bf16 or fp32" in err
    with pytest.raises(UsageError, match="precision int8"):
        translator.translate("a", precision="int8")
    with pytest.raises(UsageError, match="precision is 'int4'; expected 'fp32', 'bf16' or 'int8'"):
        translator.translate("a", precision="int4")
    assert torch.get_default_dtype() == torch.float32
