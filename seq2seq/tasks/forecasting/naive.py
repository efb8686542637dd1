"""Naive forecasts: what a model has to beat. They are computed and printed beside every model's.

All take ``values (..., T, C)``, the history, with NaN where a value is missing, and return the next
``horizon`` steps, ``(..., horizon, C)`` in float64. Leading dimensions are windows, computed at
once. A column without any value gives NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from seq2seq.errors import UsageError

Naive = Callable[[np.ndarray, int, int], np.ndarray]


def last(values: np.ndarray, horizon: int, season: int = 1) -> np.ndarray:
    """Repeats the last value that is there: ``y[T+h] = y[T]``."""
    values = _checked(values, horizon)
    repeated = _filled(values)[..., -1:, :]  # (..., 1, C)
    return np.repeat(repeated, horizon, axis=-2)


def seasonal(values: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """Repeats the last season: ``y[T+h] = y[T+h-k*season]``, with the smallest k that lies in the
    past.

    A value that is missing in the last season is taken from the season before, and so on; where no
    season has one, and where the history is shorter than a season, from ``last``.
    """
    values = _checked(values, horizon)
    if season < 1:
        raise UsageError(f"a season of {season} steps; expected 1 or more")
    steps = values.shape[-2]
    if season == 1 or steps < season:
        return last(values, horizon)
    seasons = steps // season
    recent = values[..., steps - seasons * season :, :]
    shape = (*values.shape[:-2], seasons, season, values.shape[-1])
    cycle = _filled(recent.reshape(shape), axis=-3)[..., -1, :, :]  # (..., season, C)
    cycle = np.where(np.isnan(cycle), _filled(values)[..., -1:, :], cycle)
    return cycle[..., np.arange(horizon) % season, :]


def drift(values: np.ndarray, horizon: int, season: int = 1) -> np.ndarray:
    """Prolongs the line through the first and the last value that are there.

    ``y[T+h] = y[T] + h (y[T] - y[1]) / (T - 1)``; the same as ``last`` where there is one value
    only.
    """
    values = _checked(values, horizon)
    return _prolonged(values, *_ends(values), horizon)


def constant_velocity(values: np.ndarray, horizon: int, season: int = 1) -> np.ndarray:
    """Prolongs the line through the last two values that are there."""
    values = _checked(values, horizon)
    _, second = _ends(values)
    steps = np.arange(values.shape[-2])[:, None]
    before = np.where(steps < second[..., None, :], values, np.nan)  # all before the last value
    first = _ends(before)[1]
    return _prolonged(values, np.where(first < 0, second, first), second, horizon)


def parabola(values: np.ndarray, horizon: int, season: int = 1) -> np.ndarray:
    """Prolongs the parabola that fits the whole history best, by least squares, each column apart.

    A column with fewer than three values gives what ``constant_velocity`` gives.
    """
    values = _checked(values, horizon)
    steps = values.shape[-2]
    scale = max(steps - 1, 1)
    powers = np.arange(3)
    past = (np.arange(1 - steps, 1) / scale)[:, None] ** powers  # (T, 3)
    future = (np.arange(1, horizon + 1) / scale)[:, None] ** powers  # (horizon, 3)
    there = ~np.isnan(values)
    if there.all():  # one product for all windows
        fitted = (future @ np.linalg.pinv(past)) @ values
    else:  # every column has its own steps that are there
        weight = np.moveaxis(there, -2, -1)[..., None]  # (..., C, T, 1)
        y = np.moveaxis(np.where(there, values, 0.0), -2, -1)[..., None]
        fitted = (future @ (np.linalg.pinv(past * weight) @ y))[..., 0]  # (..., C, horizon)
        fitted = np.moveaxis(fitted, -1, -2)
    few = there.sum(-2, keepdims=True) < 3
    return np.where(few, constant_velocity(values, horizon), fitted)


NAIVE: dict[str, Naive] = {
    "last": last,
    "seasonal": seasonal,
    "drift": drift,
    "constant velocity": constant_velocity,
    "parabola": parabola,
}


def _checked(values: np.ndarray, horizon: int) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim < 2 or values.shape[-2] < 1:
        raise UsageError(
            f"a history of shape {values.shape}; expected (..., T, C) with T of 1 or more"
        )
    if horizon < 1:
        raise UsageError(f"a horizon of {horizon} steps; expected 1 or more")
    return values


def _filled(values: np.ndarray, axis: int = -2) -> np.ndarray:
    """Every missing value replaced by the last one before it along ``axis``, where there is one."""
    if not np.isnan(values).any():
        return values
    length = values.shape[axis]
    shape = [1] * values.ndim
    shape[axis] = length
    steps = np.arange(length).reshape(shape)
    index = np.maximum.accumulate(np.where(np.isnan(values), 0, steps), axis=axis)
    return np.take_along_axis(values, index, axis=axis)


def _ends(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The steps of the first and the last value that are there, (..., C) each; -1 for none."""
    there = ~np.isnan(values)
    found = there.any(-2)
    first = there.argmax(-2)
    final = values.shape[-2] - 1 - there[..., ::-1, :].argmax(-2)
    return np.where(found, first, -1), np.where(found, final, -1)


def _prolonged(
    values: np.ndarray, first: np.ndarray, final: np.ndarray, horizon: int
) -> np.ndarray:
    """The line through the values at two steps (..., C), at the steps after the history."""
    start = np.take_along_axis(values, first[..., None, :], axis=-2)  # (..., 1, C)
    end = np.take_along_axis(values, final[..., None, :], axis=-2)
    distance = np.maximum(final - first, 1)[..., None, :]
    ahead = np.arange(values.shape[-2], values.shape[-2] + horizon)[:, None] - final[..., None, :]
    return end + ahead * ((end - start) / distance)
