"""How good forecasts of a part are, beside the naive forecasts of the same windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seq2seq.tasks.forecasting.naive import NAIVE
from seq2seq.tasks.forecasting.prediction import Predicted
from seq2seq.tasks.forecasting.rolling import Origins, past_values
from seq2seq.tasks.forecasting.scores import mase_scale, score
from seq2seq.tasks.forecasting.series_set import SeriesSet

MOST_VALUES = 2_000_000  # whose quantiles are scored; of more, windows evenly spread
_SHOWN = ("mse", "mae", "smape", "mase", "rse", "crps", "coverage_80")

Scores = dict[str, dict[str, float]]  # of "model" and of each naive forecast


def naive_forecasts(
    series: SeriesSet, where: Origins, horizon: int, season: int, context: int
) -> dict[str, np.ndarray]:
    """Each naive forecast (N, H, C) of the windows. They read as much of the past as the model, and
    a season at least; a value that no past has is forecast as 0."""
    past = past_values(series, where, max(context, season))
    return {name: np.nan_to_num(naive(past, horizon, season)) for name, naive in NAIVE.items()}


def scaled_errors(
    actual: np.ndarray, forecast: np.ndarray, deviation: np.ndarray
) -> tuple[float, float]:
    """Mean squared and mean absolute error of (N, H, C), in units of the standard deviations (C,)
    of training."""
    error = (actual - forecast) / deviation
    return float(np.nanmean(error**2)), float(np.nanmean(np.abs(error)))


def evaluate(
    actual: np.ndarray,  # (N, H, C), NaN where missing
    series: SeriesSet,
    index: np.ndarray,  # (N,) the series of each window
    found: Predicted,
    levels: Sequence[float],
    naive: dict[str, np.ndarray],
    season: int,
    ends: np.ndarray,  # of each series: the seasonal naive error up to here is the unit of mase
    deviation: np.ndarray,  # (C,) of training
) -> Scores:
    """Scores of the model and of the naive forecasts. mse, mae, crps and pinball are in units of
    the standard deviation of training; mse and rse score the mean, the others the median."""
    scale = _mase_scales(series, index, season, ends)
    every = max(1, -(-actual.size // MOST_VALUES))
    scores = {"model": _point(actual, found.mean, found.median, scale, deviation)}
    part = slice(None, None, every)
    spread = score(
        actual[part] / deviation,
        found.median[part] / deviation,
        levels=levels,
        quantiles=found.quantiles[part] / deviation,
    )
    names = [n for n in spread if n in ("pinball", "crps") or n.startswith("coverage")]
    scores["model"] |= {name: spread[name] for name in names}
    for name, forecast in naive.items():
        scores[name] = _point(actual, forecast, forecast, scale, deviation)
    return scores


def _point(
    actual: np.ndarray,
    mean: np.ndarray,
    median: np.ndarray,
    scale: np.ndarray,
    deviation: np.ndarray,
) -> dict[str, float]:
    own = score(actual, median, scale=scale)
    scores = {
        "mse": scaled_errors(actual, mean, deviation)[0],
        "mae": scaled_errors(actual, median, deviation)[1],
        "smape": own["smape"],
    }
    if "mase" in own:
        scores["mase"] = own["mase"]
    scores["rse"] = _relative(actual, mean)
    return scores


def _relative(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Root relative squared error, as ``scores`` defines it."""
    spread = np.nansum((actual - np.nanmean(actual)) ** 2)
    return float((np.nansum((actual - forecast) ** 2) / spread) ** 0.5) if spread > 0 else np.nan


def _mase_scales(series: SeriesSet, index: np.ndarray, season: int, ends: np.ndarray) -> np.ndarray:
    """(N, C) of each window: the seasonal naive error inside the training part of its series."""
    kinds, place = np.unique(index, return_inverse=True)
    scales = [mase_scale(series[int(n)].values[: int(ends[n])], season) for n in kinds]
    return np.stack(scales)[place]


def as_json(scores: Scores) -> dict[str, dict[str, float | None]]:
    """The scores for a JSON file, which has no NaN: null, such as mase of a constant series."""
    return {
        kind: {name: value if np.isfinite(value) else None for name, value in own.items()}
        for kind, own in scores.items()
    }


def table(scores: Scores) -> list[str]:
    """The scores as lines: a head, the model, the naive forecasts; and a verdict."""
    names = [name for name in _SHOWN if name in scores["model"]]
    width = max(map(len, scores))
    lines = [" ".join([" " * width, *(f"{name:>11}" for name in names)])]
    for kind, own in scores.items():
        cells = [f"{own[name]:11.4f}" if name in own else " " * 11 for name in names]
        lines.append(" ".join([f"{kind:{width}}", *cells]).rstrip())
    return [*lines, verdict(scores)]


def verdict(scores: Scores) -> str:
    """Whether the model beats every naive forecast, by the mean absolute error."""
    naive = {name: own["mae"] for name, own in scores.items() if name != "model"}
    best = min(naive, key=lambda name: naive[name])
    own = scores["model"]["mae"]
    if own < naive[best]:
        less = 100 * (1 - own / naive[best]) if naive[best] else 0.0
        return f"mean absolute error {less:.1f}% below the best naive forecast ({best})"
    return (
        f"the model LOSES to the naive forecast '{best}': mean absolute error {own:.4f}, naive "
        f"{naive[best]:.4f}"
    )
