"""Small forecasting models with random weights, and series for them."""

from __future__ import annotations

import numpy as np
import torch

from seq2seq.config import config_from_dict
from seq2seq.tasks.forecasting.encoding import learn_encoding
from seq2seq.tasks.forecasting.forecaster import Forecaster
from seq2seq.tasks.forecasting.making import make_model
from seq2seq.tasks.forecasting.series import Series
from seq2seq.tasks.forecasting.series_set import pack
from seq2seq.tasks.forecasting.times import step_named

# Every kind of model, scaling, base and head at least once.
MODELS = {
    "segments": {"kind": "segments", "base": "last", "head": "quantiles"},
    "segments, lstm, joint": {
        **{"kind": "segments", "cell": "lstm", "channels": "joint", "scaling": "window"},
        **{"base": "seasonal", "head": "student"},
    },
    "attention": {"kind": "attention", "head": "gaussian", "scaling": "window", "base": "mean"},
    "attention, lstm": {
        **{"kind": "attention", "cell": "lstm", "layers": 2, "attention": "general"},
        **{"scaling": "mean", "base": "smoothing", "base_form": "multiplicative"},
        **{"head": "point", "loss": "mae"},
    },
    "smoothing": {"kind": "segments", "scaling": "global", "base": "smoothing", "head": "point"},
    "regression": {"kind": "segments", "base": "regression", "head": "gaussian"},
    "log": {
        **{"kind": "segments", "transform": "log", "scaling": "window", "base": "seasonal"},
        "head": "gaussian",
    },
    "autoregressive, log": {"kind": "autoregressive", "transform": "log", "head": "gaussian"},
    "velocity": {"kind": "segments", "base": "velocity", "channels": "joint", "head": "gaussian"},
    "steady velocity": {"kind": "attention", "base": "steady_velocity", "channels": "joint"},
    "committee": {"kind": "segments", "base": "mean", "other_bases": ["last"], "head": "point"},
    "reversion": {
        **{"kind": "segments", "scaling": "global", "base": "last", "other_bases": ["mean"]},
        **{"reversion": True, "head": "point"},
    },
    "committee, joint": {
        **{"kind": "attention", "base": "seasonal", "other_bases": ["last", "regression"]},
        **{"channels": "joint", "head": "quantiles"},
    },
    "autoregressive": {"kind": "autoregressive", "scaling": "mean", "head": "negative_binomial"},
    "autoregressive, lstm": {
        **{"kind": "autoregressive", "cell": "lstm", "layers": 2, "channels": "joint"},
        **{"scaling": "window", "head": "student", "lags": [1, 3]},
    },
    "autoregressive, quantiles": {"kind": "autoregressive", "head": "quantiles"},
}
SIZES = {"context": 12, "horizon": 5, "hidden_size": 8, "segment": 4, "embedding_size": 3}


def make_series(
    count: int = 3, length: int = 40, *, known: bool = True, missing: bool = True, seed: int = 0
) -> list[Series]:
    """Hourly counts of two targets, with a covariate known 5 steps ahead and two static columns."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        steps = length - 3 * number
        values = random.poisson(5 + 10 * number, (steps, 2)).astype(np.float64) + 1
        if missing:
            values[random.random((steps, 2)) < 0.1] = np.nan
            values[-1] = 7.0
        start = np.datetime64("2024-03-01T05:00", "ns") + np.timedelta64(number, "h")
        found.append(
            Series(
                f"s{number}",
                step_named("h").times(start, np.arange(steps)),
                step_named("h"),
                values,
                ("a", "b"),
                random.normal(size=(steps + 5, 1)) if known else None,
                ("price",) if known else (),
                {"kind": "xy"[number % 2], "size": float(number)},
            )
        )
    return found


def make_config(widths: str = "fixed", **model):
    values = {
        "task": "forecasting",
        "data": {"season": 4, "targets": ["a", "b"], "known": ["price"], "series": ["name"]},
        "model": {**SIZES, **model},
        "forecast": {"paths": 20, "levels": [0.1, 0.5, 0.9], "widths": widths, "recent_steps": 8},
    }
    return config_from_dict(values)


def make_forecaster(
    seed: int = 0, series: list[Series] | None = None, widths: str = "fixed", **model
) -> Forecaster:
    """A model with random weights and calibration."""
    config = make_config(widths, **model)
    packed = pack(series or make_series())
    encoding = learn_encoding(config, packed, packed.lengths - 8)
    torch.manual_seed(seed)
    made = make_model(config, encoding).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # none stays zero
        made.offsets.copy_(0.1 * torch.randn_like(made.offsets))
        steps = torch.arange(made.config.horizon)
        made.ranks.copy_(0.6 ** (steps[:, None] - steps).abs())
        if made.powers is not None and made.typical is not None:
            made.powers.fill_(0.4)
            made.typical.fill_(2.0)
    return Forecaster(made, encoding, config)
