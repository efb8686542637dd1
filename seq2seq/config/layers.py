"""The configuration of the recurrent layers that several tasks are built from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
