"""``seq2seq tokenize``: every kind of vocabulary, there and back."""

from __future__ import annotations

import gzip
import unicodedata

import pytest

from seq2seq.cli import main

TEXT = ["ein hund rennt heim", "die Katze  schläft.", "", "zwei Vögel singen im Baum!", " x "] * 4
ODD = ["Ωmega ▁ tail", "a<0x41>b", "cafe\u0301 \u00a0 x", "猫が好き", "", "tab\there", "ein hund"]
KINDS = ["unigram", "bpe", "char", "subwords", "words", "characters", "bytes"]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "train.txt.gz"
    path.write_bytes(gzip.compress("\n".join(TEXT).encode()))
    return path


def trained(run, text, folder, kind, *more):
    name = "v.model" if kind in KINDS[:3] else "v"
    sizes = {"char": 300, "words": 300, "characters": 300, "bytes": 300}
    size = sizes.get(kind, 290)
    extra = ["--vocab-size", size, *more]
    status, out, err = run(
        "tokenize", "train", folder / name, "--kind", kind, "--input", text, *extra
    )
    assert status == 0, err
    assert f"pieces ({kind})" in out
    return folder / name


def same(kind, line):
    """What comes back."""
    if kind in KINDS[:3]:
        line = unicodedata.normalize("NFC", line)
        return " ".join(line.split())
    return " ".join(line.split()) if kind == "words" else line


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(run, text, tmp_path, kind):
    vocabulary = trained(run, text, tmp_path, kind)
    given = [*TEXT, *ODD]
    status, pieces, err = run("tokenize", "encode", vocabulary, stdin="\n".join(given).encode())
    assert (status, err) == (0, "")
    assert pieces.count("\n") == len(given)
    assert kind == "words" or max(len(line.split()) for line in pieces.splitlines()) > 4
    status, back, err = run("tokenize", "decode", vocabulary, stdin=pieces.encode())
    assert (status, err) == (0, "")
    assert back.split("\n")[:-1] == [same(kind, line) for line in given]

    _, ids, _ = run("tokenize", "encode", vocabulary, "--ids", stdin="\n".join(TEXT).encode())
    assert all(word.isdecimal() for word in ids.split())
    _, back, _ = run("tokenize", "decode", vocabulary, "--ids", stdin=ids.encode())
    assert back.split("\n")[:-1] == [same(kind, line) for line in TEXT]


def test_unknown_characters_without_bytes(run, text, tmp_path):
    vocabulary = trained(run, text, tmp_path, "char", "--no-byte-fallback")
    _, pieces, _ = run("tokenize", "encode", vocabulary, stdin="Ωhund 猫".encode())
    assert "Ω" in pieces and "猫" in pieces
    _, back, _ = run("tokenize", "decode", vocabulary, stdin=pieces.encode())
    assert back == "Ωhund 猫\n"


def test_files_and_a_saved_model(run, tmp_path, text):
    vocabulary = trained(run, text, tmp_path, "unigram")
    (tmp_path / "model").mkdir()
    for name in ("source.model", "target.model"):
        (tmp_path / "model" / name).write_bytes(vocabulary.read_bytes())
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("ein hund\nheim\n")
    two.write_text("die Katze")
    arguments = ("tokenize", "encode", tmp_path / "model", "--input", one, two)
    status, _, err = run(*arguments)
    assert status == 2 and "has two tokenizers; choose one: --side" in err
    status, out, _ = run(*arguments, "--side", "target", "--output", tmp_path / "out")
    assert (status, out) == (0, "")
    _, back, _ = run("tokenize", "decode", vocabulary, "--input", tmp_path / "out")
    assert back == "ein hund\nheim\ndie Katze\n"


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (["encode", "{v}", "--kind", "bpe"], b"", "tokenize encode: --kind goes with train"),
        (["train", "{v}", "--ids"], b"a", "--ids, --side and --output go with encode"),
        (["train", "{t}/x", "--kind", "bpe"], b"a", "name it {t}/x.model"),
        (["train", "{t}/x.model", "--kind", "words"], b"a", "words are written into a folder"),
        (["train", "{t}/x", "--kind", "words", "--no-byte-fallback"], b"a", "go with unigram"),
        (["train", "{t}/x.model", "--min-count", "2"], b"a", "--min-count goes with words"),
        (["train", "{t}/x.model"], b"\n\n", "no text to train on"),
        (
            ["train", "{t}/x.model", "--vocab-size", "900"],
            b"ein hund",
            "set --vocab-size 267",
        ),
        (["train", "{t}/x"], b"ein hund", "--vocab-size is 8000; the training text yields at most"),
        (["train", "{t}/x"], b"\n\n", "no text to train on"),
        (["train", "{t}/x", "--vocab-size", "9"], b"ein hund", "or --kind characters"),
        (["train", "{t}/x", "--vocab-size", "1"], b"ein hund", "bytes alone need 259"),
        (["train", "{t}/x.model", "--vocab-size", "1"], b"ein hund", "bytes alone need 260"),
        (["train", "{t}/x", "--min-count", "2"], b"a", "--kind words or characters, not subwords"),
        (["train", "{t}/x", "--kind", "bytes", "--vocab-size", "9"], b"", "with --kind bytes"),
        (["encode", "{v}", "--side", "source"], b"a", "--side goes with a saved model of two"),
        (["train", "{t}/x", "--kind", "words", "--min-count", "9"], b"a", "--min-count is 9: noth"),
        (["train", "{t}/x.model", "--input", "{t}/none"], b"", "{t}/none: no such file"),
        (["encode", "{t}"], b"a", "{t}: no vocabulary"),
        (["encode", "{t}/none"], b"a", "{t}/none: no vocabulary"),
        (["decode", "{v}", "--ids"], b"7\nx", "standard input, line 2: expected numbers"),
        (["decode", "{v}", "--ids"], b"1_0", "standard input, line 1: expected numbers"),
        (["train", "{t}/x", "--kind", "words"], b" \n", "the training text is blank"),
        (["decode", "{v}", "--ids"], b"70000", "line 1: id 70000; the vocabulary has the ids 0 to"),
        (["split", "{v}"], b"", "invalid choice: 'split'"),
    ],
)
def test_wrong_use(run, text, tmp_path, arguments, stdin, message):
    vocabulary = trained(run, text, tmp_path, "bpe")
    places = {"{v}": str(vocabulary), "{t}": str(tmp_path)}

    def filled(given):
        for mark, place in places.items():
            given = given.replace(mark, place)
        return given

    status, _, err = run("tokenize", *map(filled, arguments), stdin=stdin)
    assert status == 2 and filled(message) in err, err


def test_a_piece_that_is_none(run, text, tmp_path):
    vocabulary = trained(run, text, tmp_path, "bytes")
    status, _, err = run("tokenize", "decode", vocabulary, stdin=b"<0x41>\n<0x41> hund")
    assert status == 2 and "standard input, line 2: piece 'hund' is not in the vocabulary" in err


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--character-coverage", "0", "--character-coverage is 0.0; expected 0.98 to 1"),
        ("--character-coverage", "2", "--character-coverage is 2.0; expected 0.98 to 1"),
        ("--vocab-size", "999999999", "--vocab-size is 999999999; expected at most 10,000,000"),
    ],
)
def test_what_sentencepiece_does_not_take(tmp_path, capsys, option, value, expected):
    text = tmp_path / "text"
    text.write_text("a dog runs\n" * 20)
    arguments = ["tokenize", "train", str(tmp_path / "v.model"), "--input", str(text)]
    assert main([*arguments, option, value]) == 2
    assert expected in capsys.readouterr().err
