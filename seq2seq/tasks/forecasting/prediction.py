"""From a model and a batch of windows to forecasts: points, quantiles, paths."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seq2seq.tasks.forecasting.calibration import calibrated, correlated
from seq2seq.tasks.forecasting.committee import Model
from seq2seq.tasks.forecasting.model import ForecastModel, Outlook
from seq2seq.tasks.forecasting.widths import widths
from seq2seq.tasks.forecasting.windows import Batch, WindowCutter

BLOCK = 64  # windows that are computed at once
SAMPLED_ROWS = 2048  # paths that are drawn at once
# levels between which quantiles are interpolated where paths are drawn from them
_GRID = (0.001, 0.005, *(number / 100 for number in range(1, 100)), 0.995, 0.999)


class Prediction(NamedTuple):
    """Forecasts of scaled values."""

    mean: Tensor  # (B, H, C)
    quantiles: Tensor  # (B, Q, H, C)
    paths: Tensor | None  # (B, P, H, C)


def predict(
    model: Model,
    batch: Batch,
    levels: Tensor,  # (Q,) float64, ascending
    uniform: Tensor | None,  # (B, H, P, C): random numbers of the paths, if any are drawn
    calibration: Sequence[float] | None,  # the levels of ``model.offsets``; None: not calibrated
) -> Prediction:
    """Forecasts of a batch; a model that samples needs ``uniform``."""
    if isinstance(model, ForecastModel) and model.samples:
        assert uniform is not None
        paths = model.sample(batch, uniform).movedim(2, 1)  # (B, P, H, C)
        mean = paths.mean(1)
        quantiles = _between(paths.sort(1).values, levels.to(paths))
        unit = widths(model, batch).expand_as(mean)
        quantiles = calibrated(model, quantiles, levels, calibration, unit)
        return Prediction(mean, quantiles, paths)
    outlook = model.ahead(batch)
    factor = outlook.factor * batch.scale.unsqueeze(1)
    parameters = outlook.parameters.float()
    mean = outlook.shift + outlook.factor * model.head.mean(parameters, factor)
    unit = outlook.factor * widths(model, batch)  # of the offsets
    quantiles = _quantiles(model, outlook, factor, unit, levels, calibration)
    drawn = None
    if uniform is not None:
        ranks = correlated(uniform.movedim(2, 1), model.ranks)  # (B, P, H, C)
        drawn = _drawn(model, outlook, factor, unit, ranks, calibration)
    return Prediction(mean, quantiles, drawn)


def _between(ordered: Tensor, levels: Tensor) -> Tensor:
    """The quantiles (B, Q, H, C) of sorted samples (B, P, H, C), linear between two samples;
    torch.quantile takes no more than 16 million numbers."""
    place = levels * (ordered.shape[1] - 1)
    low = place.floor().long().clamp(0, max(0, ordered.shape[1] - 2))
    high = (low + 1).clamp_max(ordered.shape[1] - 1)
    share = (place - low)[:, None, None]
    return torch.lerp(ordered[:, low], ordered[:, high], share)


def _quantiles(
    model: Model,
    outlook: Outlook,
    factor: Tensor,
    unit: Tensor,
    levels: Tensor,
    calibration: Sequence[float] | None,
) -> Tensor:
    """(B, Q, H, C)"""
    found = []
    parameters = outlook.parameters.float()
    for level in levels:
        at = level.to(parameters).expand(outlook.shift.shape)
        z = model.head.quantiles(parameters, at, factor)
        found.append(outlook.shift + outlook.factor * z)
    return calibrated(model, torch.stack(found, 1), levels, calibration, unit)


def _drawn(
    model: Model,
    outlook: Outlook,
    factor: Tensor,
    unit: Tensor,
    ranks: Tensor,
    calibration: Sequence[float] | None,
) -> Tensor:
    """Paths (B, P, H, C): each value the calibrated quantile at its rank (B, P, H, C)."""
    grid = torch.tensor(_GRID, dtype=torch.float64)
    values = _quantiles(model, outlook, factor, unit, grid, calibration)  # (B, 103, H, C)
    grid = grid.to(ranks)
    ranks = ranks.clamp(_GRID[0], _GRID[-1])
    high = torch.searchsorted(grid, ranks.contiguous()).clamp(1, len(_GRID) - 1)
    below, above = values.gather(1, high - 1), values.gather(1, high)
    return torch.lerp(below, above, (ranks - grid[high - 1]) / (grid[high] - grid[high - 1]))


def random_numbers(
    names: Sequence[str] | np.ndarray,
    lengths: Sequence[int] | np.ndarray,
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


@dataclass(frozen=True)
class Asked:
    """What is asked of a forecast."""

    levels: tuple[float, ...]  # of quantiles, ascending
    horizon: int
    paths: int = 0  # 0: none; a model that samples draws ``default_paths`` all the same
    default_paths: int = 200
    seed: int = 1
    calibration: tuple[float, ...] | None = None  # levels of ``model.offsets``; None: not used
    bounds: tuple[float | None, float | None] = (None, None)  # which no forecast passes


class Predicted(NamedTuple):
    """Forecasts of N windows in the values' own unit, float64."""

    mean: np.ndarray  # (N, H, C)
    median: np.ndarray  # (N, H, C)
    quantiles: np.ndarray  # (N, Q, H, C)
    paths: np.ndarray | None  # (N, P, H, C)

    def within(self, lower: float | None, upper: float | None) -> Predicted:
        """The same, with values below ``lower`` raised to it and those above ``upper`` lowered."""
        if lower is None and upper is None:
            return self
        mean, median, quantiles, paths = (
            None if one is None else np.clip(one, lower, upper) for one in self
        )
        assert mean is not None and median is not None and quantiles is not None
        return Predicted(mean, median, quantiles, paths)


def predict_windows(
    model: Model,
    cutter: WindowCutter,
    index: np.ndarray,
    origins: np.ndarray,
    asked: Asked,
    progress: Callable[[int], object] = lambda count: None,
) -> Predicted:
    """Forecast from the ``origins`` (N,) of the series ``index`` (N,); reads nothing behind them.

    Windows are computed in blocks that always have the same number of rows, the last one filled
    up: products of one shape give a row the same bits whatever the rows beside it.
    """
    device = next(model.parameters()).device
    # mean and quantiles come from no fewer paths because fewer are to be given
    drawn = max(asked.paths, asked.default_paths if model.samples else 0)
    block = max(1, SAMPLED_ROWS // drawn) if model.samples else BLOCK
    levels = torch.tensor(sorted({0.5, *asked.levels}), dtype=torch.float64)
    kept = [i for i, level in enumerate(levels.tolist()) if level in asked.levels]
    middle = levels.tolist().index(0.5)
    names, parts, log = cutter.series.names, [], cutter.reach.log
    for begin in range(0, len(index), block):
        own = index[begin : begin + block]
        count = len(own)
        own = np.concatenate([own, np.repeat(own[-1:], block - count)])
        at = origins[begin : begin + block]
        at = np.concatenate([at, np.repeat(at[-1:], block - count)])
        batch, shift, scale = cutter.cut(own, at, at)  # targets end where the past does
        uniform = None
        if drawn:
            targets = batch.past.shape[2]
            uniform = random_numbers(names[own], at, asked.seed, asked.horizon, drawn, targets)
            uniform = uniform.to(device)
        found = predict(model, batch.to(device), levels, uniform, asked.calibration)
        shift, scale = shift[:count, None], scale[:count, None]
        quantiles = _own(
            found.quantiles[:count], shift[:, None], scale[:, None], asked.horizon, log
        )
        paths = None
        if asked.paths and found.paths is not None:
            given = found.paths[:count, : asked.paths]
            paths = _own(given, shift[:, None], scale[:, None], asked.horizon, log)
        if model.config.head == "negative_binomial":  # counts
            quantiles = quantiles.round()
            paths = None if paths is None else paths.round()
        mean = _own(found.mean[:count], shift, scale, asked.horizon, log)
        if log and model.samples and found.paths is not None:
            mean = _own(found.paths[:count], shift[:, None], scale[:, None], asked.horizon, log)
            mean = mean.mean(1)
        parts.append(Predicted(mean, quantiles[:, middle], quantiles[:, kept], paths))
        progress(count)
    mean, median, quantiles = (np.concatenate([part[n] for part in parts]) for n in range(3))
    sampled = [part.paths for part in parts if part.paths is not None]
    return Predicted(mean, median, quantiles, np.concatenate(sampled) if sampled else None)


def _own(
    scaled: Tensor, shift: np.ndarray, scale: np.ndarray, horizon: int, log: bool
) -> np.ndarray:
    """Scaled values (..., H, C) in their own unit; a mean of logarithms becomes the geometric
    mean."""
    values = shift + scale * scaled[..., :horizon, :].double().cpu().numpy()
    return np.exp(values) if log else values
