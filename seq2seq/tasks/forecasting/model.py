"""The forecasting model: base, network and head; what of it is the same for every network."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seq2seq.tasks.forecasting.attention import AttentionNetwork
from seq2seq.tasks.forecasting.autoregressive import AutoregressiveNetwork
from seq2seq.tasks.forecasting.bases import Base, Normal
from seq2seq.tasks.forecasting.config import ForecastModelConfig
from seq2seq.tasks.forecasting.heads import Head, make_head
from seq2seq.tasks.forecasting.inputs import Inputs, Sizes, StaticVector, apart, rows_of, together
from seq2seq.tasks.forecasting.segments import SegmentNetwork
from seq2seq.tasks.forecasting.widths import MEASURES
from seq2seq.tasks.forecasting.windows import Batch


class Outlook(NamedTuple):
    """Distributions of steps: the scaled value is shift + factor * what the head describes."""

    parameters: Tensor  # (B, T, C, P)
    shift: Tensor  # (B, T, C)
    factor: Tensor  # (B, T, C)


class ForecastModel(nn.Module):
    """Scaled windows in, distributions of the horizon out.

        z = (value - shift) / factor, of the base -> network -> P numbers a value -> head

    ``head`` says what the numbers mean. ``offsets`` and ``ranks`` are calibration's (see
    ``calibration``), zero and one before it; so are ``powers`` and ``typical`` (see ``widths``),
    which are None without ``forecast.widths: window``.
    """

    offsets: Tensor  # (Q, H, C)
    ranks: Tensor  # (H, H)
    powers: Tensor | None  # (2, C)
    typical: Tensor | None  # (2, C)

    def __init__(
        self, config: ForecastModelConfig, sizes: Sizes, levels: int | None, widths: bool = False
    ) -> None:
        """``levels``: Q, how many quantiles are calibrated; None for a member of a committee, which
        is calibrated as a whole. ``widths``: by widths of each window's own."""
        super().__init__()
        self.config, self.sizes = config, sizes
        self.head: Head = make_head(config)
        self.base = Base(config, sizes)
        self.static = StaticVector(config, sizes)
        independent = config.channels == "independent"
        channels = 1 if independent else sizes.targets
        kinds = {
            "segments": SegmentNetwork,
            "attention": AttentionNetwork,
            "autoregressive": AutoregressiveNetwork,
        }
        make = kinds[config.kind]
        known = self.static.size + len(sizes.read_base)
        if config.base == "regression":  # reads the covariates, and leaves none of them
            sizes = replace(sizes, features=0)
        self.network = make(config, sizes, channels, known, self.head.size)
        if levels is not None:
            register_calibration(self, config.horizon, self.sizes.targets, levels, widths)

    @property
    def samples(self) -> bool:
        """Whether forecasts are sampled paths, of any horizon."""
        return isinstance(self.network, AutoregressiveNetwork)

    @property
    def reach(self) -> int:
        """Steps of the past that are read."""
        if isinstance(self.network, AutoregressiveNetwork):
            return self.network.reach
        return self.config.context

    def ahead(self, batch: Batch) -> Outlook:
        """The distributions of the horizon, all at once: T = H. Not for a model that samples."""
        normal = self.base(batch.past, batch.observed, batch.features)
        steps = batch.past.shape[1]
        parameters = self.network(self._inputs(batch, normal))
        return self._outlook(parameters, normal.shift[:, steps:], normal.factor[:, steps:])

    def teacher_forced(self, batch: Batch) -> Outlook:
        """The distributions of all steps of context and horizon, each given the true values
        before it: T = context + H. For a model that samples."""
        assert isinstance(self.network, AutoregressiveNetwork)
        normal = self.base(batch.past, batch.observed, batch.features)
        future = batch.future if self._joint else apart(batch.future)
        parameters = self.network(self._inputs(batch, normal), future)
        first = self.network.reach - self.network.context
        return self._outlook(parameters, normal.shift[:, first:], normal.factor[:, first:])

    @torch.no_grad()
    def sample(self, batch: Batch, uniform: Tensor) -> Tensor:
        """Scaled values of paths drawn with uniform random numbers (B, H, P, C): the same shape."""
        assert isinstance(self.network, AutoregressiveNetwork)
        inputs = self._inputs(batch, self.base(batch.past, batch.observed, batch.features))
        factor = batch.scale
        if self._joint:
            return self.network.sample(inputs, self.head, uniform, factor)
        count, horizon, paths, targets = uniform.shape
        rows = uniform.permute(0, 3, 1, 2).reshape(count * targets, horizon, paths, 1)
        drawn = self.network.sample(inputs, self.head, rows, factor.reshape(-1, 1))
        return drawn.reshape(count, targets, horizon, paths).permute(0, 2, 3, 1)

    def factor(self, batch: Batch) -> Tensor:
        """The unit of the errors of each step ahead, scaled: (B, H, C)."""
        normal = self.base(batch.past, batch.observed, batch.features)
        return normal.factor[:, batch.past.shape[1] :]

    @property
    def _joint(self) -> bool:
        return self.static.channels == 1

    def _inputs(self, batch: Batch, normal: Normal) -> Inputs:
        steps = batch.past.shape[1]
        past = (batch.past - normal.shift[:, :steps]) / normal.factor[:, :steps]
        observed, features, covariates = batch.observed, batch.features, batch.past_features
        if self.config.base == "regression":
            features = features[..., :0]
        if not self._joint:
            past, observed = apart(past), apart(observed)
            features = features.repeat_interleave(self.static.channels, 0)
            covariates = covariates.repeat_interleave(self.static.channels, 0)
        static = self.static(batch.categories, batch.numbers)
        if self.sizes.read_base:
            level = normal.shift[:, steps - 1, list(self.sizes.read_base)]
            level = level.repeat_interleave(len(past) // len(level), 0)
            static = torch.cat([rows_of(static, len(past)), level], 1)
        return Inputs(past, observed, features[:, :steps], features[:, steps:], covariates, static)

    def _outlook(self, parameters: Tensor, shift: Tensor, factor: Tensor) -> Outlook:
        if not self._joint:
            parameters = together(parameters, self.static.channels)
        return Outlook(parameters, shift, factor)


CALIBRATION = ("offsets", "ranks", "powers", "typical")  # buffers learned after training


def register_calibration(
    model: nn.Module, horizon: int, targets: int, levels: int, widths: bool
) -> None:
    """Give a model the buffers of its calibration; see ``ForecastModel``."""
    model.register_buffer("offsets", torch.zeros(levels, horizon, targets))
    model.register_buffer("ranks", torch.eye(horizon))
    for name in ("powers", "typical"):
        model.register_buffer(name, torch.zeros(MEASURES, targets) if widths else None)
