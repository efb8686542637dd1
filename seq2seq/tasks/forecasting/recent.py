"""Widths of intervals that follow the model's own errors of late.

Offsets of the quantiles are learned on the validation set once. Later times may be calmer or more
restless than it, whatever the past of a window looks like. ``forecast.widths: recent`` forecasts
the last ``forecast.recent_steps`` steps of the history again, from origins before them, and takes
the share of them that the interval would have held. With the calibrated interval (low, high) of the
outermost levels and their median m, an error at one of these steps has the size

    r = (value - m) / (high - m) above the median, (m - value) / (m - low) below it

and the width of a forecast is the q-quantile of r, q the interval's nominal share: this width would
have held a share q of the recent values (conformal prediction on a sliding window; Gibbs & Candes
2021 follow the coverage that was observed by small steps instead). Quantiles and paths keep their
median; their distance to it is multiplied by the width, which lies between 1/4 and 4.

Only values before a forecast's origin are read, so a backtest gives the widths that would have been
known then. History that the model was trained on has errors that are too small: the recent steps
should be newer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from seq2seq.tasks.forecasting.prediction import Predicted
from seq2seq.tasks.forecasting.rolling import Origins, actual_values
from seq2seq.tasks.forecasting.series_set import SeriesSet

_ORIGINS: Final = 48  # at most, from which recent steps are forecast again
_LEADS: Final = 48  # at most, steps ahead of each that count
_BLOCK: Final = 2048  # windows whose errors are taken at once
_LEAST: Final = 20  # errors from which a quantile is taken; with fewer the width is 1
_MOST: Final = 4.0

Quantiles = Callable[[Origins], np.ndarray]  # low, median and high: (N, 3, H, C)


def recent_widths(
    quantiles: Quantiles,
    series: SeriesSet,
    where: Origins,
    steps: int,
    context: int,
    horizon: int,
    share: float,
) -> np.ndarray:
    """The width (N, C) of each forecast ``where``, from the ``steps`` before its origin.

    ``quantiles`` are the calibrated forecasts of any windows, ``share`` what their interval holds.
    Origins with fewer than ``context`` steps before them are left out.
    """
    past, window, number = _past_origins(where, steps, context, horizon)
    widths = np.ones((len(where.series), len(series.targets)))
    if not len(window):
        return widths
    leads = np.arange(0, horizon, -(-horizon // _LEADS))
    parts = []
    for begin in range(0, len(past.series), _BLOCK):
        part = Origins(*(one[begin : begin + _BLOCK] for one in past))
        actual = actual_values(series, part, horizon)[:, leads]
        parts.append(error_sizes(quantiles(part)[:, :, leads], actual).astype(np.float32))
    sizes = np.concatenate(parts)  # (U, J, C)
    bounds = np.searchsorted(window, np.arange(len(widths) + 1))
    for forecast, origin in enumerate(where.origins):
        own = number[bounds[forecast] : bounds[forecast + 1]]
        times = past.origins[own][:, None] + leads
        known = sizes[own][(times < origin) & (times >= origin - steps)]  # (M, C)
        for target in range(widths.shape[1]):
            values = known[:, target]
            values = values[~np.isnan(values)]
            if len(values) >= _LEAST:
                widths[forecast, target] = np.quantile(values, share, method="weibull")
    return widths.clip(1 / _MOST, _MOST)


def error_sizes(quantiles: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """r of low, median and high (N, 3, H, C) and the values that came (N, H, C): (N, H, C), NaN
    where there is no value or no width."""
    low, median, high = quantiles[:, 0], quantiles[:, 1], quantiles[:, 2]
    room = np.where(actual >= median, high - median, median - low)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(room > 0, np.abs(actual - median) / room, np.nan)


def widened(found: Predicted, widths: np.ndarray, *, log: bool, counts: bool) -> Predicted:
    """Forecasts whose distances to the median are multiplied by ``widths`` (N, C); those of a
    model of logarithms by multiplying logarithms, those of counts rounded."""
    middle, factor = found.median[:, None], widths[:, None, None]

    def moved(values: np.ndarray) -> np.ndarray:  # (N, X, H, C)
        if log:
            return middle * (values / middle) ** factor
        values = middle + factor * (values - middle)
        return np.maximum(values, 0).round() if counts else values

    paths = None if found.paths is None else moved(found.paths)
    return found._replace(quantiles=moved(found.quantiles), paths=paths)


def _past_origins(
    where: Origins, steps: int, context: int, horizon: int
) -> tuple[Origins, np.ndarray, np.ndarray]:
    """The windows that forecast recent steps: U different ones; and in the order of forecasts,
    which forecast (M,) asks for which of them (M,)."""
    reach = steps + horizon - 1  # the oldest origin that forecasts a recent step
    stride = max(1, reach // _ORIGINS)
    back = np.arange(stride, reach + 1, stride)
    origins = where.origins[:, None] - back  # (N, K)
    window, place = np.nonzero(origins >= context)
    asked = np.stack([where.series[window], origins[window, place]], 1)
    different, number = np.unique(asked, axis=0, return_inverse=True)
    # all that came counts here; each forecast takes what lies before its own origin
    ends = np.full(len(different), np.iinfo(np.int64).max)
    return Origins(different[:, 0], different[:, 1], ends), window, number.ravel()
