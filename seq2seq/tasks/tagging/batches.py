"""Batches of sentences, in an order that any step can be resumed from.

Everything random follows from (seed, epoch, batch number): which sentences are together, which
spans are replaced, and which words are read as unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seq2seq.tasks.tagging.config import TaggingConfig
from seq2seq.tasks.tagging.replacing import SpanReplacer
from seq2seq.tasks.tagging.schemes import convert
from seq2seq.tasks.tagging.sentences import Sentence
from seq2seq.tasks.tagging.vocabulary import (
    UNKNOWN,
    TaggingVocabulary,
    word_counts,
)

IGNORE = -100  # labels that the loss leaves out: padding, and labels that training never saw


class Words(NamedTuple):
    """B sentences of at most T words, of which U are distinct; C characters in the longest; F
    features beside each word."""

    ids: Tensor  # (U,)
    shapes: Tensor  # (U,)
    characters: Tensor  # (U, C)
    character_lengths: Tensor  # (U,)
    places: Tensor  # (B, T) rows of the above, 0 past a length
    lengths: Tensor  # (B,)
    features: Tensor  # (B, T, F), 0 past a length

    def to(self, device: torch.device) -> Words:
        return Words(*(part.to(device) for part in self))


@dataclass(frozen=True)
class TaggingBatch:
    words: Words
    labels: tuple[Tensor, ...]  # of each column: (B, T), IGNORE past a length
    sentence_labels: Tensor | None  # (B,)
    target_count: int  # words

    def to(self, device: torch.device) -> TaggingBatch:
        whole = None if self.sentence_labels is None else self.sentence_labels.to(device)
        labels = tuple(column.to(device) for column in self.labels)
        return TaggingBatch(self.words.to(device), labels, whole, self.target_count)


Features = Sequence[Sequence[str]]  # of one sentence: the values of each feature


def encode_words(
    sentences: Sequence[Sequence[str]],
    vocabulary: TaggingVocabulary,
    features: Sequence[Features] = (),
) -> Words:
    """Sentences of at least one word each, as the model reads them; ``features`` of each sentence,
    where the vocabulary has some."""
    rows: dict[str, int] = {}
    longest = max(map(len, sentences))
    places = np.zeros((len(sentences), longest), np.int64)
    for number, sentence in enumerate(sentences):
        places[number, : len(sentence)] = [rows.setdefault(w, len(rows)) for w in sentence]
    ids, shapes, spelled = zip(*map(vocabulary.parts, rows), strict=True)
    lengths = np.array([len(letters) for letters in spelled], np.int64)
    characters = np.zeros((len(rows), int(lengths.max())), np.int64)
    for row, letters in enumerate(spelled):
        characters[row, : len(letters)] = letters
    return Words(
        torch.tensor(ids),
        torch.tensor(shapes),
        torch.from_numpy(characters),
        torch.from_numpy(lengths),
        torch.from_numpy(places),
        torch.tensor([len(sentence) for sentence in sentences]),
        torch.from_numpy(_feature_ids(features, vocabulary, places.shape)),
    )


def _feature_ids(
    features: Sequence[Features], vocabulary: TaggingVocabulary, shape: tuple[int, ...]
) -> np.ndarray:
    """(B, T, F) for sentences of the ``shape`` (B, T)"""
    ids = np.zeros((*shape, len(vocabulary.features)), np.int64)
    if vocabulary.features:
        for row, columns in enumerate(features):
            for number, values in enumerate(columns):
                ids[row, : len(values), number] = vocabulary.feature_ids(number, values)
    return ids


def by_length(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Batches of at most ``size`` sentences whose ``lengths`` ascend, as their places: sentences of
    one length, but for batches that would hold less than a quarter of ``size``. See
    ``model._unequal`` for what that is good for."""
    batches: list[list[int]] = [[]]
    for place, length in enumerate(lengths):
        last = batches[-1]
        full = len(last) == size or (4 * len(last) >= size and lengths[last[-1]] != length)
        if full:
            batches.append([])
        batches[-1].append(place)
    return batches if batches[0] else []


class LabelIds:
    """Labels as ids: of each column, and of whole sentences."""

    def __init__(self, vocabulary: TaggingVocabulary, scheme: str) -> None:
        self._columns, self._scheme = vocabulary.columns, scheme
        self._ids = [{x: n for n, x in enumerate(c.labels)} for c in vocabulary.columns]
        whole = vocabulary.sentence_labels
        self._whole = None if whole is None else {label: n for n, label in enumerate(whole)}

    def columns(self, sentences: Sequence[Sentence]) -> tuple[Tensor, ...]:
        """(B, T) for each column"""
        longest = max(len(one.words) for one in sentences)
        found = []
        for number, column in enumerate(self._columns):
            ids = np.full((len(sentences), longest), IGNORE, np.int64)
            for row, one in enumerate(sentences):
                labels = one.labels[number]
                if column.spans:
                    labels = convert(labels, "bio" if self._scheme == "bio" else "bioes")
                known = self._ids[number]
                ids[row, : len(labels)] = [known.get(label, IGNORE) for label in labels]
            found.append(torch.from_numpy(ids))
        return tuple(found)

    def whole(self, sentences: Sequence[Sentence]) -> Tensor | None:
        """(B,)"""
        if self._whole is None:
            return None
        return torch.tensor([self._whole.get(str(s.sentence_label), IGNORE) for s in sentences])

    def batch(self, sentences: Sequence[Sentence], words: Words) -> TaggingBatch:
        count = int(words.lengths.sum())
        return TaggingBatch(words, self.columns(sentences), self.whole(sentences), count)


class TaggingBatches:
    """The batches of each epoch, for all processes together.

    Sentences of one length are together (``by_length``); which, and the order of batches, differs
    from epoch to epoch.
    """

    def __init__(
        self,
        sentences: Sequence[Sentence],
        vocabulary: TaggingVocabulary,
        config: TaggingConfig,
        with_vectors: set[str],
    ) -> None:
        """``with_vectors``: words that have a vector in a file."""
        self._sentences, self._vocabulary, self._config = sentences, vocabulary, config
        self._size, self._seed = config.data.batch_size, config.seed
        self._lengths = np.array([len(one.words) for one in sentences])
        self._cuts = by_length(sorted(self._lengths.tolist()), self._size)
        self._labels = LabelIds(vocabulary, config.model.scheme)
        share = config.data.replaced_spans
        self._replace = SpanReplacer(sentences, vocabulary.columns, share) if share else None
        counts = word_counts(sentences, config.model.lowercase, with_vectors)
        rare = [w for w, n in counts.items() if n == 1 and w not in with_vectors]
        self._rare = np.array(sorted({vocabulary.word_id(word) for word in rare}), np.int64)

    def len_epoch(self, epoch: int) -> int:
        """Number of batches in an epoch."""
        return len(self._cuts)

    def epoch(self, epoch: int, skip: int = 0, every: int = 1) -> Iterator[TaggingBatch]:
        """Batches ``skip``, ``skip + every``, ... of one epoch; the others cost nothing."""
        order = self._order(epoch)
        for number in range(skip, len(order), every):
            yield self._batch(order[number], epoch, number)

    def _order(self, epoch: int) -> list[np.ndarray]:
        """The sentences of each batch."""
        random = np.random.default_rng([self._seed, epoch])
        order = random.permutation(len(self._sentences))
        order = order[np.argsort(self._lengths[order], kind="stable")]
        return [order[self._cuts[number]] for number in random.permutation(len(self._cuts))]

    def _batch(self, index: np.ndarray, epoch: int, number: int) -> TaggingBatch:
        sentences = [self._sentences[i] for i in index]
        if self._replace is not None:
            others = np.random.default_rng([self._seed, epoch, number, 1])
            sentences = [self._replace(one, others) for one in sentences]
        words = encode_words(
            [one.words for one in sentences],
            self._vocabulary,
            [one.features for one in sentences],
        )
        random = np.random.default_rng([self._seed, epoch, number])
        words = words._replace(ids=self._hide(words.ids, random))
        words = words._replace(features=self._hide_features(words.features, random))
        return self._labels.batch(sentences, words)

    def _hide(self, ids: Tensor, random: np.random.Generator) -> Tensor:
        """Some of the distinct words as unknown (U,)"""
        model = self._config.model
        rate = np.where(np.isin(ids.numpy(), self._rare), model.singletons, 0.0)
        rate = np.maximum(rate, model.word_dropout)
        hidden = torch.from_numpy(random.random(len(ids)) < rate)
        return ids.masked_fill(hidden, UNKNOWN)

    def _hide_features(self, features: Tensor, random: np.random.Generator) -> Tensor:
        """Some values as unknown (B, T, F)"""
        rate = self._config.model.feature_dropout
        if not features.numel() or rate == 0:
            return features
        hidden = torch.from_numpy(random.random(tuple(features.shape)) < rate)
        return features.masked_fill(hidden, UNKNOWN)
