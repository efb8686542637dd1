"""Shift and scale of windows, so that a network sees numbers near 1. Only values before the
forecast's origin are read.

    global   mean and standard deviation of each target in training
    window   mean and standard deviation of the window's past
    mean     0 and the mean absolute value of the window's past (Salinas et al. 2020, section 3.3)
    none     0 and 1
"""

from __future__ import annotations

import numpy as np

from seq2seq.tasks.forecasting.config import Scaling

_CONSTANT = 1e-13  # a window varies by less than this share of its mean absolute value: rounding
_SCALE = 1e-3  # the scale of a constant window, as a share of its mean absolute value


def window_scale(
    kind: Scaling,
    past: np.ndarray,  # (B, L, C) float64
    observed: np.ndarray,  # (B, L, C) bool
    mean: np.ndarray,  # (C,) of training
    deviation: np.ndarray,  # (C,)
) -> tuple[np.ndarray, np.ndarray]:
    """Shift and scale (B, C) of each window; the scaled value is (value - shift) / scale.

    The scale of a constant window is a thousandth of its mean absolute value, and 1 where it is
    all zero. A window without any observed value is scaled by ``mean`` and ``deviation``.
    """
    shape = (len(past), past.shape[2])
    if kind == "none":
        return np.zeros(shape), np.ones(shape)
    if kind == "global":
        return np.broadcast_to(mean, shape), np.broadcast_to(deviation, shape)
    count = observed.sum(1)  # (B, C)
    divisor = np.maximum(count, 1)
    values = np.where(observed, past, 0.0)
    size = np.abs(values).sum(1) / divisor
    if kind == "mean":
        shift, scale = np.zeros(shape), np.where(size > 0, size, 1.0)
    else:
        shift = values.sum(1) / divisor
        square = np.where(observed, past - shift[:, None], 0.0) ** 2
        scale = np.sqrt(square.sum(1) / divisor)
        scale = np.where(scale > _CONSTANT * size, scale, _SCALE * size)
        scale = np.where(scale > 0, scale, 1.0)
    unseen = mean if kind == "window" else np.zeros_like(mean)
    return np.where(count > 0, shift, unseen), np.where(count > 0, scale, deviation)
