"""Texts that are not what they seem, in every reader: nothing is invented, lost or read as
something else in silence, and errors name file and line."""

from __future__ import annotations

import csv
import json

import pytest

from seq2seq.config import config_from_dict
from seq2seq.config.vocabulary import TokenizerConfig, VocabularyConfig
from seq2seq.errors import UsageError
from seq2seq.tasks.captioning.captions import load_captions
from seq2seq.tasks.generation.config import TextConfig
from seq2seq.tasks.generation.text import load_text
from seq2seq.tasks.translation.config import DataConfig
from seq2seq.tasks.translation.pairs import load_pairs
from seq2seq.tasks.translation.scores import score
from seq2seq.text.characters import is_blank
from seq2seq.text.files import read_lines
from seq2seq.text.sentencepiece import Tokenizer
from seq2seq.text.vocabulary import Subwords
from seq2seq.training.loop import train
from tests.seq2seq.saved.models import make

UNSEEN = [
    "\u200b",
    "\ufeff",
    "\u2060",
    "\u00ad",
    "\u200e",
    "\u200b \u200d\t",
    "\u3164",
    "\ufe0f",
    "\0",
]
MARKED = ["a\u2581b", "\u2581", "\u2581\u2581 c", "a \u2581 b"]


# --------------------------------------------------------------------- blank to the eye


@pytest.mark.parametrize("text", UNSEEN, ids=ascii)
def test_a_text_of_which_nothing_is_seen_is_blank(text):
    assert is_blank(text)
    assert not is_blank(text + "a") and not is_blank(f"é{text}")


def test_blank_lines_give_blank_translations():
    translator = make("translation")
    assert translator.translate([*UNSEEN, "a dog"])[: len(UNSEEN)] == [""] * len(UNSEEN)
    scattered = translator.source_tokenizer.encode("a\u200b dog")
    assert scattered != [] and translator.source_tokenizer.encode("\u200b\u2060") == []


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("side", ["en", "de"])
def test_a_set_of_blank_lines_is_refused_before_training(tmp_path, split, side):
    for name in ("en", "de"):
        (tmp_path / f"t.{name}").write_text("ab cd\nef gh\n" * 4)
        (tmp_path / f"v.{name}").write_text("\n\u200b\n  \n" if name == side else "a\nb\nc\n")
    values = {
        "output": str(tmp_path / "run"),
        "data": {"train": f"{tmp_path}/t.{{lang}}", split: f"{tmp_path}/v.{{lang}}",
                 "cache_dir": str(tmp_path / "cache")},
        "tokenizer": {"kind": "char", "vocab_size": 13, "byte_fallback": False},
        "training": {"device": "cpu"},
    }  # fmt: skip
    which = {"en": "source", "de": "target"}[side]
    with pytest.raises(UsageError, match=f"'data.{split}': every {which} text is blank"):
        train(config_from_dict(values), quiet=True)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_blank_references_are_no_zero():
    with pytest.raises(UsageError, match="every reference is blank"):
        score(["a", "b"], ["", "\u200b"], bootstrap=0)
    assert score(["a b c d", ""], ["a b c d", ""], metrics=["bleu"], bootstrap=0)["bleu"].value


# --------------------------------------------------------------------- SentencePiece's space


@pytest.mark.parametrize("kind", ["unigram", "bpe", "char"])
@pytest.mark.parametrize("text", MARKED)
def test_the_mark_of_a_space_is_a_character_of_a_text(kind, text):
    bytes_too = kind != "char"  # else U+2581 is learned as a character
    lines = ["a b c", "b c", "c a"] * 3 + ([] if bytes_too else MARKED)
    size = 264 if bytes_too else 9
    config = TokenizerConfig(kind=kind, vocab_size=size, byte_fallback=bytes_too)
    tokenizer = Tokenizer.train(lines, config)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode(tokenizer.encode("a b c")) == "a b c"


@pytest.mark.parametrize("text", MARKED)
def test_subwords_keep_it_too(text):
    units = Subwords.train(["a b c\n" * 4], VocabularyConfig(kind="subwords", vocab_size=263))
    decoder = units.decoder()
    written = "".join(decoder.add(int(unit)) for unit in units.encode(text))
    assert written + decoder.finish() == text


# --------------------------------------------------------------------- encodings


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    return path


READERS = {
    "lines": lambda path: read_lines(path),
    "pairs": lambda path: load_pairs(
        DataConfig(train=str(path), cache_dir=str(path.parent / "cache")), "train"
    ),
    "text": lambda path: load_text(TextConfig(train=str(path)), "train", False),
    "captions": lambda path: load_captions(path),
}
ENDINGS = {"lines": "txt", "pairs": "tsv", "text": "txt", "captions": "csv"}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
def test_another_encoding_is_named(tmp_path, reader, encoding):
    text = "en\tde\na dog runs\tein hünd rennt\n"
    path = write(tmp_path, f"x.{ENDINGS[reader]}", text.encode(encoding))
    with pytest.raises(UsageError) as error:
        READERS[reader](path)
    named = {"utf-16-le": "utf-16le", "utf-16-be": "utf-16be", "latin-1": "latin1"}
    expected = f"iconv -f {named.get(encoding, encoding)} -t utf-8"
    assert "x." in str(error.value)
    assert expected in str(error.value) or (reader == "text" and encoding == "latin-1")


def test_a_nul_here_and_there_is_still_text(tmp_path):
    assert read_lines(write(tmp_path, "x", b"a\0b c d e f g\n\0\0\n")) == ["a b c d e f g", "  "]


# --------------------------------------------------------------------- tables and JSON


def test_a_long_field_is_valid_csv(tmp_path):
    long = "word " * 40_000 + "end"
    with open(tmp_path / "x.csv", "w", newline="") as file:
        csv.writer(file).writerows([["en", "de"], [long, "kurz"]])
    assert READERS["pairs"](tmp_path / "x.csv")[0]["source"] == long
    (tmp_path / "a.jpg").write_bytes(b"x")
    with open(tmp_path / "metadata.csv", "w", newline="") as file:
        csv.writer(file).writerows([["file_name", "caption"], ["a.jpg", long]])
    assert load_captions(tmp_path)[0]["captions"] == [long]


@pytest.mark.parametrize("name", ["x.jsonl", "x.json"])
@pytest.mark.parametrize("nested", [False, True])
def test_half_a_character_names_file_and_row(tmp_path, name, nested):
    rows = [{"en": "a", "de": "b"}, {"en": "a \ud83d", "de": "b"}]
    rows = [{"translation": row} for row in rows] if nested else rows
    text = json.dumps(rows) if name == "x.json" else "\n".join(map(json.dumps, rows))
    place = "row 2" if name == "x.json" else "line 2"
    path = write(tmp_path, name, text.encode())
    with pytest.raises(UsageError, match=rf"{name}, {place}: 'en' holds '\\ud83d', half a char"):
        READERS["pairs"](path)
    whole = text.replace("\\ud83d", "\\ud83d\\ude00")
    assert READERS["pairs"](write(tmp_path, f"y{name}", whole.encode()))[1]["source"] == "a 😀"
