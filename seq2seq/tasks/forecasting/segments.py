"""Segments of the past in, all segments of the horizon out at once (SegRNN, Lin et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels.modules import GRU, LSTM, RNN
from seq2seq.layers.encoder import recurrent_layer
from seq2seq.tasks.forecasting.config import ForecastModelConfig
from seq2seq.tasks.forecasting.inputs import Inputs, Sizes, rows_of
from seq2seq.tasks.forecasting.linear import aligned_linear, linear


class SegmentNetwork(nn.Module):
    """A recurrent layer reads the past in segments of w steps; then it makes one step for each
    segment of the horizon, all from the same state ("parallel multi-step forecasting", section
    3.2.2): its input is an embedding of the segment's position, and what is known of the row and of
    the future besides. Steps are few and errors do not build up.

        past (L) -> L/w segments -> linear, relu -> recurrent layer -> state h
        position j, static, known -> the same recurrent layer from h -> dropout -> linear -> w steps
    """

    def __init__(
        self, config: ForecastModelConfig, sizes: Sizes, channels: int, static: int, outputs: int
    ) -> None:
        """``channels``: C, values a step; ``static``: E; ``outputs``: P, numbers for each value."""
        super().__init__()
        self.width, self.horizon = config.segment, config.horizon
        self.channels, self.outputs = channels, outputs
        width, size = config.segment, config.hidden_size
        self.segments = -(-config.horizon // width)
        self.values = nn.Linear(width * channels, size)
        self.missing = nn.Linear(width * channels, size, bias=False)
        nn.init.zeros_(self.missing.weight)  # without missing values in training it stays silent
        self.known = None
        if sizes.features:
            self.known = nn.Linear(width * sizes.features, size, bias=False)
        self.covariates = None
        if sizes.past:
            self.covariates = nn.Linear(width * 2 * sizes.past, size, bias=False)
            with torch.no_grad():  # as ``missing``
                self.covariates.weight.view(size, width, 2, sizes.past)[:, :, 1] = 0
        self.layer = recurrent_layer(config.cell, size, size)
        self.positions = nn.Parameter(torch.randn(self.segments, size) * 0.5)
        self.static = nn.Linear(static, size, bias=False) if static else None
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(size, width * channels * outputs)

    def forward(self, inputs: Inputs) -> Tensor:
        """-> (R, H, C, P)"""
        x = linear(self.values, self._cut(inputs.past))  # (R, L/w, hidden)
        x = x + linear(self.missing, self._cut(1 - inputs.observed))
        if self.known is not None:
            x = x + linear(self.known, self._cut(inputs.past_features))
        if self.covariates is not None:
            x = x + linear(self.covariates, self._cut(inputs.covariates))
        _, state = self.layer(F.relu(x))
        y = self._ahead(inputs, state)  # (R, segments, hidden)
        y = linear(self.output, self.dropout(y))
        rows = len(y)
        y = y.reshape(rows, self.segments * self.width, self.channels, self.outputs)
        return y[:, : self.horizon]

    def _cut(self, values: Tensor) -> Tensor:
        """(R, L, X) -> (R, segments, w * X), filled up with zeros at the beginning"""
        rows, steps, size = values.shape
        lacking = -steps % self.width
        if lacking:
            values = F.pad(values, (0, 0, lacking, 0))
        return values.reshape(rows, -1, self.width * size)

    def _ahead(self, inputs: Inputs, state: Tensor | tuple[Tensor, Tensor]) -> Tensor:
        """One recurrent step for each segment of the horizon: (R, segments, hidden)."""
        parts = [self.positions.unsqueeze(0)]  # (1, S, hidden)
        if self.static is not None:
            parts.append(linear(self.static, inputs.static).unsqueeze(1))  # (R or C, 1, hidden)
        if self.known is not None:
            future = inputs.future_features
            spare = self.segments * self.width - self.horizon
            future = F.pad(future, (0, 0, 0, spare)) if spare else future
            parts.append(linear(self.known, self._cut(future)))  # (R, S, hidden)
        hidden, cell = state if isinstance(state, tuple) else (state, None)
        return parallel_step(self.layer, parts, hidden[0], None if cell is None else cell[0])


def parallel_step(
    layer: LSTM | GRU | RNN, parts: Sequence[Tensor], hidden: Tensor, cell: Tensor | None
) -> Tensor:
    """One step of ``layer`` from each of R states with S different inputs: hidden and cell (R, H)
    -> new hidden states (R, S, H). The inputs (R, S, I) are the sum of ``parts``, each (1, S, I),
    (R, 1, I), (R, S, I) or (C, 1, I), which is repeated.

    The layer itself, called with R * S rows, gives the same. Here the product with a state is
    computed once, not S times, and so are those with parts that many rows share.
    """
    weight_ih, weight_hh, bias_ih, bias_hh = layer.all_weights[0]
    first, *others = parts
    x = aligned_linear(first, weight_ih, bias_ih)  # (., ., G H)
    h = aligned_linear(hidden, weight_hh, bias_hh).unsqueeze(1)  # (R, 1, G H)
    for part in others:
        x = x + rows_of(aligned_linear(part, weight_ih, None), len(hidden))
    if layer.kind == "gru":
        x_gates, x_new = x.split([2 * layer.hidden_size, layer.hidden_size], -1)
        h_gates, h_new = h.split([2 * layer.hidden_size, layer.hidden_size], -1)
        reset, update = torch.sigmoid(x_gates + h_gates).chunk(2, -1)
        new = torch.tanh(x_new + reset * h_new)
        new, update = new.to(hidden.dtype), update.to(hidden.dtype)  # bf16 under autocast
        return torch.lerp(new, hidden.unsqueeze(1), update)
    gates = x + h
    if layer.kind == "lstm":
        assert cell is not None
        entry, keep, new, out = gates.chunk(4, -1)
        after = keep.sigmoid() * cell.unsqueeze(1) + entry.sigmoid() * new.tanh()
        return out.sigmoid() * after.tanh()
    return gates.relu() if layer.kind == "relu" else gates.tanh()
