"""Files of word vectors: every format gives the same vectors, and wrong files say where."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from seq2seq import UsageError
from seq2seq.config import VocabularyConfig
from seq2seq.text.vectors import read_vectors, table_of
from seq2seq.text.vocabulary import Words

WORDS = ["the", "cat", "né", "10"]
VECTORS = np.array([[1, -2.5], [0.25, 3], [-1e-3, 0], [7, 8]], np.float32)


def lines() -> str:
    rows = zip(WORDS, VECTORS.tolist(), strict=True)
    return "".join(f"{word} {a} {b}\n" for word, (a, b) in rows)


def binary(newlines: bool) -> bytes:
    end = b"\n" if newlines else b""
    rows = (w.encode() + b" " + v.tobytes() + end for w, v in zip(WORDS, VECTORS, strict=True))
    return b"4 2\n" + b"".join(rows)


def write_npz(path, words):
    np.savez(path, words=words, vectors=VECTORS.astype(np.float16))


FORMS = {
    "glove.txt": lambda path: path.write_text(lines()),
    "word2vec.txt": lambda path: path.write_text("4 2\n" + lines()),
    "cc.en.vec": lambda path: path.write_text("4 2\n" + lines().replace("\n", " \n")),
    "marked.txt": lambda path: path.write_text(lines(), encoding="utf-8-sig"),
    "marked.vec": lambda path: path.write_text("4 2\n" + lines(), encoding="utf-8-sig"),
    "w.bin": lambda path: path.write_bytes(binary(False)),
    "lines.bin": lambda path: path.write_bytes(binary(True)),
    "glove.txt.gz": lambda path: path.write_bytes(gzip.compress(lines().encode())),
    "w.bin.gz": lambda path: path.write_bytes(gzip.compress(binary(True))),
    "list.npz": lambda path: write_npz(path, np.array(WORDS)),
    "text.npz": lambda path: write_npz(path, np.array("\n".join(WORDS))),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_format_gives_the_same_vectors(tmp_path, name):
    path = tmp_path / name
    FORMS[name](path)
    found = read_vectors(path)
    assert found.words == WORDS and found.size == 2
    np.testing.assert_allclose(found.vectors, VECTORS, rtol=1e-3)
    assert found.vectors.dtype == np.float32
    some = read_vectors(path, size=2, wanted={"cat", "10", "dog"}.__contains__)
    assert some.words == ["cat", "10"]
    np.testing.assert_array_equal(some.vectors, found.vectors[[1, 3]])


def test_words_with_spaces_and_words_that_stand_twice(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text("cat 1 2\nat name@domain.com 3 4\ncat 5 6\n")
    found = read_vectors(path)
    assert found.words == ["cat", "at name@domain.com"]
    assert found.vectors.tolist() == [[1, 2], [3, 4]]


def test_a_mark_that_is_a_word(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text("\ufeff 1 2\ncat 3 4\n", encoding="utf-8")
    assert read_vectors(path).words == ["\ufeff", "cat"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"the 1 2\ncat 1\n", "line 2.*expected a word and 2 finite numbers"),
        (b"the 1 2\ncat 1 nan\n", "line 2.*finite"),
        (b"hello there\n", "line 1: no word vector"),
        (b"", "line 1: no word vector"),
        (binary(False)[:-3], "breaks off in word 4 of 4"),
        (
            b"70 2\nthe 1 2\n\ncat 1 2\n",
            "ends after 2 words, and line 1 tells of 70;",
        ),
        (b"2 0\n", "line 1: vectors of 0 numbers"),
        (b"the 1 2\n", "its vectors have 2 numbers, the embedding has 3.*embedding_size: 2"),
    ],
)
def test_wrong_files_say_where(tmp_path, content, message):
    path = tmp_path / "vectors"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_vectors(path, size=3 if "embedding_size" in message else None)


def test_wrong_npz_files(tmp_path):
    path = tmp_path / "v.npz"
    np.savez(path, table=VECTORS)
    with pytest.raises(UsageError, match="holds table; expected arrays 'words' and 'vectors'"):
        read_vectors(path)
    np.savez(path, words=np.array(WORDS[:3]), vectors=VECTORS)
    with pytest.raises(UsageError, match="3 words and vectors of shape"):
        read_vectors(path)
    np.savez(path, words=np.array(WORDS, dtype=object), vectors=VECTORS)
    with pytest.raises(UsageError, match="cannot be read as NPZ"):  # it would have to be unpickled
        read_vectors(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_vectors(tmp_path / "none.txt")


def test_a_table_for_a_vocabulary(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text(lines())
    vectors = read_vectors(path)
    table = table_of(vectors, ["<unk>", "Cat", "the"])
    assert table.found.tolist() == [False, True, True]
    assert table.vectors.tolist() == [[0, 0], [0.25, 3], [1, -2.5]]
    assert str(table) == "2 of 3 words have a vector (66.7%)"


def test_a_vocabulary_is_extended_by_words_without_text():
    units = Words.train(["the dog\nthe"], VocabularyConfig())
    more = units.extended(["cat", "the", "two words", "", "cat", "né"])
    assert more.words == [*units.words, "cat", "né"]
    np.testing.assert_array_equal(more.encode("the dog"), units.encode("the dog"))
    assert more.unknown("the cat né x") == ["x"]
