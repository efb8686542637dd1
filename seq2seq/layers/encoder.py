"""The recurrent encoder: a stack of (bidirectional) layers over the source."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kernels.modules import GRU, LSTM, RNN
from seq2seq.config.layers import EncoderConfig
from seq2seq.layers.dropout import drop_steps
from seq2seq.layers.module_list import ModuleList


def recurrent_layer(
    cell: str,
    inputs: int,
    hidden: int,
    bidirectional: bool = False,
    recurrent_dropout: float = 0.0,
) -> LSTM | GRU | RNN:
    """One layer of the named cell, batch first; ``recurrent_dropout`` drops units of the hidden
    state, the same for all steps (Gal & Ghahramani 2016)."""
    if cell == "lstm":
        return LSTM(
            inputs,
            hidden,
            batch_first=True,
            bidirectional=bidirectional,
            recurrent_dropout=recurrent_dropout,
        )
    if cell == "gru":
        return GRU(
            inputs,
            hidden,
            batch_first=True,
            bidirectional=bidirectional,
            recurrent_dropout=recurrent_dropout,
        )
    return RNN(
        inputs,
        hidden,
        nonlinearity=cell,
        batch_first=True,
        bidirectional=bidirectional,
        recurrent_dropout=recurrent_dropout,
    )


class Encoder(nn.Module):
    """Elman, LSTM or GRU layers; the outputs of both directions side by side (Schuster &
    Paliwal 1997). ``residual`` adds a layer's input to its output where the widths agree, from
    the second layer on (Wu et al. 2016, section 3.1); ``layer_norm`` normalises each layer's
    output (Ba et al. 2016)."""

    def __init__(
        self,
        config: EncoderConfig,
        embedding_size: int,
        dropout: float,
        variational: bool,
        recurrent_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.size = config.hidden_size * (2 if config.bidirectional else 1)  # D
        self.residual, self.dropout, self.variational = config.residual, dropout, variational
        self.layers = ModuleList(
            recurrent_layer(
                config.cell,
                embedding_size if number == 0 else self.size,
                config.hidden_size,
                config.bidirectional,
                recurrent_dropout,
            )
            for number in range(config.layers)
        )
        self.norms = nn.ModuleList(
            nn.LayerNorm(self.size) for _ in range(config.layers if config.layer_norm else 0)
        )

    def forward(
        self, embedded: Tensor, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """embedded (B, S, E), lengths (B,), None where all are S -> outputs (B, S, D), zero past a
        length; final hidden states (L, B, D) and cell states (LSTM) with the directions side by
        side."""
        x, hidden, cell = embedded, [], []
        for number, layer in enumerate(self.layers):
            y, state = layer(x, lengths=lengths)
            h, c = state if isinstance(state, tuple) else (state, None)  # (directions, B, H)
            hidden.append(torch.cat(tuple(h), -1))
            if c is not None:
                cell.append(torch.cat(tuple(c), -1))
            if len(self.norms):
                y = self.norms[number](y)
            if self.residual and number:
                y = y + x
            if number + 1 < len(self.layers):
                y = drop_steps(y, self.dropout, self.variational, self.training)
            x = y
        return x, torch.stack(hidden), torch.stack(cell) if cell else None
