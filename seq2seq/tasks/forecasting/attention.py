"""An encoder over the past and a recurrent decoder that attends to it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seq2seq.config.layers import DecoderConfig, EncoderConfig
from seq2seq.layers.decoder import Decoder
from seq2seq.layers.encoder import Encoder
from seq2seq.tasks.forecasting.config import ForecastModelConfig
from seq2seq.tasks.forecasting.inputs import Inputs, Sizes, rows_of
from seq2seq.tasks.forecasting.linear import linear


class AttentionNetwork(nn.Module):
    """The decoder of translation, fed with vectors: at step h of the horizon an embedding of h,
    the known covariates of that step and what is known of the row. What it attends to are the
    encoder's states, one for each past step (Bahdanau et al. 2015; for series Qin et al. 2017).

    Its inputs hold no value of the future, so the whole horizon is one pass in training and in use.
    """

    def __init__(
        self, config: ForecastModelConfig, sizes: Sizes, channels: int, static: int, outputs: int
    ) -> None:
        super().__init__()
        self.channels, self.outputs, size = channels, outputs, config.hidden_size
        width = 2 * channels + sizes.features + 2 * sizes.past + static
        self.read = nn.Linear(width, size)
        with torch.no_grad():  # without missing values in training their mark stays silent
            self.read.weight[:, channels : 2 * channels] = 0
            end = width - static
            self.read.weight[:, end - sizes.past : end] = 0
        encoder = EncoderConfig(
            cell=config.cell,
            layers=config.layers,
            hidden_size=size,
            bidirectional=config.bidirectional,
            residual=True,
        )
        self.encoder = Encoder(encoder, size, config.dropout, False)
        decoder = DecoderConfig(
            cell=config.cell,
            layers=config.layers,
            hidden_size=size,
            attention=config.attention,
            input_feeding=False,
            residual=True,
        )
        self.decoder = Decoder(decoder, size, self.encoder.size, size, dropout=config.dropout)
        self.start = nn.Linear(self.encoder.size, size)
        self.start_cell = nn.Linear(self.encoder.size, size) if config.cell == "lstm" else None
        self.positions = nn.Parameter(torch.randn(config.horizon, size) * 0.5)
        self.known = nn.Linear(sizes.features + static, size) if sizes.features + static else None
        self.output = nn.Linear(size, channels * outputs)
        _initialise(self.decoder)

    def forward(self, inputs: Inputs) -> Tensor:
        """-> (R, H, C, P)"""
        rows, steps, _ = inputs.past.shape
        static = rows_of(inputs.static, rows).unsqueeze(1)
        parts = [inputs.past, 1 - inputs.observed, inputs.past_features, inputs.covariates]
        x = linear(
            self.read, torch.cat([*parts, static.expand(-1, steps, -1)], -1)
        )  # (R, L, hidden)
        lengths = torch.full((rows,), steps)
        values, hidden, cell = self.encoder(x, lengths)  # (R, L, D), (layers, R, D)
        state = self.decoder.initial_state(
            torch.tanh(linear(self.start, hidden)),
            None if cell is None or self.start_cell is None else linear(self.start_cell, cell),
        )
        future = self.positions.expand(rows, -1, -1)  # (R, H, hidden)
        if self.known is not None:
            known = [inputs.future_features, static.expand(-1, future.shape[1], -1)]
            future = future + linear(self.known, torch.cat(known, -1))
        vectors, _, _ = self.decoder(future, state, self.decoder.memory(values, None))
        return linear(self.output, vectors).unflatten(-1, (self.channels, self.outputs))


def _initialise(decoder: Decoder) -> None:
    """The scoring vector, which its module leaves to its owner."""
    if decoder.score is not None:
        nn.init.uniform_(decoder.score, -0.1, 0.1)
