"""Training pairs as a stream: read, tokenised and batched block by block."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import datasets

from seq2seq.errors import UsageError
from seq2seq.tasks.translation.batches import Batch, TrainingBatches
from seq2seq.tasks.translation.config import TranslationConfig
from seq2seq.tasks.translation.corpus import tokenize_rows
from seq2seq.tasks.translation.pairs import stream_pairs
from seq2seq.text.sentencepiece import Tokenizer
from seq2seq.training.streams import Block, Row, Stream

_MOST = 1 << 26  # characters of a block


class StreamedBatches:
    """What ``TrainingBatches`` gives, of a stream whose length nobody knows.

    ``data.shuffle_buffer`` pairs are a block; the batches of a block are planned together.
    """

    def __init__(self, config: TranslationConfig) -> None:
        self._config = config
        self.stream = Stream(
            partial(stream_pairs, config.data), config.data.shuffle_buffer, _size, _MOST
        )
        self._tokenizers: tuple[Tokenizer, Tokenizer] | None = None
        self._any = False  # whether there was a batch

    def first_pairs(self, count: int) -> datasets.Dataset:
        """The first so many pairs, to learn subwords from."""
        rows = self.stream.first(count)
        if not rows:
            raise UsageError(f"'data.train': {self._config.data.train} has no sentence pairs")
        return datasets.Dataset.from_list(rows)

    def use(self, tokenizers: tuple[Tokenizer, Tokenizer]) -> None:
        self._tokenizers = tokenizers

    def len_epoch(self, epoch: int) -> None:
        return None

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """The batches of one epoch; the blocks of those left out are not read where a state of the
        stream was loaded."""
        for batch in self.stream.batches(epoch, skip, self._block):
            self._any = True
            yield batch
        if not (self._any or skip):
            raise UsageError(
                "no training pair is left of the stream; check 'data.train' and 'data.filter'"
            )

    def _block(self, rows: list[Row], number: int) -> Block | None:
        assert self._tokenizers is not None  # ``use`` comes first
        config = self._config
        corpus = tokenize_rows(rows, *self._tokenizers, config.data.filter)
        if not len(corpus):
            return None
        sampling = config.tokenizer.sampling
        batches = TrainingBatches(corpus, *self._tokenizers, config.data, sampling, config.seed)
        return batches.len_epoch(number), partial(batches.epoch, number)


def _size(row: dict[str, Any]) -> int:
    return len(row["source"]) + len(row["target"])
