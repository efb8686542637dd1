"""A trained forecasting model as its user holds it: series in, forecasts out."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from seq2seq.arguments import check_number, check_path, check_truth, check_whole, listed
from seq2seq.decoding.ensemble import check_members, members_of
from seq2seq.errors import RunError, UsageError
from seq2seq.layers.evaluating import evaluating
from seq2seq.precision import Precision, check_precision, products
from seq2seq.saved import directory as saved
from seq2seq.saved.building import build_to_fit
from seq2seq.saved.pretrained import Pretrained
from seq2seq.tasks.forecasting.card import forecast_card
from seq2seq.tasks.forecasting.committee import Model
from seq2seq.tasks.forecasting.config import (
    ForecastConfig,
    check_bounds,
    check_levels,
)
from seq2seq.tasks.forecasting.encoding import (
    ENCODING_FILE,
    Encoding,
    load_encoding,
    save_encoding,
)
from seq2seq.tasks.forecasting.ensemble import check_alike, mean_of
from seq2seq.tasks.forecasting.frames import frame_of
from seq2seq.tasks.forecasting.future import check_future, check_times
from seq2seq.tasks.forecasting.making import make_model, reach_of
from seq2seq.tasks.forecasting.prediction import Asked, Predicted, predict_windows
from seq2seq.tasks.forecasting.reading import (
    Columns,
    columns_of,
    read_series,
    series_of_frame,
)
from seq2seq.tasks.forecasting.recent import recent_widths, widened
from seq2seq.tasks.forecasting.rolling import Origins
from seq2seq.tasks.forecasting.series import Forecast, Series
from seq2seq.tasks.forecasting.series_set import SeriesSet, check_values, pack
from seq2seq.tasks.forecasting.times import step_named
from seq2seq.tasks.forecasting.windows import WindowCutter

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_PATHS = 10_000
_log = logging.getLogger("seq2seq")


class Forecaster(Pretrained[Model, ForecastConfig]):
    """A forecasting model with what turns series into numbers, and its configuration.

    forecaster = Forecaster.from_pretrained("runs/etth1/model")
    forecaster.forecast_frame(frame)                # a pandas frame in, a frame out
    forecaster.forecast([series], horizon=48)[0].quantiles
    """

    task = "forecasting"
    files = (saved.CONFIG_FILE, saved.WEIGHTS_FILE, ENCODING_FILE, saved.CARD_FILE)

    def __init__(
        self,
        model: Model,
        encoding: Encoding,
        config: ForecastConfig,
        readme: str | None = None,
        others: Sequence[Forecaster] = (),
    ) -> None:
        """``others``: further members of an ensemble; see ``ensemble``."""
        self.model, self.encoding, self.config, self.readme = model, encoding, config, readme
        self.others = tuple(others)

    @classmethod
    def ensemble(cls, forecasters: Sequence[Forecaster]) -> Forecaster:
        """One forecaster over several models: the mean of their forecasts (see ``ensemble``).

            Forecaster.ensemble([Forecaster.from_pretrained(name) for name in ("A", "B", "C")])

        It forecasts as any other. The configuration's defaults, and the unit of a backtest's
        scores, are those of the first; it cannot be saved, only its members can.

        Raises UsageError for no forecasters, for unlike columns, horizons or devices.
        """
        given = members_of(forecasters, cls)
        members = [one for some in given for one in (some, *some.others)]
        check_members([next(one.model.parameters()).device for one in members])
        check_alike(members)
        first, *others = members
        return cls(first.model, first.encoding, first.config, others=others)

    @classmethod
    def _from_directory(cls, directory: Path) -> Forecaster:
        values = saved.read_values(directory, cls.task, {"targets": int}, cls.files)
        config = saved.run_config(values, directory, cls.task)
        for name in (ENCODING_FILE, saved.WEIGHTS_FILE):
            saved.require(directory, name, cls.files)
        encoding = load_encoding(directory)
        if len(encoding.targets) != values["targets"]:
            found = len(encoding.targets)
            raise RunError(
                f"{directory / ENCODING_FILE}: names {found} targets; the model has "
                f"{values['targets']}: copy the whole directory of the model again"
            )
        weights = directory / saved.WEIGHTS_FILE
        model = build_to_fit(lambda: make_model(config, encoding), weights)
        saved.load_weights(model, weights)
        return cls(model.eval(), encoding, config, saved.read_card(directory))

    def _write_vocabulary(self, directory: Path) -> dict[str, Any]:
        if self.others:
            raise UsageError("an ensemble is not one model and cannot be saved; save its members")
        save_encoding(self.encoding, directory)
        return {"targets": len(self.encoding.targets)}

    def _card(self, parameters: int, card: dict[str, Any] | None) -> str:
        return forecast_card(self.config, self.encoding, parameters, card)

    @property
    def columns(self) -> Columns:
        """Which columns of a table this model reads."""
        columns = columns_of(self.config.data)
        return dataclasses.replace(
            columns,
            targets=self.encoding.targets,
            known=columns.known or self.encoding.known_names,  # trained on arrays: these name them
            past=columns.past or self.encoding.past_names,
            step=step_named(self.encoding.step),
            texts=self.encoding.texts,
            day_first=self.encoding.day_first,
        )

    def read(self, location: str | os.PathLike[str]) -> SeriesSet:
        """The series of a file (CSV, Parquet, NPZ) or folder, by the columns of this model."""
        return read_series(check_path("location", location), self.columns)

    def forecast(
        self,
        history: Series | Sequence[Series],
        horizon: int | None = None,
        *,
        levels: Sequence[float] | None = None,
        paths: int = 0,
        seed: int | None = None,
        calibrate: bool | None = None,
        lower: float | None = None,
        upper: float | None = None,
        precision: Precision = "fp32",
    ) -> list[Forecast]:
        """Forecast the ``horizon`` steps that follow each series, by default as many as the model
        was trained for: a list, in the order of ``history``. A series need not be one of training,
        and may be shorter than the model's context.

        ``levels`` are those of the quantiles, by default ``forecast.levels`` of the configuration;
        ``paths`` is the number of sampled paths. These follow from ``seed``, and from name and
        length of a series, not from the series beside it. ``calibrate=False`` leaves quantiles as
        the network gives them. Whatever is forecast below ``lower`` is ``lower``, and above
        ``upper`` that, by default as configured: sales are not negative.

        Raises:
            UsageError: a horizon longer than trained, for a model that forecasts the whole horizon
                at once; series of another kind; a known covariate that does not reach to the end of
                the horizon; values that are infinite, or that the model's head cannot have.
            RunError: the model gives no numbers (NaN).
        """
        check_precision(precision)
        asked = self.asked(
            horizon,
            levels=levels,
            paths=paths,
            seed=seed,
            calibrate=calibrate,
            lower=lower,
            upper=upper,
        )
        return self._forecast(pack(history), asked, precision)

    def forecast_frame(
        self,
        history: DataFrame,
        horizon: int | None = None,
        *,
        levels: Sequence[float] | None = None,
        paths: int = 0,
        seed: int | None = None,
        calibrate: bool | None = None,
        lower: float | None = None,
        upper: float | None = None,
        precision: Precision = "fp32",
    ) -> DataFrame:
        """``forecast`` for a pandas frame with the columns of the training data, rows in any order;
        rows behind the last observed value of a series hold what is known ahead. Returns a frame:
        see ``frames.frame_of``. Errors also name what ``reading`` refuses, by series and row.
        """
        series = series_of_frame(history, self.columns)
        forecasts = self.forecast(
            series,
            horizon,
            levels=levels,
            paths=paths,
            seed=seed,
            calibrate=calibrate,
            lower=lower,
            upper=upper,
            precision=precision,
        )
        return frame_of(forecasts)

    def check(self, series: SeriesSet) -> None:
        """Raises UsageError for series that this model cannot read."""
        for one in self.others:
            one.check(series)
        self.encoding.check(series)
        model = self.config.model
        check_values(
            series,
            counts=self.counts,
            positive=model.base_form == "multiplicative" or model.transform == "log",
            bounds=(self.config.forecast.lower, self.config.forecast.upper),
        )

    def _forecast(self, series: SeriesSet, asked: Asked, precision: Precision) -> list[Forecast]:
        self.check(series)
        if asked.calibration is not None and not self._has_widths():
            _log.warning(
                "the model gives points alone: its training had too few validation values to learn "
                "the widths of intervals ('data.split'), so every quantile is the forecast itself"
            )
        check_future(series, asked.horizon)
        check_times(series, asked.horizon)
        origins = series.lengths
        where = Origins(np.arange(len(series)), origins, origins)
        found = self.predict(series, where, asked, precision)
        step, forecasts = series.step, []
        for number in range(len(series)):
            ahead = np.arange(origins[number], origins[number] + asked.horizon)
            forecasts.append(
                Forecast(
                    str(series.names[number]),
                    step.times(series.starts[number], ahead),
                    series.targets,
                    found.mean[number],
                    found.median[number],
                    asked.levels,
                    found.quantiles[number],
                    None if found.paths is None else found.paths[number],
                    series.zone,
                )
            )
        return forecasts

    def _has_widths(self) -> bool:
        """Whether quantiles differ from the forecast."""
        models = [one.model for one in (self, *self.others)]
        return any(one.config.head != "point" or bool(one.offsets.any()) for one in models)

    @property
    def counts(self) -> bool:
        """Whether its values are counts."""
        return self.config.model.head == "negative_binomial"

    def predict(
        self, series: SeriesSet, where: Origins, asked: Asked, precision: Precision = "fp32"
    ) -> Predicted:
        """Forecasts (N, H, C) from any origins, which read nothing behind them: for rolling origins
        (see ``rolling``). ``asked`` is made by ``asked()``.

        Raises RunError where the model gives no numbers.
        """
        members = (self, *self.others)
        every = [one._predict(series, where, asked, precision) for one in members]
        found = every[0]
        if self.others:
            found = mean_of(every, all(one.counts for one in members))
        found = found.within(*asked.bounds)  # a NaN stays one
        wrong = ~np.isfinite(found.median).all((1, 2))
        if wrong.any():
            name = series.names[where.series[int(wrong.argmax())]]
            raise RunError(f"series {str(name)!r}: the model's forecast is no number (NaN)")
        return found

    def _predict(
        self, series: SeriesSet, where: Origins, asked: Asked, precision: Precision
    ) -> Predicted:
        """Forecasts of this member alone, whose offsets are at levels of its own."""
        model, settings = self.model, self.config.forecast
        if asked.calibration is not None:
            asked = dataclasses.replace(asked, calibration=tuple(settings.levels))
        device = next(model.parameters()).device
        cutter = WindowCutter(series, self.encoding, reach_of(model, asked.horizon))
        with torch.inference_mode(), evaluating(model), products(device, precision):
            found = predict_windows(model, cutter, where.series, where.origins, asked)
            if settings.widths == "recent" and asked.calibration is not None:
                found = self._following_errors(found, series, where, asked.calibration)
        return found

    def _following_errors(
        self, found: Predicted, series: SeriesSet, where: Origins, levels: tuple[float, ...]
    ) -> Predicted:
        """Forecasts whose widths follow the errors before their origins; see ``recent``."""
        model, config = self.model, self.config
        low, high, horizon = levels[0], levels[-1], config.model.horizon
        asked = Asked(tuple(sorted({low, 0.5, high})), horizon, calibration=levels)
        cutter = WindowCutter(series, self.encoding, reach_of(model))

        def quantiles(past: Origins) -> np.ndarray:
            again = predict_windows(model, cutter, past.series, past.origins, asked)
            return np.stack([again.quantiles[:, 0], again.median, again.quantiles[:, -1]], 1)

        steps, context = config.forecast.recent_steps, config.model.context
        widths = recent_widths(quantiles, series, where, steps, context, horizon, high - low)
        log = config.model.transform == "log"
        return widened(found, widths, log=log, counts=self.counts)

    def asked(
        self,
        horizon: int | None = None,
        *,
        levels: Sequence[float] | None = None,
        paths: int = 0,
        seed: int | None = None,
        calibrate: bool | None = None,
        lower: float | None = None,
        upper: float | None = None,
    ) -> Asked:
        """The arguments of ``forecast``, checked; what is left out is the configuration's."""
        trained, settings = self.config.model.horizon, self.config.forecast
        horizon = trained if horizon is None else horizon
        check_whole("horizon", horizon, 1)
        if horizon > trained and not self.model.samples:
            raise UsageError(
                f"horizon is {horizon}; this model forecasts {trained} steps at once, and no more: "
                "train one with a longer 'model.horizon', or an autoregressive one"
            )
        chosen = listed("levels", settings.levels if levels is None else levels, "numbers")
        for level in chosen:
            check_number("a level", level)
        chosen = [float(level) for level in chosen]
        check_levels(chosen, "levels")
        check_whole("paths", paths, 0, MOST_PATHS)
        if seed is not None:
            check_whole("seed", seed, 0)
        used = settings.calibrate if calibrate is None else calibrate
        check_truth(calibrate=used)
        bounds = _bound("lower", lower, settings.lower), _bound("upper", upper, settings.upper)
        check_bounds(*bounds)
        return Asked(
            tuple(chosen),
            horizon,
            paths,
            settings.paths,
            settings.seed if seed is None else seed,
            tuple(settings.levels) if used else None,
            bounds,
        )


def _bound(name: str, given: float | None, configured: float | None) -> float | None:
    if given is None:
        return configured
    check_number(name, given)
    return float(given)
