"""Pretrained word vectors from a file: GloVe's text, word2vec's text and binary, fastText's .vec,
NPZ; all but the last also gzipped. The format is told by the content, not by the name.

    GloVe text            word n n n ...                one a line; a word may hold spaces
    word2vec text, .vec   "COUNT SIZE", then as GloVe
    word2vec binary       "COUNT SIZE", then word, space, SIZE little-endian float32
    NPZ                   ``words`` (a list, or one text with a word a line), ``vectors`` (N, SIZE)
"""

from __future__ import annotations

import codecs
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from seq2seq.array_files import check_dimensions, load_npz
from seq2seq.errors import UsageError
from seq2seq.text.files import open_binary

_LONGEST_WORD = 1 << 16  # bytes; a file that is something else must not be read as one word


@dataclass(frozen=True)
class WordVectors:
    """Words and their vectors (N, E) float32, in the order of the file: most frequent first."""

    words: list[str]
    vectors: np.ndarray

    @property
    def size(self) -> int:
        return int(self.vectors.shape[1])


@dataclass(frozen=True)
class Table:
    """The vectors of a vocabulary: (V, E) float32, zero where ``found`` (V,) is False."""

    vectors: np.ndarray
    found: np.ndarray

    def __str__(self) -> str:
        count, whole = int(self.found.sum()), len(self.found)
        return f"{count:,} of {whole:,} words have a vector ({100 * count / max(1, whole):.1f}%)"


def read_vectors(
    path: str | Path, size: int | None = None, wanted: Callable[[str], bool] | None = None
) -> WordVectors:
    """Read a file of vectors; ``wanted`` says which words to keep (all by default). Of a word that
    stands twice the first vector counts.

    Raises UsageError for a missing, damaged or empty file, for one that ends before it has as many
    words as its first line tells, for vectors of unequal sizes, numbers that are not finite, and
    for another size than ``size``, each with the line or word.
    """
    keep = _Once(wanted)
    name = str(path)
    if _is_zip(path):
        found = _read_npz(path, keep)
    else:
        with open_binary(path) as stream:
            found = _read_stream(stream, name, keep)  # type: ignore[arg-type]
    if size is not None and found.size != size:
        raise UsageError(
            f"{name}: its vectors have {found.size} numbers, the embedding has {size}; set "
            f"'model.embedding_size: {found.size}', or take a file of {size}"
        )
    return found


def table_of(vectors: WordVectors, words: Sequence[str]) -> Table:
    """The vector of each word: of the word as it is, else of its lower case."""
    rows = {word: row for row, word in enumerate(vectors.words)}
    index = np.array([rows.get(w, rows.get(w.lower(), -1)) for w in words], np.int64)  # (V,)
    table = np.zeros((len(words), vectors.size), np.float32)
    found = index >= 0
    table[found] = vectors.vectors[index[found]]
    return Table(table, found)


class _Once:
    """Whether a word is wanted and has not been kept before."""

    def __init__(self, wanted: Callable[[str], bool] | None) -> None:
        self._wanted, self._seen = wanted, set[str]()

    def __call__(self, word: str) -> bool:
        if word in self._seen or (self._wanted is not None and not self._wanted(word)):
            return False
        self._seen.add(word)
        return True


def _is_zip(path: str | Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except OSError:
        return False  # opening it will say what is wrong


def _read_npz(path: str | Path, keep: _Once) -> WordVectors:
    arrays = load_npz(path)
    if not {"words", "vectors"} <= arrays.keys():
        raise UsageError(
            f"{path}: holds {', '.join(arrays) or 'nothing'}; expected arrays 'words' and 'vectors'"
        )
    words, vectors = arrays["words"], arrays["vectors"]
    check_dimensions(path, arrays, {"words": (0, 1)})
    if vectors.dtype.kind not in "fiu":
        raise UsageError(f"{path}: 'vectors' holds {vectors.dtype}; expected numbers")
    listed = str(words).split("\n") if words.ndim == 0 else [str(word) for word in words]
    if listed and words.ndim == 0 and not listed[-1]:
        listed.pop()
    if vectors.ndim != 2 or len(vectors) != len(listed):
        raise UsageError(
            f"{path}: {len(listed)} words and vectors of shape {vectors.shape}; expected "
            f"({len(listed)}, SIZE)"
        )
    rows = [row for row, word in enumerate(listed) if keep(word)]
    with np.errstate(over="ignore"):  # told below
        chosen = np.asarray(vectors[rows], np.float32)
    bad = np.flatnonzero(~np.isfinite(chosen).all(1))
    if len(bad):
        raise UsageError(f"{path}: the vector of {listed[rows[bad[0]]]!r} is not finite")
    return _checked([listed[row] for row in rows], chosen, str(path))


def _read_stream(stream: IO[bytes], name: str, keep: _Once) -> WordVectors:
    first = _without_mark(stream.readline(_LONGEST_WORD))
    head = first.split()
    if len(head) == 2 and all(part.isdigit() for part in head):
        count, size = int(head[0]), int(head[1])
        if not 0 < size <= 1 << 16:
            raise UsageError(f"{name}, line 1: vectors of {size} numbers; expected 1 to 65536")
        second = stream.readline(_LONGEST_WORD)
        if _parse(second, size) is None:
            return _read_binary(stream, second, count, size, name, keep)
        return _read_text(stream, second, size, 2, name, keep, count)
    size = len(head) - 1
    if size < 1 or _parse(first, size) is None:
        raise UsageError(
            f"{name}, line 1: no word vector: {first[:60].decode('utf-8', 'replace')!r}; expected "
            "a word and numbers, or 'COUNT SIZE' (GloVe, word2vec, fastText .vec, NPZ)"
        )
    return _read_text(stream, first, size, 1, name, keep)


def _without_mark(first: bytes) -> bytes:
    """The first line of a file without the mark of UTF-8 that editors write before it; where the
    mark stands alone it is a word."""
    rest = first.removeprefix(codecs.BOM_UTF8)
    return first if rest[:1].isspace() else rest


def _parse(line: bytes, size: int) -> tuple[str, np.ndarray] | None:
    """The word and the numbers of a line; None where it is no such line. Numbers are taken from
    the end, because some words of GloVe hold spaces."""
    parts = line.rstrip().rsplit(b" ", size) if b"\t" not in line else line.split()
    if len(parts) != size + 1:
        return None
    try:
        numbers = np.array(parts[1:], dtype=np.float32)
        return parts[0].decode("utf-8"), numbers
    except (ValueError, UnicodeDecodeError):
        return None


def _read_text(
    stream: IO[bytes],
    line: bytes,
    size: int,
    number: int,
    name: str,
    keep: _Once,
    count: int | None = None,
) -> WordVectors:
    """A word and its vector a line, from ``line``, the line ``number``, on; ``count``: how many
    there are, where a first line tells it."""
    words: list[str] = []
    rows: list[np.ndarray] = []
    read = 0
    while line:
        if line.strip():
            found = _parse(line, size)
            if found is None or not np.isfinite(found[1]).all():
                what = line[:40].decode("utf-8", "replace")
                raise UsageError(
                    f"{name}, line {number}: {what!r}...: expected a word and {size} finite numbers"
                )
            read += 1
            if keep(found[0]):
                words.append(found[0])
                rows.append(found[1])
        line, number = stream.readline(), number + 1
    if count is not None and read < count:
        raise UsageError(
            f"{name}: ends after {read:,} words, and line 1 tells of {count:,}; copy it again, or "
            "correct line 1"
        )
    vectors = np.stack(rows) if rows else np.zeros((0, size), np.float32)
    return _checked(words, vectors, name)


def _read_binary(
    stream: IO[bytes], begun: bytes, count: int, size: int, name: str, keep: _Once
) -> WordVectors:
    """word2vec's binary form; ``begun`` is what was read of it already."""
    words: list[str] = []
    rows: list[np.ndarray] = []
    buffer = _Buffer(stream, begun)
    for number in range(1, count + 1):
        word = buffer.until(b" ")
        raw = buffer.take(4 * size)
        if word is None or len(raw) < 4 * size:
            raise UsageError(
                f"{name}: breaks off in word {number} of {count:,}; expected {size} float32 after "
                "each word; copy it again"
            )
        vector = np.frombuffer(raw, "<f4")
        text = word.lstrip(b"\n").decode("utf-8", "replace")
        if not np.isfinite(vector).all():
            raise UsageError(f"{name}: the vector of word {number}, {text!r}, is not finite")
        if keep(text):
            words.append(text)
            rows.append(vector.astype(np.float32))
    vectors = np.stack(rows) if rows else np.zeros((0, size), np.float32)
    return _checked(words, vectors, name)


class _Buffer:
    """Bytes of a stream after those read already."""

    def __init__(self, stream: IO[bytes], begun: bytes) -> None:
        self._stream, self._held, self._at = stream, begun, 0

    def _fill(self) -> bool:
        more = self._stream.read(1 << 20)
        self._held, self._at = self._held[self._at :] + more, 0
        return bool(more)

    def until(self, mark: bytes) -> bytes | None:
        while (end := self._held.find(mark, self._at)) < 0:
            if len(self._held) - self._at > _LONGEST_WORD or not self._fill():
                return None
        found = self._held[self._at : end]
        self._at = end + 1
        return found

    def take(self, count: int) -> bytes:
        while len(self._held) - self._at < count and self._fill():
            pass
        found = self._held[self._at : self._at + count]
        self._at += len(found)
        return found


def _checked(words: list[str], vectors: Any, name: str) -> WordVectors:
    if not words:
        raise UsageError(f"{name}: holds no vector of any word that is needed; is it the language?")
    return WordVectors(words, np.ascontiguousarray(vectors, np.float32))
