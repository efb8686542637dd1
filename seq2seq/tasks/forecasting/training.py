"""Forecasting as the training loop sees it: windows of series, errors beside naive forecasts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from seq2seq.errors import UsageError
from seq2seq.json_files import to_json
from seq2seq.layers.evaluating import evaluating
from seq2seq.tasks.forecasting.augmentation import augmentation
from seq2seq.tasks.forecasting.calibration import LEAST, learn_offsets, learn_ranks
from seq2seq.tasks.forecasting.config import ForecastConfig, ForecastDataConfig, bases_of
from seq2seq.tasks.forecasting.encoding import (
    ENCODING_FILE,
    Encoding,
    learn_encoding,
    load_encoding,
    save_encoding,
)
from seq2seq.tasks.forecasting.errors import quantile_errors
from seq2seq.tasks.forecasting.evaluation import (
    as_json,
    evaluate,
    naive_forecasts,
    scaled_errors,
    table,
)
from seq2seq.tasks.forecasting.forecaster import Forecaster
from seq2seq.tasks.forecasting.heads import check_head
from seq2seq.tasks.forecasting.making import make_model, places, reach_of
from seq2seq.tasks.forecasting.model import CALIBRATION
from seq2seq.tasks.forecasting.objectives import ForecastLoss
from seq2seq.tasks.forecasting.prediction import Asked
from seq2seq.tasks.forecasting.reading import columns_of, read_series
from seq2seq.tasks.forecasting.rolling import Origins, actual_values, origins_of
from seq2seq.tasks.forecasting.scores import check_installed
from seq2seq.tasks.forecasting.series_set import SeriesSet
from seq2seq.tasks.forecasting.splits import split_series
from seq2seq.tasks.forecasting.text_columns import Texts, texts_seen
from seq2seq.tasks.forecasting.widths import learn_widths, width_of
from seq2seq.tasks.forecasting.windows import Batch, TrainingBatches, WindowCutter, Windows
from seq2seq.training.log import say
from seq2seq.training.preparing import copy_weights
from seq2seq.training.task import Carried, Loss

VALIDATION_BATCH = 64  # windows
# of scores where there is no test part
_NOT_HELD_OUT = (
    "no test part: these windows chose the checkpoint and set the widths of the intervals, so "
    "errors and coverage are better than on new data"
)
CALIBRATION_WINDOWS = 1000  # at most, evenly spread over the validation set


class ForecastTask:
    """See ``seq2seq.training.task``."""

    figures = ("validation_loss", "mse", "mae")
    average_patience = None
    counted = "values"

    @staticmethod
    def unread_parameters(config: ForecastConfig) -> bool:
        return False

    def __init__(
        self, config: ForecastConfig, folder: Path, accelerator: Accelerator, resume: bool
    ) -> None:
        options = config.training
        self.config, self.accelerator = config, accelerator
        check_head(config.model)
        check_installed()
        first = None
        if options.start_from and not resume:
            first = Forecaster.from_pretrained(options.start_from, device="cpu")
            _check_networks(first.config, config)
        say(f"reading {config.data.train}", accelerator.is_main_process)
        saved = resume and (folder / ENCODING_FILE).exists()
        before = first.encoding if first else load_encoding(folder) if saved else None
        self.sets = _Sets(config, None if before is None else before.texts)
        for name, texts in self.sets.train.texts.items():
            message = f"{name} is text, read as {len(texts)} columns: {', '.join(texts)}"
            say(message, accelerator.is_main_process)
        with accelerator.main_process_first():
            # the main process comes first and writes it, the others read what it wrote
            keep = resume or not accelerator.is_main_process
            encoding = self._encoding(folder, first, keep)
        for name in encoding.constant:
            message = f"{name} does not vary in the training part, and is not read"
            say(message, accelerator.is_main_process)
        self.model = make_model(config, encoding).to(accelerator.device)
        if first:
            both = first.config.model, config.model
            copy_weights(first.model, self.model, options.start_from, CALIBRATION, both)
        self.forecaster = Forecaster(self.model, encoding, config)
        for series in self.sets.all():
            self.forecaster.check(series)
        self.deviation = np.asarray(encoding.target_deviation)
        self.batches = self._batches()
        self.validation = self._windows("validation")
        self.test_windows = self._windows("test")
        self.has_validation = self.validation is not None
        self.objective: nn.Module = ForecastLoss(self.model)
        if self.validation is not None and accelerator.is_main_process:
            self._say_naive(self.validation)

    def _encoding(self, folder: Path, first: Forecaster | None, keep: bool) -> Encoding:
        """The encoding of the run, saved in its folder: with ``keep`` the one that is there, else
        that of the model to start from, else a new one."""
        if keep and (folder / ENCODING_FILE).exists():
            return load_encoding(folder)
        encoding = (
            first.encoding
            if first
            else learn_encoding(self.config, self.sets.train, self.sets.ends)
        )
        save_encoding(encoding, folder)
        return encoding

    def _batches(self) -> TrainingBatches:
        data, series = self.config.data, self.sets.train
        context = self.config.model.context
        cutter = self._cutter(series)
        windows = Windows(cutter, np.zeros_like(self.sets.ends), self.sets.ends, 1, context)
        return TrainingBatches(
            windows,
            data.batch_size,
            self.config.seed,
            data.windows_per_epoch,
            data.sampling == "series",
            augmentation(
                places(data.rotate, series.targets, "data.rotate"),
                data.noise,
                data.noise_free,
                data.stretch,
            ),
        )

    def _cutter(self, series: SeriesSet) -> WindowCutter:
        return WindowCutter(series, self.forecaster.encoding, reach_of(self.model))

    def _windows(self, split: str) -> Windows | None:
        """The windows that are scored; None without any."""
        found = self.sets.scored(split)
        if found is None:
            return None
        series, begins, ends = found
        data, model = self.config.data, self.config.model
        stride = getattr(data, f"{split}_stride") or model.horizon
        windows = Windows(self._cutter(series), begins, ends, stride, model.context)
        return windows if len(windows) else None

    def _say_naive(self, windows: Windows) -> None:
        """Name the errors of the naive forecasts, which the model has to beat."""
        model = self.config.model
        series, where = windows.cutter.series, origins_of(windows).every(CALIBRATION_WINDOWS)
        season = self.forecaster.encoding.season
        actual = actual_values(series, where, model.horizon)
        found = naive_forecasts(series, where, model.horizon, season, model.context)
        errors = {name: scaled_errors(actual, one, self.deviation) for name, one in found.items()}
        told = ", ".join(f"{name} {mse:.4f}/{mae:.4f}" for name, (mse, mae) in errors.items())
        say(f"naive forecasts on the validation set, mse/mae: {told}")

    def describe(self) -> str:
        windows = {
            "training": self.batches.count,
            "validation": 0 if self.validation is None else len(self.validation),
            "test": 0 if self.test_windows is None else len(self.test_windows),
        }
        told = ", ".join(f"{name} {count:,}" for name, count in windows.items())
        encoding, series = self.forecaster.encoding, self.sets.train
        return (
            f"{len(series):,} series of {len(encoding.targets)} target(s), step {encoding.step}, "
            f"season {encoding.season}; windows: {told}"
        )

    def len_epoch(self, epoch: int) -> int:
        return self.batches.len_epoch(epoch)

    def epoch(self, epoch: int, skip: int, every: int = 1) -> Iterator[Batch]:
        return self.batches.epoch(epoch, skip, every)

    def loss(self, objective: nn.Module, batch: Batch, carried: Carried) -> Loss:
        loss = objective(batch)
        return Loss(loss, loss, carried)

    def rate_factor(self, batch: Batch) -> float:
        return 1.0

    def validate(self) -> dict[str, float]:
        """The mean loss of the horizon's values, and errors of the point forecasts in units of the
        standard deviation of training: mse of the mean, mae of the median."""
        assert self.validation is not None
        cutter, horizon = self.validation.cutter, self.config.model.horizon
        where = origins_of(self.validation).every(self.config.data.validation_windows)
        total, count = 0.0, 0.0
        objective = ForecastLoss(self.model)
        with evaluating(self.model), torch.inference_mode(), self.accelerator.autocast():
            for begin in range(0, len(where.series), VALIDATION_BATCH):
                part = Origins(*(one[begin : begin + VALIDATION_BATCH] for one in where))
                batch = cutter.cut(*part)[0].to(self.accelerator.device)
                total += float(objective.each(batch)[:, -horizon:].sum())
                count += float(batch.future_observed.sum())
        paths = self.config.training.validation_paths
        bounds = self.config.forecast.lower, self.config.forecast.upper
        asked = Asked((0.5,), horizon, default_paths=paths, seed=self.config.seed, bounds=bounds)
        with self.accelerator.autocast():
            found = self.forecaster.predict(cutter.series, where, asked)
        actual = actual_values(cutter.series, where, horizon)
        return {
            "validation_loss": total / max(1.0, count),
            "mse": scaled_errors(actual, found.mean, self.deviation)[0],
            "mae": scaled_errors(actual, found.median, self.deviation)[1],
        }

    def score(self, figures: dict[str, float]) -> float:
        return -figures[self.config.training.select]

    def tell(self, score: float) -> str:
        return f"{self.config.training.select.replace('_', ' ')} {-score:.4f}"

    def save(self, folder: Path, training: str) -> None:
        if training:  # not when the end is rehearsed
            self._calibrate()
        self.forecaster.save_pretrained(folder, card={"training": training})

    def _calibrate(self) -> None:
        """Give the model offsets and ranks; see ``calibration``."""
        settings = self.config.forecast
        if self.validation is None or not settings.calibrate:
            why = "'forecast.calibrate' is false" if self.validation else "no validation part"
            self._say_uncalibrated(why)
            return
        levels = sorted({0.5, *settings.levels})
        asked = Asked(
            tuple(levels),
            self.config.model.horizon,
            default_paths=settings.paths,
            seed=self.config.seed,
        )
        where = origins_of(self.validation).every(CALIBRATION_WINDOWS)
        series = self.validation.cutter.series
        errors, measured = quantile_errors(self.forecaster, series, where, asked)
        middle = levels.index(0.5)
        if self.model.powers is not None and self.model.typical is not None:
            powers, typical = learn_widths(measured, torch.from_numpy(errors[:, middle]))
            self.model.powers.copy_(powers)
            self.model.typical.copy_(typical)
            errors = errors / width_of(measured, powers, typical)[:, None, None].numpy()
        kept = [number for number, level in enumerate(levels) if level in settings.levels]
        if np.isfinite(errors[:, middle]).sum() < LEAST:
            self._say_uncalibrated(f"fewer than {LEAST} values in the validation part")
        self.model.offsets.copy_(learn_offsets(errors[:, kept], settings.levels))
        self.model.ranks.copy_(learn_ranks(errors[:, middle]))

    def _say_uncalibrated(self, why: str) -> None:
        """What follows of a model without offsets."""
        if self.config.model.head == "point":
            told = "quantiles are all the forecast itself, and intervals have no width"
        elif self.config.forecast.calibrate:
            told = "quantiles are the network's own, which are often too narrow"
        else:
            return
        say(f"{why}: {told}", self.accelerator.is_main_process)

    def test(self, run: Path, model: Path, training: str) -> list[str]:
        """Score the test part beside the naive forecasts; keep scores in the run's folder. Where
        there is no test part, the validation part takes its place."""
        split = "test" if self.test_windows is not None else "validation"
        windows = self.test_windows or self.validation
        if windows is None:
            return []
        series, where, horizon = (
            windows.cutter.series,
            origins_of(windows),
            self.config.model.horizon,
        )
        asked = self.forecaster.asked()
        found = self.forecaster.predict(series, where, asked)
        season = self.forecaster.encoding.season
        naive = naive_forecasts(series, where, horizon, season, self.config.model.context)
        scores = evaluate(
            actual_values(series, where, horizon),
            series,
            where.series,
            found,
            asked.levels,
            naive,
            season,
            np.minimum(windows.first, windows.ends),  # where the scored part begins
            self.deviation,
        )
        values = {
            "split": split,
            "windows": len(where.series),
            "horizon": horizon,
            **as_json(scores),
        }
        (run / f"{split}.scores.json").write_text(
            to_json(values, indent=1, ascii_only=True), "utf-8"
        )
        lines = [f"{split}, {len(where.series):,} windows of {horizon} steps", *table(scores)]
        if split == "validation":
            lines.insert(1, _NOT_HELD_OUT)
        told = [f"{name}: {value:.4f}" for name, value in scores["model"].items()]
        location = getattr(self.config.data, split) or f"{self.config.data.train}, {split} part"
        if split == "validation":
            location += f" ({_NOT_HELD_OUT})"
        card: dict[str, Any] = {"scores": [*told, lines[-1]], "test_set": location}
        card["training"] = training
        card["metrics"] = {name: scores["model"][name] for name in ("mse", "mae", "smape")}
        self.forecaster.save_pretrained(model, card=card)
        return lines


def _check_networks(first: ForecastConfig, config: ForecastConfig) -> None:
    """Raises UsageError where the model to start from has other networks."""
    found, wanted = bases_of(first.model), bases_of(config.model)
    if len(found) != len(wanted):
        raise UsageError(
            f"training.start_from {config.training.start_from}: it has {len(found)} network(s), on "
            f"{', '.join(found)}, here {len(wanted)}, on {', '.join(wanted)}; fine-tuning needs as "
            "many: see 'model.other_bases'"
        )


def _check_names(series: SeriesSet, data: ForecastDataConfig) -> None:
    """Raises UsageError where arrays hold other columns than the configuration names."""
    names = {"targets": series.targets, "known": series.known_names, "past": series.past_names}
    for key, found in names.items():
        given = tuple(getattr(data, key))
        if given and given != found and not series.texts:
            raise UsageError(
                f"{data.train}: its arrays have the {key} {', '.join(found) or 'none'}; "
                f"'data.{key}' names {', '.join(given)}"
            )


class _Sets:
    """The series of a run and how they are split."""

    def __init__(self, config: ForecastConfig, texts: Texts | None) -> None:
        """``texts``: those of covariates that a model knows already."""
        data = config.data
        if not data.train:
            raise UsageError("'data.train' is not set; expected a file of series")
        columns = replace(columns_of(data), texts=texts)
        self.train = read_series(data.train, columns)
        self.parts = split_series(self.train, data.split)
        whole = data.validation or data.test
        self.ends = self.train.lengths if whole else self.parts.train  # (N,) of training parts
        seen = self.train.texts
        if texts is None:  # texts that come later would have columns that nothing trains
            seen = texts_seen(self.train, self.ends)
        columns = replace(columns, texts=seen, day_first=self.train.day_first)
        if seen != self.train.texts:
            self.train = read_series(data.train, columns)
        _check_names(self.train, data)
        self.others = {
            split: read_series(getattr(data, split), columns)
            for split in ("validation", "test")
            if getattr(data, split)
        }

    def all(self) -> list[SeriesSet]:
        return [self.train, *self.others.values()]

    def scored(self, split: str) -> tuple[SeriesSet, np.ndarray, np.ndarray] | None:
        """The series of a split, and where the scored part of each begins and ends."""
        if split in self.others:
            series = self.others[split]
            return series, np.zeros_like(series.lengths), series.lengths
        if self.others:
            return None
        parts = self.parts
        if split == "validation":
            return self.train, parts.train, parts.validation
        return self.train, parts.validation, parts.test
