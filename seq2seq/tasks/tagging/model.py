"""The tagging model: words and their characters, a recurrent encoder, heads that label.

Words are vectors of their own, of their characters, of their shape and of the features given beside
them (parts of speech, say), side by side. A bidirectional LSTM reads them (Huang et al. 2015); each
label column has a linear layer and, for spans, a conditional random field (Lample et al. 2016; Ma &
Hovy 2016). A label of the whole sentence is predicted from the encoder's pooled outputs by the same
model (Liu & Lane 2016).

Letters for sizes: B sentences, T words, U distinct words, E the vector of a word, D the encoder's
outputs, K labels.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from seq2seq.layers.character_words import CharacterWords
from seq2seq.layers.crf import LinearChain
from seq2seq.layers.dropout import drop_steps
from seq2seq.layers.embedding import WordEmbedding
from seq2seq.layers.encoder import Encoder
from seq2seq.layers.module_list import ModuleList
from seq2seq.layers.pooling import Pooling
from seq2seq.tasks.tagging.batches import Words
from seq2seq.tasks.tagging.config import TaggingModelConfig
from seq2seq.tasks.tagging.schemes import constraints_of
from seq2seq.tasks.tagging.vocabulary import SHAPES, Column, TaggingVocabulary


class Emissions(NamedTuple):
    """The scores of labels: of each column (B, T, K), and of whole sentences (B, K)."""

    columns: tuple[Tensor, ...]
    sentence: Tensor | None


class Field(Protocol):
    """A label column as loss and labelling see it: is its field learned, are its labels spans?"""

    learned: bool
    spans: bool
    chain: LinearChain

    def decode(self, emissions: Tensor, lengths: Tensor) -> Tensor: ...


class Head(nn.Module):
    """Labels of one column: emissions (B, T, K), and the field over them.

    ``learned``: the transitions are. Without, the labels of words are independent of each other;
    those of spans still keep to their scheme when sentences are labelled.
    """

    def __init__(self, column: Column, size: int, learned: bool) -> None:
        super().__init__()
        self.learned, self.spans = learned, column.spans
        self.linear = nn.Linear(size, len(column.labels))
        constraints = constraints_of(column.labels) if column.spans else None
        self.chain = LinearChain(len(column.labels), constraints, learned)

    def forward(self, outputs: Tensor) -> Tensor:
        emissions: Tensor = self.linear(outputs)
        return emissions

    def decode(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """The best labels (B, T), 0 past a length."""
        return decode(self, emissions, lengths)


class TaggingModel(nn.Module):
    """Words in, scores of labels out."""

    def __init__(self, config: TaggingModelConfig, vocabulary: TaggingVocabulary) -> None:
        super().__init__()
        self.dropout, self.variational = config.dropout, config.dropout_kind == "variational"
        kept = len(vocabulary.words) - vocabulary.trained
        trained = vocabulary.trained + 1  # and what is unknown
        self.embedding = WordEmbedding(trained, config.embedding_size, kept, config.frozen)
        size = config.embedding_size
        self.characters: CharacterWords | None = None
        if config.characters.kind != "none":
            letters = len(vocabulary.characters) + 1
            self.characters = CharacterWords(config.characters, letters, config.character_dropout)
            size += self.characters.size
        self.shapes: nn.Embedding | None = None
        if config.shape_size:
            self.shapes = _small(len(SHAPES), config.shape_size)
            size += config.shape_size
        self.features = ModuleList(
            _small(len(feature.values) + 1, config.feature_size) for feature in vocabulary.features
        )
        size += config.feature_size * len(self.features)
        self.encoder = Encoder(config.encoder, size, config.dropout, self.variational)
        self.heads = ModuleList(
            Head(
                column,
                self.encoder.size,
                config.crf == "all" or (config.crf == "spans" and column.spans),
            )
            for column in vocabulary.columns
        )
        self.pooling: Pooling | None = None
        self.sentence: nn.Linear | None = None
        if vocabulary.sentence_labels is not None:
            self.pooling = Pooling(config.pooling, self.encoder.size)
            self.sentence = nn.Linear(self.pooling.size, len(vocabulary.sentence_labels))

    def vectors(self, words: Words) -> Tensor:
        """The distinct words as vectors: (U, E)"""
        parts = [self.embedding(words.ids)]
        if self.characters is not None:
            parts.append(self.characters(words.characters, words.character_lengths))
        if self.shapes is not None:
            parts.append(self.shapes(words.shapes))
        return torch.cat([_whole(part) for part in parts], -1)

    def embed(self, words: Words) -> Tensor:
        """What the encoder reads: (B, T, E)"""
        vectors = nn.functional.embedding(words.places, self.vectors(words))  # (B, T, E)
        ids = words.features.unbind(2)  # F times (B, T)
        beside = [layer(column) for layer, column in zip(self.features, ids, strict=True)]
        return torch.cat([vectors, *map(_whole, beside)], -1) if beside else vectors

    def forward(self, words: Words, embedded: Tensor | None = None) -> Emissions:
        """``embedded`` (B, T, E) is read in the place of ``embed(words)``."""
        vectors = self.embed(words) if embedded is None else embedded
        inputs = drop_steps(vectors, self.dropout, self.variational, self.training)
        outputs, hidden, _ = self.encoder(inputs, _unequal(words))  # (B, T, D), (L, B, D)
        whole = None
        if self.pooling is not None and self.sentence is not None:
            pooled, _ = self.pooling(outputs, words.lengths, hidden[-1])
            whole = self.sentence(drop_steps(pooled[:, None], self.dropout, False, self.training))
            whole = _whole(whole.squeeze(1))
        outputs = drop_steps(outputs, self.dropout, self.variational, self.training)
        return Emissions(tuple(_whole(head(outputs)) for head in self.heads), whole)


def decode(head: Field, emissions: Tensor, lengths: Tensor) -> Tensor:
    """The best labels (B, T), 0 past a length."""
    if head.learned or head.spans:
        return head.chain.decode(emissions, lengths)
    steps = torch.arange(emissions.shape[1], device=lengths.device)
    return emissions.argmax(2).masked_fill(steps >= lengths.unsqueeze(1), 0)


def _small(count: int, size: int) -> nn.Embedding:
    """An embedding of few values, that begins small."""
    embedding = nn.Embedding(count, size)
    nn.init.normal_(embedding.weight, std=0.1)
    return embedding


def _unequal(words: Words) -> Tensor | None:
    """The lengths, None where all are equal: recurrences then need no masks, and on a CPU take half
    the time. On a GPU, finding out would be a wait."""
    lengths = words.lengths
    if lengths.device.type == "cpu" and bool((lengths == words.places.shape[1]).all()):
        return None
    return lengths


def _whole(x: Tensor) -> Tensor:
    """Half precision as float32."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
