"""Heads: what a network's numbers say about a value. Each likelihood is written here once.

A head turns P numbers for each value into a loss, a mean and quantiles. Values are normalised: the
value in its own unit is ``shift + factor * value``. Losses are in nats, or in units of the
normalised value.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seq2seq.errors import RunError
from seq2seq.tasks.forecasting.config import ForecastModelConfig

_SMALL = 1e-6  # the least scale: a constant series has a density all the same


class Head(Protocol):
    """P numbers for each value, and what they say."""

    size: int  # P

    def loss(self, parameters: Tensor, value: Tensor, factor: Tensor) -> Tensor:
        """parameters (..., P), value and factor (...) -> (...)"""

    def mean(self, parameters: Tensor, factor: Tensor) -> Tensor:
        """parameters (..., P) -> (...)"""

    def quantiles(self, parameters: Tensor, levels: Tensor, factor: Tensor) -> Tensor:
        """The quantile of each value at its own level, without gradients: parameters (..., P),
        levels (...) between 0 and 1 -> (...) of the dtype of ``parameters``. With uniform random
        levels this draws samples (inversion)."""


class PointHead:
    """One number: mean or median, by the loss. It stands for a distribution without width, which
    calibration widens."""

    size = 1

    def __init__(self, loss: str) -> None:
        self._loss = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.smooth_l1_loss}[loss]

    def loss(self, parameters: Tensor, value: Tensor, factor: Tensor) -> Tensor:
        return self._loss(parameters[..., 0], value, reduction="none")

    def mean(self, parameters: Tensor, factor: Tensor) -> Tensor:
        return parameters[..., 0]

    def quantiles(self, parameters: Tensor, levels: Tensor, factor: Tensor) -> Tensor:
        return parameters[..., 0].expand(levels.shape)


class GaussianHead:
    """Normal distribution: mean a, standard deviation softplus(b)."""

    size = 2

    def loss(self, parameters: Tensor, value: Tensor, factor: Tensor) -> Tensor:
        mean, scale = self._of(parameters)
        return 0.5 * ((value - mean) / scale).square() + scale.log() + 0.5 * math.log(2 * math.pi)

    def mean(self, parameters: Tensor, factor: Tensor) -> Tensor:
        return parameters[..., 0]

    def quantiles(self, parameters: Tensor, levels: Tensor, factor: Tensor) -> Tensor:
        mean, scale = self._of(parameters)
        return mean + scale * torch.special.ndtri(levels.double()).to(scale.dtype)

    @staticmethod
    def _of(parameters: Tensor) -> tuple[Tensor, Tensor]:
        mean, scale = parameters.unbind(-1)
        return mean, F.softplus(scale) + _SMALL


class StudentHead:
    """Student's t: location a, scale softplus(b), 2 + softplus(c) degrees of freedom."""

    size = 3

    def loss(self, parameters: Tensor, value: Tensor, factor: Tensor) -> Tensor:
        mean, scale, freedom = self._of(parameters)
        z = (value - mean) / scale
        half = 0.5 * (freedom + 1)
        constant = torch.lgamma(half) - torch.lgamma(0.5 * freedom)
        constant = constant - 0.5 * (freedom * math.pi).log() - scale.log()
        return half * torch.log1p(z.square() / freedom) - constant

    def mean(self, parameters: Tensor, factor: Tensor) -> Tensor:
        return parameters[..., 0]

    def quantiles(self, parameters: Tensor, levels: Tensor, factor: Tensor) -> Tensor:
        mean, scale, freedom = self._of(parameters)
        found = _special().stdtrit(_array(freedom), _array(levels))
        return mean + scale * _tensor(found, scale)

    @staticmethod
    def _of(parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, scale, freedom = parameters.unbind(-1)
        return mean, F.softplus(scale) + _SMALL, 2 + F.softplus(freedom)


class NegativeBinomialHead:
    """Counts with mean m and variance m + d m^2 (Salinas et al. 2020, section 3.1), where
    m = factor * softplus(a), d = softplus(b) / sqrt(factor); normalised, a count is count/factor.
    """

    size = 2

    def loss(self, parameters: Tensor, value: Tensor, factor: Tensor) -> Tensor:
        mean, dispersion = self._of(parameters, factor)
        count, number = (value * factor).round(), 1 / dispersion
        scaled = dispersion * mean
        log_density = torch.lgamma(count + number) - torch.lgamma(count + 1) - torch.lgamma(number)
        log_density = log_density - number * torch.log1p(scaled)
        log_density = log_density + count * (scaled.log() - torch.log1p(scaled))
        return -log_density

    def mean(self, parameters: Tensor, factor: Tensor) -> Tensor:
        return self._of(parameters, factor)[0] / factor

    def quantiles(self, parameters: Tensor, levels: Tensor, factor: Tensor) -> Tensor:
        from scipy.stats import nbinom

        mean, dispersion = self._of(parameters, factor)
        number, chance = _array(1 / dispersion), _array(1 / (1 + dispersion * mean))
        found = nbinom.ppf(_array(levels), number, chance)
        return _tensor(found, mean) / factor

    @staticmethod
    def _of(parameters: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        mean, dispersion = F.softplus(parameters).unbind(-1)
        return factor * (mean + _SMALL), (dispersion + _SMALL) * factor.rsqrt()


class QuantilesHead:
    """The quantiles at fixed levels: the middle one a, the others by distances softplus(b) from
    it, so that they never cross. The loss is the mean pinball loss over the levels, twice: with
    enough levels the CRPS (Gneiting & Ranjan 2011, eq. 9).

    Between levels the quantile function is linear, and beyond them it goes on in the slope of the
    outermost two.
    """

    def __init__(self, levels: list[float]) -> None:
        self.size = len(levels)
        self._levels = levels
        self._middle = min(range(len(levels)), key=lambda number: abs(levels[number] - 0.5))

    def loss(self, parameters: Tensor, value: Tensor, factor: Tensor) -> Tensor:
        over = value.unsqueeze(-1) - self._of(parameters)  # (..., P)
        levels = over.new_tensor(self._levels)
        return 2 * torch.maximum(levels * over, (levels - 1) * over).mean(-1)

    def mean(self, parameters: Tensor, factor: Tensor) -> Tensor:
        """The integral of the quantile function by the trapezoid rule, its ends at half the
        outermost levels."""
        found, levels = self._of(parameters), parameters.new_tensor(self._levels)
        bounds = torch.cat(
            [levels.new_zeros(1), 0.5 * (levels[1:] + levels[:-1]), levels.new_ones(1)]
        )
        return (found * bounds.diff()).sum(-1)

    def quantiles(self, parameters: Tensor, levels: Tensor, factor: Tensor) -> Tensor:
        found, known = self._of(parameters), parameters.new_tensor(self._levels)
        if self.size == 1:
            return found[..., 0].expand(levels.shape)
        right = torch.searchsorted(known, levels.to(known.dtype).contiguous())
        right = right.clamp(1, self.size - 1)
        found = found.expand(*levels.shape, self.size)
        high = found.gather(-1, right.unsqueeze(-1)).squeeze(-1)
        low = found.gather(-1, right.unsqueeze(-1) - 1).squeeze(-1)
        share = (levels - known[right - 1]) / (known[right] - known[right - 1])
        return low + (high - low) * share.to(low.dtype)

    def _of(self, parameters: Tensor) -> Tensor:
        """The quantiles (..., P), ascending."""
        middle = self._middle
        distances = F.softplus(parameters)
        centre = parameters[..., middle : middle + 1]
        above = centre + distances[..., middle + 1 :].cumsum(-1)
        below = centre - distances[..., :middle].flip(-1).cumsum(-1).flip(-1)
        return torch.cat([below, centre, above], -1)


def make_head(config: ForecastModelConfig) -> Head:
    """The head that the configuration names."""
    if config.head == "point":
        return PointHead(config.loss)
    if config.head == "quantiles":
        return QuantilesHead(config.levels)
    kinds: dict[str, type[Head]] = {
        "gaussian": GaussianHead,
        "student": StudentHead,
        "negative_binomial": NegativeBinomialHead,
    }
    return kinds[config.head]()


def check_head(config: ForecastModelConfig) -> None:
    """Raises RunError where the head needs a library that is not installed."""
    if config.head in ("student", "negative_binomial"):
        _special()


def _special() -> Any:
    try:
        from scipy import special
    except ImportError:
        raise RunError(
            "the quantiles of Student's t and of counts need scipy; install it with: pip install "
            "'recurrent-seq2seq[forecasting]'"
        ) from None
    return special


def _array(values: Tensor) -> np.ndarray:
    return values.detach().double().cpu().numpy()


def _tensor(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.as_tensor(np.asarray(values)).to(like.device, like.dtype)
