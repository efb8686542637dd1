"""What the networks of all models read, and how a batch becomes it.

Rows are windows; with independent channels a row is one target of a window, so that a network
sees many series of one value each. Sizes: R rows, L past steps, H horizon, C values a step, K
covariates, J covariates of the past alone, E width of what is known of a row as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seq2seq.tasks.forecasting.config import ForecastModelConfig


@dataclass(frozen=True)
class Sizes:
    """What a model's shape follows from beside its configuration."""

    targets: int
    features: int  # covariates a step
    categories: tuple[int, ...]  # how many of each static column
    numbers: int  # static columns of numbers
    season: int
    read_base: tuple[int, ...] = ()  # targets whose base the network reads
    past: int = 0  # J, covariates of the past alone


@dataclass(frozen=True)
class Inputs:
    """Rows of normalised windows."""

    past: Tensor  # (R, L, C)
    observed: Tensor  # (R, L, C)
    past_features: Tensor  # (R, L, K)
    future_features: Tensor  # (R, H, K)
    covariates: Tensor  # (R, L, 2 J) as ``Batch.past_features``
    static: Tensor  # (R, E); (C, E) where the rows of all windows are the same, one for each target


class StaticVector(nn.Module):
    """One vector (E) for each row: embeddings of its categories and, with independent channels,
    of its target; static numbers as they are. A category never seen has the mean embedding."""

    def __init__(self, config: ForecastModelConfig, sizes: Sizes) -> None:
        super().__init__()
        width = config.embedding_size
        self.tables = nn.ParameterList(torch.randn(n, width) for n in sizes.categories)
        self.channels = sizes.targets if config.channels == "independent" else 1
        self.channel = None
        if self.channels > 1:
            self.channel = nn.Parameter(torch.randn(self.channels, width))
        self.size = width * (len(self.tables) + (self.channel is not None)) + sizes.numbers

    def forward(self, categories: Tensor, numbers: Tensor) -> Tensor:
        """categories (B, S) int64, numbers (B, N) -> (R, E), R = B or B * C; the (C, E) rows of one
        window where those of all are the same"""
        if self.channel is not None and not len(self.tables) and not numbers.shape[1]:
            return self.channel
        parts = [numbers]
        for column, table in enumerate(self.tables):
            whole = torch.cat([table.mean(0, keepdim=True), table])  # 0: never seen
            parts.append(whole[categories[:, column]])
        static = torch.cat(parts, 1)
        if self.channel is None:
            return static
        static = static.repeat_interleave(self.channels, 0)
        return torch.cat([static, self.channel.repeat(len(numbers), 1)], 1)


def apart(values: Tensor) -> Tensor:
    """One row for each target: (B, T, C) -> (B * C, T, 1)"""
    batch, steps, targets = values.shape
    return values.transpose(1, 2).reshape(batch * targets, steps, 1)


def together(values: Tensor, targets: int) -> Tensor:
    """The way back, with P numbers for each value: (B * C, T, 1, P) -> (B, T, C, P)"""
    rows, steps, _, size = values.shape
    return values.reshape(rows // targets, targets, steps, size).transpose(1, 2)


def rows_of(values: Tensor, rows: int) -> Tensor:
    """(C, ...), the same for all windows, -> (R, ...); (R, ...) stays as it is."""
    return (
        values
        if len(values) == rows
        else values.repeat(rows // len(values), *[1] * (values.dim() - 1))
    )
