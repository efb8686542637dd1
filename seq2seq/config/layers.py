"""The configuration of the recurrent layers that several tasks are built from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seq2seq.config.checks import check_positive
from seq2seq.errors import UsageError

Cell = Literal["lstm", "gru", "tanh", "relu"]
Attention = Literal["additive", "dot", "scaled_dot", "general", "concat", "none"]


@dataclass
class EncoderConfig:
    cell: Cell = "lstm"
    layers: int = 2
    hidden_size: int = 256  # per direction
    bidirectional: bool = True
    residual: bool = False
    layer_norm: bool = False


@dataclass
class DecoderConfig:
    cell: Cell = "lstm"
    layers: int = 1
    hidden_size: int = 512
    attention: Attention = "additive"
    attention_size: int | None = None  # width of additive/concat scoring; default hidden_size
    input_feeding: bool = True
    residual: bool = False
    layer_norm: bool = False


@dataclass
class CharacterConfig:
    """What makes a word's vector from its characters; see ``seq2seq.layers.character_words``."""

    kind: Literal["lstm", "gru", "cnn", "none"] = "lstm"
    embedding_size: int = 30
    hidden_size: int = 50  # lstm, gru: per direction; cnn: filters
    width: int = 3  # cnn: characters that a filter sees
    longest: int = 30  # of a longer word the first two thirds and the last third so many are read


def check_characters(characters: CharacterConfig, where: str) -> None:
    check_positive(
        {
            "model.characters.embedding_size": characters.embedding_size,
            "model.characters.hidden_size": characters.hidden_size,
            "model.characters.width": characters.width,
            "model.characters.longest": characters.longest,
        },
        where,
    )
    if characters.kind == "cnn" and characters.width % 2 == 0:
        raise UsageError(
            f"{where}: 'model.characters.width' is {characters.width}; expected an odd number"
        )
