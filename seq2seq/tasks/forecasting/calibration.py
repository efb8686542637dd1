"""Quantiles and paths that follow the errors on the validation set.

A network's quantiles are often too narrow, and a point forecast has none. For each level q, step h
and target c the offset is the q-quantile of (value - predicted quantile) / factor over the windows
of the validation set, and is added to the predicted quantile (conformalised quantile regression,
Romano et al. 2019, one-sided for each level). A forecast of quantile q then lies above a share q of
the validation values.

Paths of a model that forecasts the whole horizon at once need to know which errors go together:
``ranks`` (H, H) is the correlation between steps of the errors' normal scores, their ranks over the
validation windows as quantiles of a normal distribution (a Gaussian copula).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from seq2seq.tasks.forecasting.committee import Model

LEAST = 40  # values from which a quantile is taken; of fewer, steps and then targets are pooled
# The i-th of n errors is the quantile i / (n + 1), as conformal prediction has it: a new error lies
# below it with that probability. Other estimates are narrower where errors are few.
_RANKS: Final = "weibull"


def calibrated(
    model: Model,
    quantiles: Tensor,  # (B, Q, H, C)
    levels: Tensor,  # (Q,)
    calibration: Sequence[float] | None,
    unit: Tensor,  # (B, H, C): of the offsets, the factor times the window's width
) -> Tensor:
    """The quantiles with their offsets, ascending. Between calibrated levels an offset is
    interpolated, beyond them it is that of the outermost one, and so is that of the last step for
    steps beyond the horizon of training."""
    if calibration is not None:
        offsets = _at(model.offsets.double().cpu(), calibration, levels)  # (Q, H', C)
        steps = torch.arange(quantiles.shape[2]).clamp_max(offsets.shape[1] - 1)
        offsets = offsets[:, steps].to(quantiles.device, quantiles.dtype)
        quantiles = quantiles + offsets * unit.unsqueeze(1)
    quantiles = quantiles.sort(1).values
    if model.config.head == "negative_binomial":
        quantiles = quantiles.clamp_min(0)
    return quantiles


def _at(offsets: Tensor, known: Sequence[float], levels: Tensor) -> Tensor:
    """offsets (Q', H, C) at the levels ``known`` -> (Q, H, C) at ``levels``"""
    if len(known) == 1:
        return offsets.expand(len(levels), -1, -1)
    grid = torch.tensor(known, dtype=torch.float64)
    right = torch.searchsorted(grid, levels.cpu().double()).clamp(1, len(known) - 1)
    share = ((levels.cpu() - grid[right - 1]) / (grid[right] - grid[right - 1])).clamp(0, 1)
    return torch.lerp(offsets[right - 1], offsets[right], share[:, None, None])


def learn_offsets(errors: np.ndarray, levels: Sequence[float]) -> Tensor:
    """errors (N, Q, H, C): (value - predicted quantile) / factor, NaN where there is no value
    -> offsets (Q, H, C) float32.

    Where a step of a target has fewer than ``LEAST`` errors, those of all steps count, then those
    of all targets; with fewer even then the offsets are 0.
    """
    _, _, steps, targets = errors.shape
    found = np.zeros((len(levels), steps, targets), dtype=np.float32)
    each = (~np.isnan(errors[:, 0])).sum(0)  # (H, C)
    for number, level in enumerate(levels):
        at = errors[:, number]
        for target in range(targets):
            own = at[:, :, target]
            if each[:, target].min() >= LEAST:
                found[number, :, target] = np.nanquantile(own, level, axis=0, method=_RANKS)
            elif each[:, target].sum() >= LEAST:
                found[number, :, target] = np.nanquantile(own, level, method=_RANKS)
            elif each.sum() >= LEAST:
                found[number, :, target] = np.nanquantile(at, level, method=_RANKS)
    return torch.from_numpy(found)


def learn_ranks(errors: np.ndarray) -> Tensor:
    """errors (N, H, C) of the median, NaN where there is no value -> correlation (H, H) float32 of
    their normal scores; the identity where few windows are whole."""
    steps = errors.shape[1]
    whole = errors[~np.isnan(errors).any((1, 2))]
    if len(whole) < LEAST:
        return torch.eye(steps)
    place = whole.argsort(0).argsort(0) + 0.5
    scores = torch.special.ndtri(torch.from_numpy(place / len(whole)))  # (N, H, C)
    rows = scores.movedim(2, 1).flatten(0, 1)  # (N * C, H)
    correlation = rows.T @ rows / rows.square().mean(0).mul(len(rows))
    correlation = 0.98 * correlation + 0.02 * torch.eye(steps, dtype=correlation.dtype)
    return correlation.float()  # the share of the identity keeps it positive definite


def correlated(uniform: Tensor, ranks: Tensor) -> Tensor:
    """Independent random numbers (B, P, H, C) in (0, 1) -> ranks with the given correlation over
    the steps."""
    steps = uniform.shape[2]
    root = torch.linalg.cholesky(ranks[:steps, :steps].double())
    normal = torch.special.ndtri(uniform.double())
    mixed = torch.einsum("hk,bpkc->bphc", root, normal)
    return torch.special.ndtr(mixed).to(uniform.dtype)
