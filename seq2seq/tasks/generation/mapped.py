"""A text larger than memory as a file of ids: encoded once, memory-mapped, read by windows.

The file lies in ``data.cache_dir``, by default in the cache folder of `datasets`; a text that has
changed (path, size or time), another vocabulary or other documents are another file. One that no
run uses any more can be deleted at any time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import mmap
import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from seq2seq.errors import RunError, UsageError
from seq2seq.processors import cores
from seq2seq.tasks.generation.reading import Event, Texts, cut, events
from seq2seq.tasks.generation.text import (
    Corpus,
    Text,
    characters_of,
    count_words,
    encode_text,
    unscored_characters,
)
from seq2seq.text.vocabulary import END, Units

_VERSION = 2  # of the files: another number makes those of older code void
_AT_ONCE = 1 << 21  # characters that a worker encodes at once


@dataclass(frozen=True)
class LargeText:
    """Files as documents, or a part of them; nothing of them is in memory."""

    paths: tuple[Path, ...]
    kind: str  # of documents; see TextConfig
    raw: bool
    name: str  # of the text, in errors
    cache: Path
    part: tuple[str, float, int] | None = None  # "train" or "validation", share, streams

    def documents(self) -> Iterator[Texts]:
        """Stretches of the text that end where lines or documents do."""
        yield from (text for _, (text, _) in self.stretches() if text)

    def stretches(self) -> Iterator[tuple[int, Event]]:
        """With the number of the piece that each is of."""
        return cut(events(self.paths, self.kind, self.raw), self._ranges())

    def _ranges(self) -> Sequence[tuple[int, float]]:
        total, documents = _size(self.paths, self.kind, self.raw, self.name)
        if self.part is None:
            return [(0, math.inf)]
        name, share, streams = self.part
        if streams == 1 and documents > 1:
            end = self._last_documents(total, documents, share)
            return [(0, end) if name == "train" else (end, total)]
        if documents > 1:
            raise UsageError(
                f"'data.validation_streams' is {streams}: that is for a text without documents; "
                "set 'data.documents: none' or 'data.validation_streams: 1'"
            )
        size, found = total // streams, []
        for n in range(streams):
            start, stop = n * size, (n + 1) * size if n + 1 < streams else total
            middle = start + int((stop - start) * (1 - share))
            found.append((start, middle) if name == "train" else (middle, stop))
        return found

    def _last_documents(self, total: int, documents: int, share: float) -> int:
        """Where the documents for validation begin, as ``text.split_text`` has it."""
        before = inside = number = last = 0
        for text, ends in events(self.paths, self.kind, self.raw):
            inside += len(text)
            if not (ends and inside):
                continue
            if number and (before + inside / 2 >= total * (1 - share) or number == documents - 1):
                return before
            number, last, before, inside = number + 1, before, before + inside, 0
        return last


def cache_folder(configured: str | None) -> Path:
    """Where files of ids lie."""
    if configured:
        return Path(configured)
    import datasets

    return Path(datasets.config.HF_DATASETS_CACHE) / "text"


def encoded(
    text: Text | LargeText, units: Units, documents: bool, backward: bool = False
) -> Corpus:
    """Ids of a text, whichever it is, ``backward`` from its end."""
    if not isinstance(text, LargeText):
        return encode_text(text, units, documents, backward)
    corpus = map_text(text, units, documents)
    return _backward(corpus, units) if backward else corpus


def _backward(corpus: Corpus, units: Units) -> Corpus:
    """The same file read from its end."""
    if len(corpus.pieces) > 1:
        raise UsageError(
            "a text larger than memory is read backward in one piece; set "
            "'data.validation_streams: 1'"
        )
    assert corpus.whole is not None
    whole, characters = corpus.whole[::-1], corpus.characters
    if not corpus.documents:
        first, last = (unscored_characters(int(corpus.whole[at]), units) for at in (0, -1))
        characters += first - last
    return dataclasses.replace(corpus, pieces=[whole], whole=whole, characters=characters)


def map_text(text: LargeText, units: Units, documents: bool) -> Corpus:
    """Ids of a text, as ``text.encode_text`` gives them, in a mapped file; RunError where it cannot
    be written."""
    target = text.cache / f"{_key(text, units, documents)}.ids"
    facts = target.with_suffix(".json")
    if not facts.is_file():
        # Written under other names, then renamed: what ``facts`` tells of is complete.
        aside, told = (
            target.with_suffix(f".{os.getpid()}.tmp"),
            facts.with_suffix(f".{os.getpid()}.writing"),
        )
        try:
            text.cache.mkdir(parents=True, exist_ok=True)
            values = _write(aside, text, units, documents)
            os.replace(aside, target)
            told.write_text(json.dumps(values), encoding="utf-8")
            os.replace(told, facts)
        except OSError as error:
            raise RunError(
                f"cache folder {text.cache}: {error.strerror or error}; set 'data.cache_dir' to a "
                "folder with room for two to four times the text"
            ) from None
        finally:
            aside.unlink(missing_ok=True)
    return _open(target, json.loads(facts.read_text(encoding="utf-8")), documents)


def _key(text: LargeText, units: Units, documents: bool) -> str:
    values: list[Any] = [_VERSION, text.kind, text.raw, text.part, documents]
    for path in text.paths:
        stat = path.stat()
        values.append((str(path.resolve()), stat.st_size, stat.st_mtime_ns))
    digest = hashlib.sha256(json.dumps(values).encode())
    for name, content in sorted(units.files().items()):
        digest.update(name.encode() + content)
    return digest.hexdigest()[:32]


def _write(path: Path, text: LargeText, units: Units, documents: bool) -> dict[str, Any]:
    kind = _smallest(units)
    sizes: list[int] = []
    characters = words = 0
    with open(path, "wb") as stream:
        for number, ids, found, spaced in _encoded(text, units, documents):
            if number == len(sizes):
                sizes.append(0)
                if documents:
                    ids = np.concatenate([np.array([END], kind), ids])
                else:
                    characters -= unscored_characters(int(ids[0]), units)
                    words -= units.kind == "words"
            stream.write(ids.data)
            sizes[-1] += len(ids)
            characters, words = characters + found, words + spaced
        stream.flush()
        os.fsync(stream.fileno())
    counted = {"characters": characters, "words": words}
    return {"dtype": np.dtype(kind).name, "pieces": sizes, **counted}


def _smallest(units: Units) -> type[np.integer]:
    """The type that holds every id."""
    return np.uint8 if len(units) <= 256 else np.uint16 if len(units) <= 65536 else np.int32


def _open(path: Path, values: dict[str, Any], documents: bool) -> Corpus:
    with open(path, "rb") as stream:
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    whole = np.frombuffer(mapped, values["dtype"])
    if len(whole) != sum(values["pieces"]):
        raise RunError(f"{path}: not the ids that were written; delete it, and it is made again")
    pieces = np.split(whole, np.cumsum(values["pieces"])[:-1])
    return Corpus(pieces, documents, values["characters"], values["words"], whole, mapped)


Batch = tuple[int, list[Event]]  # stretches of one piece
Encoded = tuple[int, np.ndarray, int, int]  # piece, ids, characters, words


def _encoded(text: LargeText, units: Units, documents: bool) -> Iterator[Encoded]:
    """By all processors, in order; never more than a few batches are in memory."""
    batches = _batches(text.stretches())
    workers = cores()
    if workers == 1 or "fork" not in multiprocessing.get_all_start_methods():
        yield from (_encode(units, documents, batch) for batch in batches)
        return
    waiting: deque[Future[Encoded]] = deque()
    with ProcessPoolExecutor(workers, multiprocessing.get_context("fork")) as pool:
        for batch in batches:
            waiting.append(pool.submit(_encode, units, documents, batch))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _batches(stretches: Iterable[tuple[int, Event]]) -> Iterator[Batch]:
    piece, found, size = 0, list[Event](), 0
    for number, event in stretches:
        if found and (number != piece or size >= _AT_ONCE):
            yield piece, found
            found, size = [], 0
        piece, size = number, size + len(event[0])
        found.append(event)
    if found:
        yield piece, found


def _encode(units: Units, documents: bool, batch: Batch) -> Encoded:
    piece, stretches = batch
    end, ids, ended = np.array([END], np.int32), [], 0
    for text, ends in stretches:
        if text:
            ids.append(units.encode(text))
        if ends and documents:
            ids.append(end)
            ended += 1
    texts = [text for text, _ in stretches]
    joined = np.concatenate(ids) if ids else np.zeros(0, np.int32)
    # small: it goes from one process to another
    return (
        piece,
        joined.astype(_smallest(units)),
        sum(map(characters_of, texts)) + ended,
        sum(map(count_words, texts)) + ended,
    )


@lru_cache
def _size(paths: tuple[Path, ...], kind: str, raw: bool, name: str) -> tuple[int, int]:
    """Characters (or bytes) of all documents, and how many documents there are."""
    total = documents = inside = 0
    blank = True
    for text, ends in events(paths, kind, raw):
        blank = blank and not text.strip()
        total, inside = total + len(text), inside + len(text)
        if ends and inside:
            documents, inside = documents + 1, 0
    if blank:
        raise UsageError(f"{name} holds no text")
    return total, documents


def split_large(text: LargeText, share: float, streams: int) -> tuple[LargeText, LargeText]:
    """(training, validation), cut where ``text.split_text`` cuts."""
    train, validation = (
        dataclasses.replace(text, part=(name, share, streams)) for name in ("train", "validation")
    )
    return train, validation
