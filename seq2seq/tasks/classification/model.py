"""The network: inputs -> recurrent encoder -> pooling -> output."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seq2seq.errors import RunError
from seq2seq.layers.character_words import CharacterWords
from seq2seq.layers.decay_gru import DecayGRU
from seq2seq.layers.dropout import drop_steps, dropout_mask, hide_words
from seq2seq.layers.embedding import WordEmbedding
from seq2seq.layers.encoder import Encoder
from seq2seq.layers.image_encoder import ImageEncoder, image_encoder
from seq2seq.layers.pooling import Pooling
from seq2seq.tasks.classification.config import ClassModelConfig
from seq2seq.tasks.classification.scaling import Scaling, Summary
from seq2seq.tasks.classification.sources import Inputs
from seq2seq.tasks.classification.spelling import LETTERS, Spelled
from seq2seq.text.vocabulary import UNK


@dataclass(frozen=True)
class Shape:
    """What of a network follows from the data."""

    outputs: int
    units: int = 0  # of text: ids with weights
    kept: int = 0  # of text: ids with vectors that are not trained
    features: int = 0  # of series and images
    static: int = 0  # features that belong to a whole series
    irregular: bool = False  # something is missing, or the times are not even
    ranked: bool = False  # values are read as normal scores
    grid: bool = False  # images that a CNN turns into the vectors of a grid


def read_shape(values: dict[str, Any], path: Path) -> Shape:
    """The shape that a saved model's config.json, ``path``, holds. Raises RunError for a damaged
    one."""
    try:
        shape = Shape(**values)
        for field in fields(shape):
            value, kind = getattr(shape, field.name), type(field.default)
            kind = bool if kind is bool else int
            if type(value) is not kind or value < 0:
                raise TypeError(f"'{field.name}' is {value!r}, expected {kind.__name__}")
    except TypeError as error:
        raise RunError(f"{path}: 'shape' is damaged ({error}); copy it again") from None
    return shape


class Result(NamedTuple):
    logits: Tensor  # (B, K)
    attention: Tensor | None  # (B, S), where pooling attends


class ClassificationModel(nn.Module):
    """Recurrent layers over the steps, pooled into one vector, of which a linear layer makes the
    logits.

    Irregular series are read as value measured last, whether it was measured now, and the time
    since (GRU-Simple of Che et al. 2018), or by GRU-D.
    """

    def __init__(
        self,
        config: ClassModelConfig,
        shape: Shape,
        frozen: bool = False,
        pretrained: bool = False,
    ) -> None:
        """``frozen``: word vectors stay as they are; ``pretrained``: timm fetches weights."""
        super().__init__()
        self.config, self.shape = config, shape
        encoder = config.encoder
        self.variational = config.dropout_kind == "variational"
        self.embedding: WordEmbedding | None = None
        self.characters: CharacterWords | None = None
        self.scaling: Scaling | None = None
        self.summary: Summary | None = None
        if config.summary:
            self.summary = Summary(shape.features, shape.static, config.summary_curves)
        self.image_encoder: ImageEncoder | None = None
        if shape.grid:
            self.image_encoder = image_encoder(config.image_encoder, pretrained)
            if config.image_encoder.frozen:
                self.image_encoder.requires_grad_(False)
            inputs = self.image_encoder.size
        elif shape.features:
            self.scaling = Scaling(shape.features, shape.static, shape.ranked)
            inputs = shape.features * (3 if shape.irregular else 1)
        else:
            self.embedding = WordEmbedding(shape.units, config.embedding_size, shape.kept, frozen)
            inputs = config.embedding_size
            if config.characters.kind != "none":
                self.characters = CharacterWords(config.characters, LETTERS)
                inputs += self.characters.size
        self.decay = self.encoder = None
        if encoder.decay:
            self.decay = DecayGRU(shape.features, encoder.hidden_size)
            size = self.decay.size
        else:
            dropped = encoder.recurrent_dropout
            self.encoder = Encoder(encoder, inputs, config.dropout, self.variational, dropped)
            size = self.encoder.size
            if encoder.memory:
                for layer in self.encoder.layers:
                    chrono_(layer, encoder.cell, encoder.memory)
        self.pooling = Pooling(config.pooling, size)
        width = self.pooling.size + 2 * shape.static + (self.summary.size if self.summary else 0)
        self.hidden = nn.Linear(width, config.hidden_size) if config.hidden_size else None
        self.output = nn.Linear(config.hidden_size or width, shape.outputs)
        self.temperature: Tensor
        self.centre: Tensor
        self.spread: Tensor
        self.register_buffer("temperature", torch.ones(()))  # of the probabilities
        self.register_buffer("centre", torch.zeros(()))  # of numbers: answer = centre +
        self.register_buffer("spread", torch.ones(()))  # spread * output

    def train(self, mode: bool = True) -> ClassificationModel:
        """A frozen CNN stays in evaluation mode: its batch statistics, too."""
        super().train(mode)
        if self.image_encoder is not None and self.config.image_encoder.frozen:
            self.image_encoder.eval()
        return self

    def forward(self, inputs: Inputs, embedded: Tensor | None = None) -> Result:
        """-> logits (B, K), not tempered; attention (B, S). ``embedded`` (B, S, E) is read in the
        place of ``embed(inputs)``."""
        outputs, lengths, final = self.encode(inputs, embedded)
        pooled, attention = self.pooling(outputs, lengths, final)
        if inputs.static is not None and self.scaling is not None:
            pooled = torch.cat([pooled, self.scaling.static(inputs.static)], -1)
        if self.summary is not None:
            pooled = torch.cat([pooled, self.summary(inputs)], -1)
        pooled = self._drop(pooled)
        if self.hidden is not None:
            pooled = self._drop(self.hidden(pooled).relu())
        return Result(self.output(pooled).float(), attention)

    def encode(
        self, inputs: Inputs, embedded: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """-> outputs (B, S, D) of the last layer, lengths (B,), and its final state (B, D)"""
        config, lengths = self.config, inputs.lengths
        if self.decay is not None and self.scaling is not None:
            x, measured, gaps = self.scaling(inputs)
            x = drop_steps(x, config.input_dropout, self.variational, self.training)
            outputs, final = self.decay(x, measured, gaps, lengths)
            return outputs, lengths, final
        assert self.encoder is not None
        if self.image_encoder is not None:
            x, _ = self.image_encoder(inputs.values, None)  # (B, S, D)
            lengths = torch.full_like(lengths, x.shape[1])
        else:
            x = self.embed(inputs) if embedded is None else embedded
        x = drop_steps(x, config.input_dropout, self.variational, self.training)
        outputs, hidden, _ = self.encoder(x, lengths)
        return outputs, lengths, hidden[-1]

    def embed(self, inputs: Inputs) -> Tensor:
        """What the encoder reads of text and of series: (B, S, E)"""
        if self.embedding is not None:
            ids = hide_words(inputs.values, self.config.word_dropout, UNK, self.training)
            vectors = self.embedding(ids)  # (B, S, E)
            if self.characters is None:
                return vectors
            letters, lengths, places = self._spelled(inputs)
            words = self.characters(letters, lengths)  # (U, D)
            return torch.cat([vectors, nn.functional.embedding(places, words)], -1)
        assert self.scaling is not None
        if not self.shape.irregular:
            return self.scaling.plain(inputs.values)
        x, measured, gaps = self.scaling(inputs)
        return torch.cat([x, measured.to(x.dtype), gaps.log1p()], -1)  # (B, S, 3D)

    def _spelled(self, inputs: Inputs) -> Spelled:
        if inputs.spelled is None:
            raise ValueError("this network reads words by their letters; 'spelled' is None")
        return inputs.spelled

    def _drop(self, x: Tensor) -> Tensor:
        if not self.training or self.config.dropout == 0:
            return x
        return x * dropout_mask(tuple(x.shape), self.config.dropout, x)


@torch.no_grad()
def chrono_(layer: nn.Module, cell: str, memory: int) -> None:
    """Chrono initialisation (Tallec & Ollivier 2018, section 3): forget gates whose memories are
    spread over 1 to ``memory`` steps, b = log(u), u uniform; recurrent weights orthogonal."""
    for name, weight in layer.named_parameters():
        gates = {"gru": 3, "lstm": 4}[cell]
        parts = weight.chunk(gates)
        if name.startswith("weight_hh"):
            for part in parts:
                nn.init.orthogonal_(part)
        elif name.startswith("bias"):
            weight.zero_()
            if name.startswith("bias_ih"):
                spread = torch.empty_like(parts[1]).uniform_(1, max(2, memory - 1)).log()
                parts[1].copy_(spread)  # of z in r, z, n: h = (1 - z) n + z h; of f in i, f, g, o
                if cell == "lstm":
                    parts[0].copy_(-spread)
