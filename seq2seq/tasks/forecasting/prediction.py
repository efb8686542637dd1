"""From a model and a batch of windows to forecasts: points, quantiles, paths."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seq2seq.tasks.forecasting.calibration import calibrated, correlated
from seq2seq.tasks.forecasting.model import ForecastModel, Outlook
from seq2seq.tasks.forecasting.windows import Batch


class Prediction(NamedTuple):
    """Forecasts of scaled values."""

    mean: Tensor  # (B, H, C)
    quantiles: Tensor  # (B, Q, H, C)
    paths: Tensor | None  # (B, P, H, C)


def predict(
    model: ForecastModel,
    batch: Batch,
    levels: Tensor,  # (Q,) float64, ascending
    uniform: Tensor | None,  # (B, H, P, C): random numbers of the paths, if any are drawn
    calibration: Sequence[float] | None,  # the levels of ``model.offsets``; None: not calibrated
) -> Prediction:
    """Forecasts of a batch; a model that samples needs ``uniform``."""
    if model.samples:
        assert uniform is not None
        paths = model.sample(batch, uniform).movedim(2, 1)  # (B, P, H, C)
        mean = paths.mean(1)
        quantiles = torch.quantile(paths, levels.to(paths), dim=1).movedim(0, 1)
        quantiles = calibrated(model, quantiles, levels, calibration, torch.ones_like(mean))
        return Prediction(mean, quantiles, paths)
    outlook = model.ahead(batch)
    factor = outlook.factor * batch.scale.unsqueeze(1)
    parameters = outlook.parameters.float()
    mean = outlook.shift + outlook.factor * model.head.mean(parameters, factor)
    quantiles = _quantiles(model, outlook, factor, levels, calibration)
    paths = None
    if uniform is not None:
        ranks = correlated(uniform.movedim(2, 1), model.ranks)  # (B, P, H, C)
        paths = _drawn(model, outlook, factor, ranks, calibration)
    return Prediction(mean, quantiles, paths)


def _quantiles(
    model: ForecastModel,
    outlook: Outlook,
    factor: Tensor,
    levels: Tensor,
    calibration: Sequence[float] | None,
) -> Tensor:
    """(B, Q, H, C)"""
    found = []
    parameters = outlook.parameters.float()
    for level in levels:
        at = level.to(parameters.dtype).expand(outlook.shift.shape)
        z = model.head.quantiles(parameters, at, factor)
        found.append(outlook.shift + outlook.factor * z)
    return calibrated(model, torch.stack(found, 1), levels, calibration, outlook.factor)


def _drawn(
    model: ForecastModel,
    outlook: Outlook,
    factor: Tensor,
    ranks: Tensor,
    calibration: Sequence[float] | None,
) -> Tensor:
    """Paths (B, P, H, C): each value the calibrated quantile at its rank (B, P, H, C)."""
    grid = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    values = _quantiles(model, outlook, factor, grid, calibration)  # (B, 99, H, C)
    place = (ranks.clamp(0.01, 0.99) - 0.01) / 0.98 * 98  # on the grid
    low = place.floor().long().clamp(0, 97)
    below, above = values.gather(1, low), values.gather(1, low + 1)
    return below + (above - below) * (place - low).to(values.dtype)


def random_numbers(
    names: Sequence[str],
    lengths: Sequence[int],
    seed: int,
    horizon: int,
    paths: int,
    targets: int,
) -> Tensor:
    """The random numbers of sampled paths, float32 (B, H, P, C) in (0, 1).

    They follow from the seed, the name of a series and its length, so that they are the same alone
    and in a batch, and those of a shorter horizon are the first of a longer one's.
    """
    drawn = np.empty((len(names), horizon, paths, targets), dtype=np.float32)
    for row, (name, length) in enumerate(zip(names, lengths, strict=True)):
        digest = hashlib.sha256(str(name).encode()).digest()
        key = [seed, int(length), int.from_bytes(digest[:8], "little")]
        random = np.random.default_rng(key)
        drawn[row] = random.random((horizon, paths, targets), dtype=np.float32)
    return torch.from_numpy(np.clip(drawn, 1e-6, 1 - 1e-6))
