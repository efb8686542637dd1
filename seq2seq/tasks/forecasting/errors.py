"""Errors of predicted quantiles, in the unit that calibration adds offsets in."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch

from seq2seq.tasks.forecasting.forecaster import Forecaster
from seq2seq.tasks.forecasting.making import reach_of
from seq2seq.tasks.forecasting.prediction import Asked
from seq2seq.tasks.forecasting.rolling import Origins, actual_values
from seq2seq.tasks.forecasting.series_set import SeriesSet
from seq2seq.tasks.forecasting.widths import unsteadiness
from seq2seq.tasks.forecasting.windows import WindowCutter

_BATCH: Final = 64  # windows


def quantile_errors(
    forecaster: Forecaster, series: SeriesSet, where: Origins, asked: Asked
) -> tuple[np.ndarray, torch.Tensor]:
    """(value - predicted quantile) / factor of the windows ``where`` (N, Q, H, C) float32, NaN
    where nothing came, of logarithms where the model forecasts them; and how unsteady the windows
    are (N, 2, C) (``widths``). Q are the levels of ``asked``."""
    horizon = forecaster.config.model.horizon
    found = forecaster.predict(series, where, asked)
    actual = actual_values(series, where, horizon)[:, None]
    errors = actual - found.quantiles
    if forecaster.config.model.transform == "log":
        errors = np.log(actual) - np.log(found.quantiles)
    factors, measured = _factors(forecaster, series, where)
    return (errors / factors[:, None]).astype(np.float32), measured


def _factors(
    forecaster: Forecaster, series: SeriesSet, where: Origins
) -> tuple[np.ndarray, torch.Tensor]:
    """(N, H, C): the unit of the model's errors, of each step; and ``unsteadiness``."""
    model, parts, measured = forecaster.model, [], []
    cutter = WindowCutter(series, forecaster.encoding, reach_of(model))
    device = next(model.parameters()).device
    with torch.inference_mode():
        for begin in range(0, len(where.series), _BATCH):
            at = where.origins[begin : begin + _BATCH]
            batch, _, scale = cutter.cut(where.series[begin : begin + _BATCH], at, at)
            batch = batch.to(device)
            parts.append(model.factor(batch).double().cpu().numpy() * scale[:, None])
            measured.append(unsteadiness(batch, forecaster.config.model.context).cpu())
    return np.concatenate(parts), torch.cat(measured)
