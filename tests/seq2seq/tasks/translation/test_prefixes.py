"""Translations with a given beginning."""

from __future__ import annotations

import pytest

from seq2seq.config.vocabulary import TokenizerConfig
from seq2seq.errors import UsageError
from seq2seq.tasks.translation.prefixes import encode_prefixes
from seq2seq.text.sentencepiece import Tokenizer
from tests.seq2seq.tasks.translation.models import ENGLISH, GERMAN

PREFIXES = ["zwei vögel", "", "die ka"]


@pytest.mark.parametrize("beam_size", [1, 3])
def test_translations_begin_as_told(translator, beam_size):
    found = translator.translate(ENGLISH, prefixes=PREFIXES, beam_size=beam_size)
    assert all(one.startswith(given) for one, given in zip(found, PREFIXES, strict=True))
    assert found[1] == GERMAN[1]
    for text, given, one in zip(ENGLISH, PREFIXES, found, strict=True):
        assert translator.translate(text, prefixes=given, beam_size=beam_size) == one
        assert translator.translate([text], prefixes=[given], beam_size=beam_size) == [one]
    assert translator.translate(ENGLISH, prefixes=GERMAN, beam_size=beam_size) == GERMAN
    everywhere = translator.translate(ENGLISH, prefixes="im", beam_size=beam_size)
    assert all(one.startswith("im") for one in everywhere)
    assert translator.translate(["", "a dog"], prefixes="im")[0] == ""


def test_a_prefix_may_be_longer_than_the_translation_could_be(translator):
    given = " ".join(GERMAN * 3)
    (one,) = translator.translate_nbest(["a dog"], prefixes=[given], n_best=1)[0]
    assert one.text.startswith(given)
    assert len(one.token_scores) == len(one.tokens) + one.finished


def test_unknown_letters_are_an_error_or_bytes(translator):
    with pytest.raises(UsageError, match=r"line 8: the prefix holds letters .* lacks: 'Ω'"):
        translator.translate_nbest(["a", "b"], prefixes=["ein", "ein Ω"], first_line=7)
    config = TokenizerConfig(vocab_size=330, kind="bpe", byte_fallback=True)
    tokenizer = Tokenizer.train((ENGLISH + GERMAN) * 3, config)
    (ids,) = encode_prefixes("ein Ω", 1, tokenizer, 1)
    assert tokenizer.decode(ids) == "ein Ω"


def test_wrong_prefixes(translator):
    with pytest.raises(UsageError, match="1 prefixes for 2 texts; expected one for each"):
        translator.translate(["a", "b"], prefixes=["ein"])
    with pytest.raises(UsageError, match="prefix 1 is a NoneType; expected str"):
        translator.translate(["a"], prefixes=[None])
    with pytest.raises(UsageError, match=r"the prefix has .* subwords; expected at most 1024"):
        translator.translate(["a"], prefixes="ein hund " * 2000)


def test_prefixes_by_command(run, saved, translator):
    lines = ["a dog runs home\tzwei", "", "two birds", "\tim", "the cat\t"]
    status, out, err = run("translate", saved, "--prefix-column", stdin="\n".join(lines).encode())
    assert (status, err) == (0, "")
    texts, prefixes = [line.split("\t")[0] for line in lines], ["zwei", "", "", "im", ""]
    expected = translator.translate(texts, prefixes=prefixes)
    assert out.splitlines() == expected and expected[0].startswith("zwei")
    status, out, _ = run("translate", saved, "--prefix", "im", stdin="\n".join(texts).encode())
    assert out.splitlines() == translator.translate(texts, prefixes="im")
    status, _, err = run("translate", saved, "--prefix-column", stdin=b"a\tb\n\na\tb\tc\n")
    assert status == 2 and "line 3 has 3 columns; --prefix-column expects two" in err
    status, _, err = run("translate", saved, "--prefix", "Ω", stdin=b"a dog\n")
    assert status == 2 and "letters that the model's vocabulary lacks: 'Ω'" in err


def test_a_picture_of_a_prefix(run, saved, tmp_path):
    pytest.importorskip("matplotlib")
    arguments = ("--prefix-column", "--attention-plot", tmp_path / "a.svg")
    status, _, _ = run("translate", saved, *arguments, stdin="\na dog\tzwei vögel\n".encode())
    assert status == 0 and (tmp_path / "a.svg").exists()
