"""Widths of intervals that follow how unsteady the past of a window is.

Conformal offsets are of one size for all windows. Where errors vary with the time of year, they are
too wide for calm windows and too narrow for restless ones. ``forecast.widths: window`` divides the
errors of the validation set by a width before quantiles of them are taken, and multiplies the
offsets of a forecast by its own (normalised conformal prediction: Papadopoulos et al. 2011; Lei et
al. 2018, section 5.2):

    width = prod_i ((x_i + e t_i) / (t_i + e t_i)) ** a_i,  e = 0.01, between 1/4 and 4

x_1 is the deviation of the context's values from their mean, x_2 their change from a step to the
next, both as root mean squares; t_i is the mean of x_i over the validation windows. The powers a_i
of each target are the least squares fit, with a little shrinkage, of the logarithms of the
windows' mean absolute errors. Nothing behind a forecast's origin is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from seq2seq.tasks.forecasting.calibration import LEAST

if TYPE_CHECKING:
    from seq2seq.tasks.forecasting.committee import Model
    from seq2seq.tasks.forecasting.windows import Batch

MEASURES: Final = 2  # x_1 and x_2
_LOW: Final = 0.01  # e, of constant windows
_MOST: Final = 4.0  # no window is so unlike those of the validation set that more is known of it
_SHRINKAGE: Final = 1e-3  # beside the variance of the logarithms of x


def unsteadiness(batch: Batch, context: int) -> Tensor:
    """x of a batch in scaled units: (B, 2, C); 0 where less than two values are there."""
    past, seen = batch.past[:, -context:].double(), batch.observed[:, -context:].double()
    count = seen.sum(1, keepdim=True).clamp_min(1)
    centred = (past - (past * seen).sum(1, keepdim=True) / count) * seen
    both = seen[:, 1:] * seen[:, :-1]
    steps = past.diff(dim=1) * both
    deviation = (centred.square().sum(1) / count[:, 0]).sqrt()
    change = (steps.square().sum(1) / both.sum(1).clamp_min(1)).sqrt()
    return torch.stack([deviation, change], 1)


def width_of(measured: Tensor, powers: Tensor, typical: Tensor) -> Tensor:
    """measured (B, 2, C), powers and typical (2, C) -> width (B, C) float64"""
    logarithms = (_logarithms(measured, typical) * powers.double()).sum(1)
    return logarithms.exp().clamp(1 / _MOST, _MOST)


def widths(model: Model, batch: Batch) -> Tensor:
    """(B, 1, C): by what the offsets of each window are multiplied; 1 for a model without."""
    if model.powers is None or model.typical is None:
        return torch.ones_like(batch.scale).unsqueeze(1)
    measured = unsteadiness(batch, model.config.context)
    return width_of(measured, model.powers, model.typical).to(batch.scale).unsqueeze(1)


def learn_widths(measured: Tensor, errors: Tensor) -> tuple[Tensor, Tensor]:
    """Powers and typical values, each (2, C) float32, from the windows of the validation set:
    measured (N, 2, C), errors (N, H, C) of the median in units of the factor, NaN where there is no
    value. A target with fewer than ``LEAST`` windows keeps powers of 0: a width of 1."""
    typical = measured.double().mean(0)
    inputs = _logarithms(measured, typical)
    size = errors.double().abs().nanmean(1)  # (N, C)
    powers = torch.zeros_like(typical)
    for target in range(size.shape[1]):
        known = ~size[:, target].isnan()
        y = size[known, target]
        if len(y) < LEAST or not bool(y.any()):
            continue
        y = (y + _LOW * y.mean()).log()
        x = inputs[known, :, target]  # (N', 2)
        x = x - x.mean(0)
        products = x.T @ x / len(x) + _SHRINKAGE * torch.eye(MEASURES, dtype=x.dtype)
        powers[:, target] = torch.linalg.solve(products, x.T @ (y - y.mean()) / len(x))
    return powers.float(), typical.float()


def _logarithms(measured: Tensor, typical: Tensor) -> Tensor:
    typical = typical.double()
    tiny = torch.finfo(torch.float32).tiny  # where all windows are constant
    above, below = measured + _LOW * typical + tiny, (1 + _LOW) * typical + tiny
    return (above / below).log()
