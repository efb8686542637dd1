"""Scores of forecasts, from utilsforecast where it has them.

Sizes: N forecasts (windows), H steps, C targets, Q quantile levels, P sampled paths. A target that
is NaN is not scored. With the error ``e = actual - forecast``:

    mse, mae      e^2, abs(e); mean of all values
    smape         200 abs(e) / (abs(actual) + abs(forecast)), 0 where both are 0;
                  mean of each forecast of each target, then of all (as in M4)
    mase          mean abs(e) / scale, where scale is the mean absolute error of the seasonal naive
                  forecast one season ahead inside the history; averaged as smape
    rse           sqrt(sum e^2 / sum (actual - mean of all actual)^2) (as in LSTNet)
    pinball       max(q e, (q - 1) e) for the forecast of quantile q; mean of all values and levels
    crps          2 pinball: tends to the CRPS with more levels that lie evenly
    coverage_80   share of the actual values inside the interval from 10% to 90%

Sources: Makridakis, Spiliotis and Assimakopoulos 2020, "The M4 Competition" (sMAPE, MASE); Lai et
al. 2018, LSTNet, equation 15 (RSE); Gneiting and Raftery 2007, equation 21 (CRPS).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from seq2seq.errors import UsageError

if TYPE_CHECKING:
    from pandas import DataFrame

_ROWS = 500_000  # of one data frame: bounds the memory that scoring takes


def check_installed() -> None:
    """Raises UsageError where utilsforecast is missing: before hours of training, not after."""
    if importlib.util.find_spec("utilsforecast") is None:
        raise UsageError(
            "scores of forecasts need utilsforecast, which is not installed; install it with: pip "
            "install 'recurrent-seq2seq[forecasting]'"
        )


def score(
    actual: np.ndarray,  # (N, H, C), NaN where missing
    forecast: np.ndarray,  # (N, H, C)
    *,
    levels: Sequence[float] = (),
    quantiles: np.ndarray | None = None,  # (N, Q, H, C)
    scale: np.ndarray | None = None,  # (N, C): see ``mase_scale``
    coverages: Sequence[float] = (0.8,),
) -> dict[str, float]:
    """The scores above: mse, mae, smape, rse; mase with ``scale``; with ``quantiles`` pinball,
    crps and the coverage of the intervals whose bounds are among ``levels``.

    Raises UsageError where shapes differ, nothing can be scored, or a forecast is NaN or infinite.
    """
    actual, forecast = _checked(actual, forecast)
    if quantiles is not None:
        quantiles = np.asarray(quantiles, dtype=np.float64)
        expected = (len(actual), len(levels), *actual.shape[1:])
        if quantiles.shape != expected:
            raise UsageError(f"quantiles have shape {quantiles.shape}; expected {expected}")
    bounds = {} if quantiles is None else _bounds(levels, coverages)

    parts = []
    rows = actual.shape[1] * actual.shape[2]
    windows = max(1, _ROWS // rows)
    for start in range(0, len(actual), windows):
        part = slice(start, start + windows)
        inside = None if quantiles is None else quantiles[part]
        frame = _frame(actual[part], forecast[part], inside)
        if len(frame):
            parts.append(_score_frame(frame, levels if quantiles is not None else (), bounds))
    if not parts:
        raise UsageError("no value to score: all actual values are missing")

    count = np.concatenate([part["count"] for part in parts])
    each = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    scores = {name: float(np.average(each[name], weights=count)) for name in ("mse", "mae")}
    scores["smape"] = 200 * float(each["smape"].mean())
    if scale is not None:
        scores["mase"] = _mase(each["mae"], scale, actual)
    spread = actual - np.nanmean(actual)
    total = float(np.nansum(spread**2))
    scores["rse"] = (scores["mse"] * count.sum() / total) ** 0.5 if total > 0 else float("nan")
    for name in each:
        if name == "pinball" or name.startswith("coverage"):
            scores[name] = float(np.average(each[name], weights=count))
    if "pinball" in scores:
        scores["crps"] = 2 * scores["pinball"]
    return scores


def mase_scale(history: np.ndarray, season: int) -> np.ndarray:
    """The mean absolute error of the seasonal naive forecast inside a history (T, C): (C,), the
    divisor of MASE; NaN for a column without two values a season apart."""
    history = np.asarray(history, dtype=np.float64)
    steps = np.abs(history[season:] - history[:-season])
    count = (~np.isnan(steps)).sum(0)
    return np.where(count > 0, np.nansum(steps, axis=0) / np.maximum(count, 1), np.nan)


def path_crps(actual: np.ndarray, paths: np.ndarray) -> np.ndarray:
    """The CRPS of each value (H, C) from sampled paths (P, H, C).

    ``E|X - y| - E|X - X'| / 2`` over the samples, the second mean over all pairs of different
    samples, computed from the sorted samples. Needs two paths or more.
    """
    count = len(paths)
    if count < 2:
        raise UsageError(f"CRPS from {count} sampled paths; expected 2 or more")
    ordered = np.sort(np.asarray(paths, dtype=np.float64), axis=0)
    weight = 2 * np.arange(1, count + 1) - count - 1  # sum of signs of a sample's pairs
    pairs = np.tensordot(weight, ordered, axes=1) / (count * (count - 1))  # E|X - X'| / 2
    return np.abs(ordered - actual).mean(0) - pairs


def displacement(actual: np.ndarray, forecast: np.ndarray) -> dict[str, float]:
    """Errors of trajectories, whose C targets are coordinates: Euclidean distances, in their unit.

    ``ade``: the mean over all steps that are there; ``fde``: the mean at the last step;
    ``mean_path`` and ``median_path``: mean and median over trajectories of each one's mean
    distance. (N, H, C) each.
    """
    actual, forecast = _checked(actual, forecast)
    distance = np.sqrt(((actual - forecast) ** 2).sum(-1))  # (N, H)
    there = ~np.isnan(distance)
    distance, there = distance[there.any(-1)], there[there.any(-1)]
    paths = np.nanmean(distance, axis=-1)
    last = distance[:, -1][there[:, -1]]
    return {
        "ade": float(distance[there].mean()),
        "fde": float(last.mean()) if len(last) else float("nan"),
        "mean_path": float(paths.mean()),
        "median_path": float(np.median(paths)),
    }


def _checked(actual: np.ndarray, forecast: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    actual, forecast = (np.asarray(one, dtype=np.float64) for one in (actual, forecast))
    if actual.ndim != 3 or actual.shape != forecast.shape:
        raise UsageError(
            f"actual values have shape {actual.shape}, forecasts {forecast.shape}; "
            "expected (forecasts, steps, targets) for both"
        )
    if np.isnan(actual).all():
        raise UsageError("no value to score: all actual values are missing")
    wrong = ~np.isfinite(forecast) & ~np.isnan(actual)
    if wrong.any():
        n, h, c = np.argwhere(wrong)[0]
        raise UsageError(
            f"forecast {n} is {forecast[n, h, c]} at step {h + 1} of target {c}; "
            "expected a finite number"
        )
    return actual, forecast


def _bounds(levels: Sequence[float], coverages: Sequence[float]) -> dict[str, tuple[int, int]]:
    """Which two levels bound each interval, by the name of its score."""
    bounds = {}
    for coverage in coverages:
        wanted = ((1 - coverage) / 2, (1 + coverage) / 2)
        near = [np.flatnonzero(np.isclose(levels, level, atol=1e-9)) for level in wanted]
        if all(map(len, near)):
            bounds[f"coverage_{100 * coverage:g}"] = (int(near[0][0]), int(near[1][0]))
    return bounds


def _frame(actual: np.ndarray, forecast: np.ndarray, quantiles: np.ndarray | None) -> DataFrame:
    """One row a value that is there; ``unique_id`` numbers the forecasts of single targets."""
    import pandas

    count, _, targets = actual.shape
    ids = np.arange(count * targets).reshape(count, 1, targets)
    there = ~np.isnan(actual)
    columns = {
        "unique_id": np.broadcast_to(ids, actual.shape)[there],
        "y": actual[there],
        "model": forecast[there],
    }
    for level in range(0 if quantiles is None else quantiles.shape[1]):
        columns[f"q{level}"] = quantiles[:, level][there]  # type: ignore[index]
    return pandas.DataFrame(columns)


def _score_frame(
    frame: DataFrame, levels: Sequence[float], bounds: dict[str, tuple[int, int]]
) -> dict[str, np.ndarray]:
    """Each score of each id, in the order of the ids."""
    from utilsforecast import losses

    parts = {
        "count": frame.groupby("unique_id").size().to_numpy(),
        "mse": losses.mse(frame, ["model"])["model"].to_numpy(),
        "mae": losses.mae(frame, ["model"])["model"].to_numpy(),
        "smape": losses.smape(frame, ["model"])["model"].to_numpy(),
    }
    if len(levels):
        columns = {"model": [f"q{n}" for n in range(len(levels))]}
        pinball = losses.mqloss(frame, columns, np.asarray(levels)).sort_values("unique_id")
        parts["pinball"] = pinball["model"].to_numpy()
    for name, (lower, upper) in bounds.items():
        named = frame.rename(columns={f"q{lower}": "model-lo-0", f"q{upper}": "model-hi-0"})
        parts[name] = losses.coverage(named, ["model"], 0)["model"].to_numpy()
    return parts


def _mase(error: np.ndarray, scale: np.ndarray, actual: np.ndarray) -> float:
    """Mean of the scaled errors; forecasts of series that never change have no scale and are left
    out."""
    scale = np.asarray(scale, dtype=np.float64)
    if scale.shape != (len(actual), actual.shape[2]):
        expected = (len(actual), actual.shape[2])
        raise UsageError(f"scales of MASE have shape {scale.shape}; expected {expected}")
    scale = scale[(~np.isnan(actual)).any(1)]  # in the order of the ids
    usable = scale > 0
    return float((error[usable] / scale[usable]).mean()) if usable.any() else float("nan")
