"""Training text as a stream: read, encoded and cut into windows block by block."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from seq2seq.errors import UsageError
from seq2seq.tasks.generation.config import LanguageConfig, TextConfig
from seq2seq.tasks.generation.reading import chunks
from seq2seq.tasks.generation.text import as_documents, encode_text, open_hub, paths_of
from seq2seq.tasks.generation.windows import Window, Windows
from seq2seq.text.vocabulary import Units
from seq2seq.training.log import say
from seq2seq.training.streams import Block, Row, Stream

_MOST = 1 << 24  # characters of a block
_BYTES = "latin-1"  # a character for each byte


class StreamedWindows:
    """What ``Windows`` gives, of a stream whose length nobody knows.

    ``data.shuffle_buffer`` lines (rows of a dataset) are a block. Its documents are shuffled; a
    text without documents stays in order. Each block is cut into streams of its own, which begin
    with an empty state; a document that goes on in the next block is two.
    """

    def __init__(self, config: LanguageConfig, rank: int, world: int) -> None:
        self._config, self._rank, self._world = config, rank, world
        rows = partial(_rows, config.data, config.units.kind == "bytes")
        self.stream = Stream(rows, config.data.shuffle_buffer, _size, _MOST)
        self._units: Units | None = None
        self.streams = config.data.batch_size

    def first_lines(self, count: int) -> Iterator[str]:
        """To learn a vocabulary from."""
        say(f"reading the first {count:,} lines of the stream")
        yield from (row["text"] for row in self.stream.first(count))

    def use(self, units: Units) -> None:
        self._units = units

    def len_epoch(self, epoch: int) -> None:
        return None

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Window]:
        """The windows of one epoch; ``number`` begins anew with each block."""
        return self.stream.batches(epoch, skip, self._block)

    def _block(self, rows: list[Row], number: int) -> Block | None:
        config, units = self._config, self._units
        assert units is not None  # ``use`` comes first
        whole = "".join(row["text"] for row in rows)
        content: str | bytes = whole
        if units.kind == "bytes":
            kind = "utf-8" if config.data.hub else _BYTES
            content = whole.encode(kind, "surrogatepass" if config.data.hub else "strict")
        if not content.strip():
            return None
        text = as_documents([content], config.data.documents, f"'data.train': {config.data.train}")
        if config.data.documents != "none":
            (documents,) = text.pieces
            order = np.random.default_rng([config.seed, number]).permutation(len(documents))
            text = dataclasses.replace(text, pieces=[[documents[n] for n in order]])
        backward = config.model.direction == "backward"
        corpus = encode_text(text, units, config.data.documents != "none", backward)
        if corpus.tokens < 2 * self._world:
            return None
        data, variable = config.data, config.training.variable_bptt
        windows = Windows(
            corpus, data.batch_size, data.bptt, config.seed, variable, self._rank, self._world
        )
        return windows.len_epoch(number), partial(windows.epoch, number)


def _rows(config: TextConfig, raw: bool) -> datasets.IterableDataset:
    """Rows with ``text``: lines, with their ends; or the rows of a dataset."""
    if config.train is None:
        raise UsageError(
            "'data.train' is not set; give it a text file (or, with 'data.hub', a split)"
        )
    if config.hub:
        dataset = open_hub(config, config.train, streaming=True)
        return dataset.map(
            _named, fn_kwargs={"column": config.column}, remove_columns=dataset.column_names
        )
    paths = tuple(map(str, paths_of(config.train, "train")))
    given = {"paths": paths, "raw": raw}
    return datasets.IterableDataset.from_generator(_lines, gen_kwargs=given)


def _lines(paths: tuple[str, ...], raw: bool) -> Iterator[dict[str, str]]:
    """Bytes as they are, ``raw``, in text of as many characters."""
    for path in paths:
        for chunk in chunks(Path(path), raw):
            chunk = chunk if isinstance(chunk, str) else chunk.decode(_BYTES)
            yield from ({"text": line + "\n"} for line in chunk.removesuffix("\n").split("\n"))


def _named(row: dict[str, Any], column: str) -> dict[str, str]:
    text = row[column] or ""
    return {"text": text if text.endswith("\n") else text + "\n"}


def _size(row: dict[str, Any]) -> int:
    return len(row["text"])
