"""A recurrent network that reads one value and says how the next one is distributed (DeepAR,
Salinas et al. 2020). Forecasts are sampled paths: each drawn value is read as if it had been
observed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kernels.modules import GRU, LSTM, RNN
from seq2seq.tasks.forecasting.config import ForecastModelConfig
from seq2seq.tasks.forecasting.heads import Head
from seq2seq.tasks.forecasting.inputs import Inputs, Sizes, rows_of
from seq2seq.tasks.forecasting.linear import linear


class AutoregressiveNetwork(nn.Module):
    """h_t = RNN(h_{t-1}, [z_{t-l} for lags l, missing_{t-1}, covariates_t, static]), and a linear
    map of h_t gives the P numbers of the head for z_t (Salinas et al. 2020, eq. 1)."""

    def __init__(
        self, config: ForecastModelConfig, sizes: Sizes, channels: int, static: int, outputs: int
    ) -> None:
        super().__init__()
        self.lags, self.context = lags_of(config, sizes.season), config.context
        self.channels, self.outputs = channels, outputs
        width = channels * (len(self.lags) + 1) + sizes.features + static
        size = config.hidden_size
        self.layer = _layers(config, width)
        with torch.no_grad():  # without missing values in training their mark stays silent
            begin = channels * len(self.lags)
            self.layer.all_weights[0][0][:, begin : begin + channels] = 0
        # between layers, and where there is one alone, behind it
        self.dropout = nn.Dropout(config.dropout if config.layers == 1 else 0.0)
        self.output = nn.Linear(size, channels * outputs)

    @property
    def reach(self) -> int:
        """Steps of the past that are read: the context, and the lags of its first step."""
        return self.context + max(self.lags)

    def forward(self, inputs: Inputs, future: Tensor) -> Tensor:
        """The distributions of all steps of context and horizon, each given the true values before
        it: inputs.past (R, reach, C), future (R, H, C) -> (R, context + H, C, P)"""
        values = torch.cat([inputs.past, future], 1)
        steps = self.context + future.shape[1]
        states, _ = self.layer(self._inputs(inputs, values, steps))
        return self._distributions(states)

    def _inputs(self, inputs: Inputs, values: Tensor, steps: int) -> Tensor:
        """The inputs of ``steps`` steps from the context's first one on: (R, steps, I)"""
        first = self.reach - self.context
        parts = [values[:, first - lag : first - lag + steps] for lag in self.lags]
        missing = 1 - inputs.observed[:, first - 1 : first - 1 + steps]
        lacking = steps - missing.shape[1]  # the future's values count as observed
        parts.append(nn.functional.pad(missing, (0, 0, 0, lacking)) if lacking else missing)
        features = torch.cat([inputs.past_features, inputs.future_features], 1)
        parts.append(features[:, first : first + steps])
        static = rows_of(inputs.static, len(values)).unsqueeze(1)
        parts.append(static.expand(-1, steps, -1))
        return torch.cat(parts, -1)

    def _distributions(self, states: Tensor) -> Tensor:
        """(R, steps, hidden) -> (R, steps, C, P)"""
        return linear(self.output, self.dropout(states)).unflatten(
            -1, (self.channels, self.outputs)
        )

    @torch.no_grad()
    def sample(self, inputs: Inputs, head: Head, uniform: Tensor, factor: Tensor) -> Tensor:
        """Draw paths: uniform (R, H, P', C) random numbers in (0, 1), factor (R, C) -> values
        (R, H, P', C), each the quantile of its distribution at its random number.

        This loop over the horizon is inherent: a step reads what the step before has drawn.
        """
        rows, horizon, paths, channels = uniform.shape
        _, state = self.layer(self._inputs(inputs, inputs.past, self.context))
        state = _repeat(state, paths)
        longest = max(self.lags)
        values = uniform.new_empty(rows * paths, longest + horizon, channels)  # (N, lag + H, C)
        values[:, :longest] = inputs.past[:, -longest:].repeat_interleave(paths, 0)
        missing = (1 - inputs.observed[:, -1]).repeat_interleave(paths, 0)
        static = rows_of(inputs.static, rows).repeat_interleave(paths, 0)
        factor = factor.repeat_interleave(paths, 0)  # (N, C)
        for step in range(horizon):
            lagged = [values[:, longest + step - lag] for lag in self.lags]
            known = inputs.future_features[:, step].repeat_interleave(paths, 0)
            x = torch.cat([*lagged, missing, known, static], -1)
            states, state = self.layer(x.unsqueeze(1), state)
            parameters = self._distributions(states)[:, 0]  # (N, C, P)
            levels = uniform[:, step].reshape(rows * paths, channels)
            values[:, longest + step] = head.quantiles(parameters, levels, factor)
            missing = torch.zeros_like(missing)
        drawn = values[:, longest:].reshape(rows, paths, horizon, channels)
        return drawn.transpose(1, 2)


def _layers(config: ForecastModelConfig, width: int) -> LSTM | GRU | RNN:
    """The stack of recurrent layers, with dropout in between."""
    size, layers = config.hidden_size, config.layers
    dropout = config.dropout if layers > 1 else 0.0
    if config.cell == "lstm":
        return LSTM(width, size, layers, batch_first=True, dropout=dropout)
    if config.cell == "gru":
        return GRU(width, size, layers, batch_first=True, dropout=dropout)
    return RNN(width, size, layers, nonlinearity=config.cell, batch_first=True, dropout=dropout)


def _repeat(
    state: Tensor | tuple[Tensor, Tensor] | None, paths: int
) -> Tensor | tuple[Tensor, Tensor] | None:
    if state is None:
        return None
    if isinstance(state, tuple):
        hidden, cell = (one.repeat_interleave(paths, 1) for one in state)
        return hidden, cell
    return state.repeat_interleave(paths, 1)


def lags_of(config: ForecastModelConfig, season: int) -> tuple[int, ...]:
    """The lags that an autoregressive model reads: those configured, the last value always among
    them; [0] stands for 1, and for a season and its neighbours where there is one."""
    if config.lags == [0]:
        seasonal = {season - 1, season, season + 1} if season > 2 else set()
        return tuple(sorted({1} | seasonal))
    return tuple(sorted({1, *config.lags}))
