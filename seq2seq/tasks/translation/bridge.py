"""The bridge: the decoder's initial state from the encoder's final one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seq2seq.errors import UsageError
from seq2seq.tasks.translation.config import ModelConfig


class Bridge(nn.Module):
    """zero: zeros. copy: the encoder's last layers, as they are. linear: tanh(W s + b) of the
    encoder layer at the same distance from the top (Bahdanau et al. 2015, appendix A.2.2), one
    W per decoder layer and state."""

    def __init__(self, config: ModelConfig, encoder_size: int) -> None:
        super().__init__()
        encoder, decoder = config.encoder, config.decoder
        self.kind, self.layers, self.size = config.bridge, decoder.layers, decoder.hidden_size
        self.has_cell = decoder.cell == "lstm"
        if self.kind == "copy":
            if encoder_size != decoder.hidden_size or encoder.layers < decoder.layers:
                raise UsageError(
                    "model.bridge: 'copy' needs encoder and decoder states of one size and at "
                    f"least as many encoder layers; found {encoder.layers} x {encoder_size} (both "
                    f"directions) and {decoder.layers} x {decoder.hidden_size}; use 'linear'"
                )
            if self.has_cell and encoder.cell != "lstm":
                raise UsageError(
                    "model.bridge: 'copy' to an 'lstm' decoder needs an 'lstm' encoder, found "
                    f"'{encoder.cell}' (no cell state to copy); use 'linear'"
                )
        linear = self.kind == "linear"
        self.hidden = nn.ModuleList(
            nn.Linear(encoder_size, decoder.hidden_size) for _ in range(linear * decoder.layers)
        )
        self.cell = nn.ModuleList(
            nn.Linear(encoder_size, decoder.hidden_size)
            for _ in range(linear * self.has_cell * decoder.layers)
        )

    @property
    def shape(self) -> BridgeShape:
        return BridgeShape(self.kind, self.layers, self.size, self.has_cell)

    def forward(self, hidden: Tensor, cell: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Final states (L_enc, B, D) -> initial states (L_dec, B, H), cell None but for LSTM."""
        return first_states(self.shape, hidden, cell, list(self.hidden), list(self.cell))


class BridgeShape(NamedTuple):
    """A bridge without its weights."""

    kind: str
    layers: int  # L_dec
    size: int  # H
    has_cell: bool


def first_states(
    shape: BridgeShape,
    hidden: Tensor,
    cell: Tensor | None,
    hidden_maps: Sequence[Callable[[Tensor], Tensor]],
    cell_maps: Sequence[Callable[[Tensor], Tensor]],
) -> tuple[Tensor, Tensor | None]:
    """``Bridge.forward`` with W s + b given as a function for each decoder layer."""
    if shape.kind == "zero":
        zero = hidden.new_zeros(shape.layers, hidden.shape[1], shape.size)
        return zero, zero.clone() if shape.has_cell else None
    if shape.kind == "copy":
        first = hidden.shape[0] - shape.layers
        return hidden[first:], None if cell is None or not shape.has_cell else cell[first:]
    cell = hidden if cell is None else cell
    top = hidden.shape[0] - shape.layers
    below = [max(0, top + number) for number in range(shape.layers)]

    def project(maps: Sequence[Callable[[Tensor], Tensor]], states: Tensor) -> Tensor:
        outputs = [torch.tanh(m(states[n])) for m, n in zip(maps, below, strict=True)]
        return torch.stack(outputs).to(hidden.dtype)  # (L_dec, B, H)

    return project(hidden_maps, hidden), project(cell_maps, cell) if shape.has_cell else None
