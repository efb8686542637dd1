"""Captions that must and must not hold phrases, and beams in groups."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from seq2seq.config.vocabulary import VocabularyConfig
from seq2seq.errors import UsageError
from seq2seq.text.phrases import missing
from seq2seq.text.unit_phrases import unit_phrases
from seq2seq.text.vocabulary import train_units
from tests.seq2seq.tasks.captioning.models import make

TEXT = [
    "a red circle on the ground",
    "a blue square on the black ground ( dog )",
    "two dogs run",
] * 3


@pytest.mark.parametrize("beam_size", [1, 2, 6])
def test_captions_hold_what_they_must(images, beam_size):
    captioner = make()
    options = {"require": ["red circle", "ground"], "forbid": ["a", "blue square"]}
    found = captioner.caption(images, beam_size=beam_size, **options)
    for path, one in zip(images, found, strict=True):
        best = one.captions[0]
        assert best.missing == missing(best.text, options["require"]) == []
        assert missing(best.text, options["forbid"]) == options["forbid"]
        assert captioner.caption([path], beam_size=beam_size, **options)[0].text == best.text


@pytest.mark.parametrize("kind", ["words", "subwords", "characters", "bytes"])
def test_every_kind_of_units_spells_its_phrases(kind):
    units = train_units((f"{line}\n" for line in TEXT), VocabularyConfig(kind=kind, vocab_size=280))
    phrases = unit_phrases(units, ["black ground", "dog"], ["red"])
    assert phrases is not None
    state = phrases.first()
    for unit in units.encode("a blue square on the black ground").tolist():
        assert unit not in phrases.barred(state)
        state = phrases.advance(state, unit)
    assert not phrases.complete(state)
    for unit in phrases.required["dog"]:
        assert unit in phrases.wanted(state)
        state = phrases.advance(state, unit)
    assert phrases.complete(state)
    state = phrases.first()
    units_of_red = units.encode("a red circle").tolist()
    stopped = []
    for unit in units_of_red:
        stopped.append(unit in phrases.barred(state))
        state = phrases.advance(state, unit)
    assert any(stopped)


def test_groups_give_other_captions(images):
    captioner = make()
    plain = captioner.caption(images, beam_size=4, n_best=4)
    settings = dataclasses.replace(
        captioner.config.decoding, beam_size=4, beam_groups=4, diversity=50.0
    )
    apart = captioner.caption(images, n_best=4, decoding=settings)
    for one, other in zip(plain, apart, strict=True):
        firsts = [{caption.tokens[0] for caption in found.captions} for found in (one, other)]
        assert len(firsts[1]) == 4 and len(firsts[1]) >= len(firsts[0])
    (alone,) = captioner.caption(images[:1], n_best=4, decoding=settings)
    assert [c.text for c in alone.captions] == [c.text for c in apart[0].captions]


def test_by_command(run, images, tmp_path):
    captioner = make()
    captioner.save_pretrained(tmp_path / "model")
    options = ("--require", "green", "--forbid", "red", "--beam-size", 3)
    status, out, _ = run("caption", tmp_path / "model", *images, *options)
    expected = captioner.caption(images, beam_size=3, require=["green"], forbid=["red"])
    assert status == 0
    assert [line.split("\t")[1] for line in out.splitlines()] == [one.text for one in expected]
    for extra, message in (
        (["--require", "purple"], "lacks 'purple'"),
        (["--require", "red", "--forbid", "red"], "which must not"),
        (["--require", "a red green blue circle square on the black"], "there is room for 8"),
        (["--beam-groups", 2, "--beam-size", 3], "--beam-size is 3, which 2 groups cannot share"),
        (["--beam-groups", 2, "--beam-size", 1], "--beam-groups goes with --beam-size"),
        (["--length-penalty", 2, "--beam-size", 1], "--length-penalty goes with --beam-size"),
        (["--diversity", 2], "caption: --diversity goes with --beam-groups"),
    ):
        status, _, err = run("caption", tmp_path / "model", images[0], *extra)
        assert status == 2 and message in err, err


def test_blank_phrases():
    with pytest.raises(UsageError, match="a phrase is blank"):
        make().caption([], forbid=[" "])
    assert torch.is_grad_enabled()
