"""Unknown words, copied from the source by attention."""

from __future__ import annotations

import pytest
import torch

from seq2seq import Translator
from seq2seq.config.vocabulary import TokenizerConfig
from seq2seq.errors import UsageError
from seq2seq.tasks.translation.copying import with_copies
from seq2seq.tasks.translation.model import TranslationModel
from seq2seq.text.sentencepiece import Tokenizer
from tests.seq2seq.tasks.translation.models import ENGLISH, GERMAN, make_translator


@pytest.fixture(scope="module")
def tokenizer():
    return make_translator().target_tokenizer


def test_the_word_that_attention_points_to(tokenizer):
    source = "ein Ωμ, hund."
    pieces = tokenizer.pieces(tokenizer.encode(source))
    words = source.split(" ")
    ids = [*tokenizer.encode("die katze"), tokenizer.unk, *tokenizer.encode("heim")]
    space = tokenizer.encode("hund")
    assert tokenizer.unk not in space
    starts = [n for n, piece in enumerate(pieces) if piece.startswith("▁")]
    assert len(starts) == len(words)
    for word, start in enumerate(starts):
        attention = torch.zeros(len(ids), len(pieces))
        attention[ids.index(tokenizer.unk), start] = 1
        text = with_copies(ids, attention, tokenizer, pieces, words)
        # "<unk>" has no space before it here: it is the end of the word "katze"
        assert text == f"die {words[word].strip(',.')} heim"


def test_words_without_unknown_pieces_stay(tokenizer):
    text = "ein hund rennt heim"
    ids = tokenizer.encode(text)
    attention = torch.ones(len(ids), 1)
    assert with_copies(ids, attention, tokenizer, ["▁a"], ["a"]) == text


def test_punctuation_around_an_unknown_word_stays(tokenizer):
    inner = tokenizer.encode("Ω")
    assert tokenizer.unk in inner
    ids = [*inner, *tokenizer.encode("heim")]
    attention = torch.ones(len(ids), 1)
    assert with_copies(ids, attention, tokenizer, ["▁x"], ["(Omega)"]) == "Omega heim"
    assert with_copies(ids, attention, tokenizer, ["▁x"], ["--"]) == "-- heim"
    assert with_copies(ids, attention, tokenizer, ["▁x"], ["«हिन्दी»"]) == "हिन्दी heim"


def unknown_translator(attention="additive"):
    """One that writes nothing but unknown words."""
    translator = make_translator(attention=attention)
    with torch.no_grad():
        translator.model.projection.bias[translator.target_tokenizer.unk] += 20.0
    return translator


def test_by_python_and_command(run, tmp_path):
    translator = unknown_translator()
    texts = ["Ωmega", "a dog", ""]
    plain = translator.translate(texts)
    copied = translator.translate(texts, copy_unknown=True)
    assert plain == ["", "", ""]
    assert copied[0].replace(" ", "").replace("Ωmega", "") == "" and copied[0]
    assert set(copied[1].split()) <= {"a", "dog"} and copied[1]
    assert [translator.translate(text, copy_unknown=True) for text in texts] == copied
    found = translator.translate_nbest(texts, copy_unknown=True, n_best=1)
    assert found[0][0].attention is None
    translator.save_pretrained(tmp_path / "model")
    given = "\n".join(texts).encode() + b"\n"
    _, out, _ = run("translate", tmp_path / "model", "--copy-unknown", stdin=given)
    assert out.splitlines() == copied


def test_where_nothing_is_unknown_the_option_is_refused(run, tmp_path):
    config = TokenizerConfig(vocab_size=330, kind="bpe", byte_fallback=True)
    tokenizer = Tokenizer.train((ENGLISH + GERMAN) * 3, config)
    whole = make_translator()
    model = TranslationModel(whole.config.model, len(tokenizer), len(tokenizer))
    Translator(model, tokenizer, tokenizer, whole.config).save_pretrained(tmp_path / "model")
    status, _, err = run("translate", tmp_path / "model", "--copy-unknown", stdin=b"a dog\n")
    assert status == 2 and "--copy-unknown does nothing here" in err


def test_without_attention_there_is_nothing_to_copy_by():
    with pytest.raises(UsageError, match="copy_unknown needs attention, and this model has none"):
        unknown_translator("none").translate(["a dog"], copy_unknown=True)
