"""Simple forecasts that a network corrects: it learns what is left of the values.

Everything here works on scaled windows (see ``scaling``) and reads the past alone. A base gives
shift and factor for each step of past and future, and a network works on (value - shift)/factor.
Additive: shift = base, factor = 1. Multiplicative: shift = factor = base, so that a network sees
the ratio to the base, less 1. Sizes: B windows, L context, H horizon, C targets, m season.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.tasks.forecasting.config import ForecastModelConfig, base_of
from seq2seq.tasks.forecasting.inputs import Sizes
from seq2seq.tasks.forecasting.linear import linear

_TINY = 1e-6  # beside squares of changes: a constant window
_LEAST = 1e-4  # of a factor: values are positive, scaled by their mean


class Normal(NamedTuple):
    """Shift and factor (B, L + H, C) of the steps of windows."""

    shift: Tensor
    factor: Tensor


class Base(nn.Module):
    """The base that ``model.base`` names.

    - last: the last value.
    - mean: the mean of the context.
    - last and mean with ``model.reversion``: h steps ahead the same times ``exp(-k h)``, so that it
      falls back to 0, the mean by which values are scaled (see ``Reversion``).
    - regression: a learned linear map of the covariates at each step (calendar, known), and the
      mean over the context of what it leaves (a profile of the day, as in Lin et al. 2024,
      CycleNet). The network does not read the covariates then.
    - velocity: the line through the last two values, in the future; in the past the last value.
    - steady_velocity: the same with a mean of all changes from step to step, weights
      exp(-rate * age). The rate is learned, as a function of how noisy the past is: measured
      positions that jump about ask for a long mean, smooth ones for the last change alone (see
      ``VelocityRate``).
    - seasonal: the last season, repeated (before it, too).
    - smoothing: level times or plus season, both smoothed exponentially over the context (the idea
      of Smyl 2020, section 3). With season k = K the last, the level of a season its mean and
      ratio_k(j) the value at phase j over (or minus) that level, the season's profile is
      s(j) = sum_k w_k ratio_k(j) / sum_k w_k with w_k = (1 - gamma)^(K - k). The level is the mean
      of value over (or minus) profile with weights (1 - alpha)^age. alpha and gamma are learned.
    """

    def __init__(self, config: ForecastModelConfig, sizes: Sizes) -> None:
        super().__init__()
        self.kind, self.horizon = base_of(config), config.horizon
        self.multiplicative = config.base_form == "multiplicative"
        self.season = sizes.season if self.kind in ("seasonal", "smoothing") else 1
        self.regression = None
        if self.kind == "regression":
            self.regression = nn.Linear(sizes.features, sizes.targets, bias=False)
            nn.init.zeros_(self.regression.weight)
        self.rate = VelocityRate() if self.kind == "steady_velocity" else None
        self.reversion = Reversion(sizes.targets, config.horizon) if config.reversion else None
        self.joint = config.channels == "joint"
        self.rates = nn.Parameter(torch.tensor([0.0, -1.0])) if self.kind == "smoothing" else None

    def forward(self, past: Tensor, observed: Tensor, features: Tensor) -> Normal:
        """past, observed (B, L, C), features (B, L + H, K)"""
        batch, steps, targets = past.shape
        if self.kind == "none":
            shape = (batch, steps + self.horizon, targets)
            return Normal(past.new_zeros(()).expand(shape), past.new_ones(()).expand(shape))
        if self.kind == "smoothing":
            level, profile = self._smoothed(past, observed)
            base = level * profile if self.multiplicative else level + profile
        elif self.regression is not None:
            profile = linear(self.regression, features)  # (B, L + H, C)
            base = profile + _mean(past - profile[:, :steps], observed)
            return Normal(base, torch.ones_like(base))
        elif self.kind == "mean":
            base = _mean(past, observed)
        else:
            base = _last_season(past, observed, self.season)  # (B, m, C)
        base = base[:, _phases(steps, self.horizon, self.season, past.device)]
        if self.kind in ("velocity", "steady_velocity") and steps > 1:
            ahead = torch.arange(1 - steps, self.horizon + 1, device=past.device).clamp_min(0)
            base = base + ahead[:, None] * self._velocity(past)
        if self.reversion is not None:
            base = torch.cat([base[:, :steps], base[:, steps:] * self.reversion()], 1)
        if self.multiplicative:
            base = base.clamp_min(_LEAST)
            return Normal(base, base)
        return Normal(base, torch.ones_like(base))

    def _velocity(self, past: Tensor) -> Tensor:
        """past (B, L, C) -> change a step (B, 1, C)"""
        changes = past.diff(dim=1)
        if self.rate is None:
            return changes[:, -1:]
        rate = self.rate(changes, self.joint)  # (B, 1 or C)
        age = torch.arange(changes.shape[1] - 1, -1, -1, device=past.device)
        weight = torch.softmax(-rate.unsqueeze(1) * age[:, None], 1)  # (B, L - 1, 1 or C)
        return (weight * changes).sum(1, keepdim=True)

    def _smoothed(self, past: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """level (B, 1, C) and profile (B, m, C)"""
        assert self.rates is not None
        alpha, gamma = self.rates.sigmoid()
        season, (batch, steps, targets) = self.season, past.shape
        number = steps // season  # K whole seasons, the last ones
        shape = (batch, number, season, targets)
        values = past[:, steps - number * season :].reshape(shape)
        seen = observed[:, steps - number * season :].reshape(shape)
        mean = (values * seen).sum(2, keepdim=True) / seen.sum(2, keepdim=True).clamp_min(1)
        ratio = values / mean.clamp_min(_LEAST) if self.multiplicative else values - mean
        age = torch.arange(number - 1, -1, -1, device=past.device)
        weight = seen * ((1 - gamma) ** age)[:, None, None]  # (B, K, m, C)
        neutral = 1.0 if self.multiplicative else 0.0
        total = weight.sum(1)
        profile = (weight * ratio).sum(1) / total.clamp_min(1e-12)
        profile = torch.where(total > 0, profile, torch.full_like(profile, neutral))
        if self.multiplicative:
            profile = profile.clamp_min(_LEAST)
        tiled = profile[:, _phases(steps, 0, season, past.device)]  # (B, L, C)
        plain = past / tiled if self.multiplicative else past - tiled
        age = torch.arange(steps - 1, -1, -1, device=past.device)
        weight = observed * ((1 - alpha) ** age)[:, None] + 1e-12
        level = (weight * plain).sum(1, keepdim=True) / weight.sum(1, keepdim=True)
        return level, profile


class Reversion(nn.Module):
    """What is left of a distance from the mean h steps ahead of H, with a rate k for each target:

        exp(-k h),  k = exp(5 w) / H

    the forecast of an autoregression of first order around its mean (Box and Jenkins 1970). A
    network that reads distances to its base knows no level, and cannot learn to come back to one. w
    is learned; the 5 lets it move far enough in the few steps that a network needs.
    """

    def __init__(self, targets: int, horizon: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((targets,), -0.4))  # 87% are left at the end
        self.horizon = horizon

    def forward(self) -> Tensor:
        """-> (H, C)"""
        ahead = torch.arange(1, self.horizon + 1, device=self.weight.device) / self.horizon
        return torch.exp(-torch.exp(5 * self.weight) * ahead[:, None])


class VelocityRate(nn.Module):
    """How fast older changes are forgotten, from the changes d_t of a window and the changes of
    those, a_t = d_(t + 1) - d_t:

        x = (log |a| + 2, log |d|, sum_t a_t a_(t + 1) / |a|^2)
        rate = softplus(W tanh(V x + v) + w)

    Noise in positions makes the third number -2/3, a real turn leaves it near or above 0. Joint
    targets are taken together, so that turning the plane changes nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 8), nn.Linear(8, 1)
        nn.init.constant_(self.second.bias, 2.0)  # the last change has most of the weight

    def forward(self, changes: Tensor, joint: bool) -> Tensor:
        """changes (B, L - 1, C) -> rate (B, 1) of ``joint`` targets, else (B, C)"""
        turns = changes.diff(dim=1)

        def total(values: Tensor) -> Tensor:
            found = values.sum(1)
            return found.sum(1, keepdim=True) if joint else found

        size, speed = total(turns.square()) + _TINY, total(changes.square()) + _TINY
        again = total(turns[:, 1:] * turns[:, :-1]) / size
        x = torch.stack([size.log() / 2 + 2, speed.log() / 2, again], -1)  # (B, C, 3)
        return F.softplus(linear(self.second, linear(self.first, x).tanh()))[..., 0]


def _mean(past: Tensor, observed: Tensor) -> Tensor:
    """(B, L, C) -> (B, 1, C)"""
    return (past * observed).sum(1, keepdim=True) / observed.sum(1, keepdim=True).clamp_min(1)


def _phases(steps: int, horizon: int, season: int, device: torch.device) -> Tensor:
    """(L + H,): which step of the season, counted from its last whole one, each step is."""
    return torch.arange(-steps, horizon, device=device) % season


def _last_season(past: Tensor, observed: Tensor, season: int) -> Tensor:
    """The last season (B, m, C); what is missing in it comes from the latest season before that
    has it, and where none has, it is the last value."""
    steps = past.shape[1]
    found, seen = past[:, steps - season :], observed[:, steps - season :]
    if season == 1 or bool(seen.all()):
        return found
    for back in range(2, steps // season + 1):
        older = slice(steps - back * season, steps - (back - 1) * season)
        fresh = (seen == 0) & (observed[:, older] > 0)
        found = torch.where(fresh, past[:, older], found)
        seen = torch.maximum(seen, observed[:, older])
    return torch.where(seen > 0, found, past[:, -1:])
