"""The configuration of a forecasting run."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from seq2seq.config.checks import (
    MAX_MEMBERS,
    check_at_most,
    check_fractions,
    check_not_negative,
    check_positive,
)
from seq2seq.config.layers import Attention, Cell
from seq2seq.config.paths import PathText
from seq2seq.config.training import TrainingConfig, check_run
from seq2seq.errors import UsageError

Scaling = Literal["none", "global", "window", "mean"]
LossName = Literal["mse", "mae", "huber"]
BaseName = Literal[
    "none", "last", "mean", "velocity", "steady_velocity", "seasonal", "smoothing", "regression"
]

CALENDAR = ("time_of_day", "hour", "weekday", "day_of_month", "day_of_year")


@dataclass
class ForecastDataConfig:
    """Where series come from, what their columns are and how they are split and batched.

    A file is CSV, Parquet, NPZ, or a folder of .npy files (see ``reading``). With ``validation`` or
    ``test`` the splits are series of their own; otherwise ``split`` cuts each series by time.
    """

    train: PathText | None = None
    validation: PathText | None = None
    test: PathText | None = None
    time: str | None = "time"  # the time column; null: rows are numbered
    series: list[str] = field(default_factory=list)  # columns that tell series apart; []: one
    targets: list[str] = field(default_factory=list)  # []: every column with no other use
    # covariates, numbers or text (see ``text_columns``): known ahead, as prices and holidays; read
    # up to the origin alone, as the weather
    known: list[str] = field(default_factory=list)
    past: list[str] = field(default_factory=list)
    static: list[str] = field(default_factory=list)  # one value a series: text or numbers
    step: str | None = None  # "h", "15min", "D", "B", "MS", ...; default: found in the times
    # a time that is not there: error; fill: a row without values; ignore: rows follow one another
    # whatever their times, and are numbered
    gaps: Literal["error", "fill", "ignore"] = "error"
    season: int | None = None  # steps; default: by the step (h 24, 2h 12, D 7, B 5, W 52, MS 12)
    # training, validation, test: shares, numbers of steps or "rest" (once); or two dates, where
    # validation and test begin, and a third where test ends
    split: list[str] = field(default_factory=lambda: ["0.7", "0.1", "0.2"])
    calendar: list[str] = field(default_factory=lambda: ["auto"])  # covariates made of the time
    batch_size: int = 128  # windows
    windows_per_epoch: int | None = None  # drawn at random; default: each once
    sampling: Literal["windows", "series"] = "windows"  # what is drawn with equal probability
    # two targets, the coordinates of a plane: each training window is turned by a random angle, and
    # mirrored or not
    rotate: list[str] = field(default_factory=list)
    # noise that training adds to the past: each window draws its standard deviation up to this one,
    # in scaled units
    noise: float = 0.0
    noise_free: float = 0.0  # the share of windows that stay as they are
    # training windows are stretched about the mean of their past, each target by a factor whose
    # logarithm has this standard deviation
    stretch: float = 0.0
    validation_stride: int | None = None  # steps between scored origins; default: the horizon
    validation_windows: int = 10_000  # at most, evenly spread over all
    test_stride: int | None = None


@dataclass
class ForecastModelConfig:
    # segments: SegRNN; autoregressive: DeepAR; attention: encoder-decoder with attention
    kind: Literal["segments", "autoregressive", "attention"] = "segments"
    context: int = 96  # steps of the past that are read
    horizon: int = 24  # steps ahead
    channels: Literal["independent", "joint"] = "independent"  # several targets
    transform: Literal["none", "log"] = "none"  # log: for values above 0 that grow by factors
    scaling: Scaling | None = None  # default: window; mean for counts
    # what is forecast without the network, which learns what is left; default: last; none for
    # counts and autoregressive models
    base: BaseName | None = None
    # a further network for each of these bases; the mean forecast of all counts (see ``committee``)
    other_bases: list[BaseName] = field(default_factory=list)
    base_form: Literal["additive", "multiplicative"] = "additive"
    # the bases last and mean fall back to the mean of training (scaling global) or last to that of
    # the window, the further ahead the nearer; how fast is learned for each target
    reversion: bool = False
    # targets whose base at the origin the network reads, too: what a base takes away, as a height
    read_base: list[str] = field(default_factory=list)
    head: Literal["point", "gaussian", "student", "negative_binomial", "quantiles"] = "quantiles"
    loss: LossName = "mse"  # of head point
    other_losses: list[LossName] = field(default_factory=list)  # of other_bases; []: as ``loss``
    levels: list[float] = field(  # of head quantiles
        default_factory=lambda: [0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95]
    )
    cell: Cell = "gru"
    layers: int = 1
    hidden_size: int = 128
    segment: int = 12  # segments: steps that are read or written at once
    lags: list[int] = field(default_factory=lambda: [0])  # autoregressive; [0]: by the season
    attention: Attention = "additive"  # attention: how the decoder scores the past
    bidirectional: bool = True  # attention: the encoder reads both ways
    embedding_size: int = 16  # of categories, series and targets
    series_embedding: bool = False  # a vector for each series of training
    dropout: float = 0.1


@dataclass
class ForecastTrainingConfig(TrainingConfig):
    max_epochs: int = 30
    schedule: Literal["constant", "inverse_sqrt", "cosine", "plateau"] = "cosine"
    clip_norm: float = 1.0
    patience: int | None = 10
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    # by which the best checkpoint is chosen
    select: Literal["validation_loss", "mse", "mae"] = "validation_loss"
    validation_paths: int = 50  # autoregressive: sampled for each window


@dataclass
class ForecastSettings:
    """Defaults of ``forecast``, kept in the model."""

    levels: list[float] = field(default_factory=lambda: [0.1, 0.25, 0.5, 0.75, 0.9])
    # quantiles and paths follow the errors on the validation set; see ``calibration``
    calibrate: bool = True
    # window: offsets of the quantiles follow how unsteady the past is; see ``widths``. recent:
    # distances to the median follow the model's errors at the last steps; see ``recent``
    widths: Literal["fixed", "window", "recent"] = "fixed"
    recent_steps: int = 168
    # values that no target passes: whatever is forecast below ``lower`` is ``lower``, and so above
    lower: float | None = None
    upper: float | None = None
    paths: int = 200  # sampled for quantiles, by autoregressive models
    seed: int = 1  # of sampled paths


@dataclass
class ForecastConfig:
    task: Literal["forecasting"] = "forecasting"
    output: PathText = "runs/forecasting"
    seed: int = 1
    data: ForecastDataConfig = field(default_factory=ForecastDataConfig)
    model: ForecastModelConfig = field(default_factory=ForecastModelConfig)
    training: ForecastTrainingConfig = field(default_factory=ForecastTrainingConfig)
    forecast: ForecastSettings = field(default_factory=ForecastSettings)


def check(config: ForecastConfig, where: str) -> None:
    """Raises UsageError for values that have the right type and still make no sense together."""
    data, model, training, forecast = config.data, config.model, config.training, config.forecast
    sections = {
        "data": (
            data,
            "season batch_size windows_per_epoch validation_stride validation_windows test_stride",
        ),
        "model": (model, "context horizon layers hidden_size segment embedding_size"),
        "training": (training, "validation_paths"),
        "forecast": (forecast, "paths recent_steps"),
    }
    for section, (values, names) in sections.items():
        found = {f"{section}.{name}": getattr(values, name) for name in names.split()}
        check_positive(found, where)
    shares = {"model.dropout": model.dropout, "data.noise_free": data.noise_free}
    check_fractions(shares, where)
    floors = {"forecast.seed": forecast.seed, "data.noise": data.noise}
    check_not_negative({**floors, "data.stretch": data.stretch}, where)
    check_at_most({"data.noise": data.noise}, 1000, where)  # of standard deviations
    check_at_most({"data.stretch": data.stretch}, 10, where)  # of a logarithm
    for key, levels in {"model.levels": model.levels, "forecast.levels": forecast.levels}.items():
        check_levels(levels, f"{where}: '{key}'")
    for name in data.calendar:
        if name not in (*CALENDAR, "auto"):
            raise UsageError(
                f"{where}: 'data.calendar' holds {name!r}; expected some of: auto, "
                f"{', '.join(CALENDAR)}"
            )
    check_bounds(forecast.lower, forecast.upper, "'forecast.{}'".format, f"{where}: ")
    _check_columns(data, where)
    if data.rotate and (len(data.rotate) != 2 or scaling_of(model) != "none"):
        raise UsageError(
            f"{where}: 'data.rotate' is {data.rotate}, 'model.scaling' {scaling_of(model)}; "
            "expected two targets of one unit, and 'model.scaling: none'"
        )
    if data.past:
        check_past(model.kind, data.past, where)
    _check_bases(model, where)
    for base in bases_of(model):
        _check_model(replace(model, base=base), where)
    loose = model.base_form == "multiplicative" or model.head == "negative_binomial"
    if data.stretch and loose:
        raise UsageError(
            f"{where}: 'data.stretch' is {data.stretch}; windows are stretched by any factor, and "
            "counts and multiplicative bases need what that breaks; set it to 0"
        )
    if forecast.widths == "recent":
        _check_recent(config, where)
    check_run(config, where, has_validation=True)


def check_levels(levels: list[float], name: str) -> None:
    """Raises UsageError for levels that do not ascend between 0 and 1."""
    ascending = all(low < high for low, high in itertools.pairwise(levels))
    if not levels or not ascending or not all(0 < level < 1 for level in levels):
        raise UsageError(f"{name} is {levels}; expected ascending numbers between 0 and 1")
    alike = next((n for n, m in itertools.pairwise(levels) if f"{n:g}" == f"{m:g}"), None)
    if alike is not None:  # the columns of a forecast are named by their levels
        raise UsageError(
            f"{name} is {levels}; two of them are both written {alike:g}: expected levels that "
            "differ in six digits"
        )


def check_bounds(
    lower: float | None,
    upper: float | None,
    name: Callable[[str], str] = str,
    where: str = "",
) -> None:
    """Raises UsageError for a lower bound that is not below the upper one; ``name`` makes of
    "lower" what its user calls it."""
    if lower is not None and upper is not None and not lower < upper:
        raise UsageError(
            f"{where}{name('lower')} is {lower:g} and {name('upper')} {upper:g}; expected a lower "
            "bound below the upper one"
        )


def scaling_of(model: ForecastModelConfig) -> Scaling:
    """``model.scaling``, or what it is by default."""
    if model.scaling is not None:
        return model.scaling
    return "mean" if model.head == "negative_binomial" else "window"


def base_of(model: ForecastModelConfig) -> BaseName:
    """``model.base``, or what it is by default."""
    if model.base is not None:
        return model.base
    counts = model.head == "negative_binomial"
    return "none" if counts or model.kind == "autoregressive" else "last"


def bases_of(model: ForecastModelConfig) -> tuple[BaseName, ...]:
    """The base of each network."""
    return (base_of(model), *model.other_bases)


def networks_of(model: ForecastModelConfig) -> list[tuple[BaseName, LossName]]:
    """The base of each network, and the loss that trains it where its head is a point."""
    others = model.other_losses or [model.loss] * len(model.other_bases)
    return [(base_of(model), model.loss), *zip(model.other_bases, others, strict=True)]


def check_past(kind: str, names: Sequence[str], where: str) -> None:
    """Raises UsageError for a kind of model that does not read past covariates."""
    if kind == "autoregressive":
        raise UsageError(
            f"{where}: 'data.past' names {', '.join(names)}, whose values end at the origin; "
            "'model.kind: autoregressive' needs a value at every step behind it: use segments or "
            "attention, or name the columns in 'data.targets'"
        )


def _check_columns(data: ForecastDataConfig, where: str) -> None:
    uses: dict[str, str] = {}
    if data.time is not None:
        uses[data.time] = "time"
    for use in ("series", "targets", "known", "past", "static"):
        for name in getattr(data, use):
            if name in uses and (uses[name], use) != ("series", "static"):
                raise UsageError(
                    f"{where}: column {name!r} is in 'data.{use}' and in 'data.{uses[name]}'; "
                    "expected one use of each column"
                )
            uses[name] = use


def _check_recent(config: ForecastConfig, where: str) -> None:
    if config.model.kind == "autoregressive" or not config.forecast.calibrate:
        raise UsageError(
            f"{where}: 'forecast.widths: recent' changes calibrated quantiles of models that "
            "forecast the whole horizon at once; set 'forecast.calibrate: true' and "
            "'model.kind' to segments or attention, or use window or fixed"
        )
    if len(config.forecast.levels) < 2:
        raise UsageError(
            f"{where}: 'forecast.widths: recent' needs the two ends of an interval; "
            f"'forecast.levels' is {config.forecast.levels}"
        )


def _check_bases(model: ForecastModelConfig, where: str) -> None:
    if model.other_losses and len(model.other_losses) != len(model.other_bases):
        raise UsageError(
            f"{where}: 'model.other_losses' has {len(model.other_losses)} losses for the "
            f"{len(model.other_bases)} networks of 'model.other_bases'; expected as many, or []"
        )
    if model.other_losses and model.head != "point":
        raise UsageError(
            f"{where}: 'model.other_losses' are losses of 'model.head: point', and the head is "
            f"{model.head}, which has a loss of its own; set 'model.other_losses' to []"
        )
    if not model.other_bases:
        return
    if len(model.other_bases) >= MAX_MEMBERS:
        raise UsageError(
            f"{where}: 'model.other_bases' names {len(model.other_bases)} networks; expected fewer "
            f"than {MAX_MEMBERS}"
        )
    if model.kind == "autoregressive" or model.base_form == "multiplicative":
        raise UsageError(
            f"{where}: 'model.other_bases' takes the mean of forecasts of the whole horizon with "
            "additive bases; set 'model.kind' to segments or attention and 'model.base_form' to "
            "additive, or 'model.other_bases' to []"
        )
    if model.head == "negative_binomial" or model.read_base:
        raise UsageError(
            f"{where}: 'model.other_bases' does not go with 'model.head: negative_binomial', which "
            "has no base, nor with 'model.read_base'; set 'model.other_bases' to []"
        )


def _check_model(model: ForecastModelConfig, where: str) -> None:
    kind, head, base, scaling = model.kind, model.head, base_of(model), scaling_of(model)
    if kind == "autoregressive" and head == "point":
        raise UsageError(
            f"{where}: 'model.kind: autoregressive' samples its paths, and 'model.head: point' is "
            "no distribution; use gaussian, student, negative_binomial or quantiles"
        )
    if kind == "autoregressive" and base != "none":
        raise UsageError(
            f"{where}: 'model.base: {base}' goes with segments and attention; an "
            "autoregressive model reads its own past by 'model.lags'"
        )
    if any(lag < 0 for lag in model.lags) or (0 in model.lags and len(model.lags) > 1):
        raise UsageError(
            f"{where}: 'model.lags' is {model.lags}; expected numbers of steps of at least 1, or "
            "[0] for those of the season"
        )
    if kind == "segments" and model.layers > 1:
        raise UsageError(
            f"{where}: 'model.layers' is {model.layers}; 'model.kind: segments' has one recurrent "
            "layer, which reads and writes"
        )
    counts = head == "negative_binomial"
    if model.transform == "log" and (scaling not in ("window", "none") or counts):
        raise UsageError(
            f"{where}: 'model.transform: log' goes with 'model.scaling: window' or none, and with "
            f"heads that are no counts; found {scaling} and {head}"
        )
    loose = scaling in ("mean", "none")
    if counts and not (loose and base == "none"):
        raise UsageError(
            f"{where}: 'model.head: negative_binomial' counts; set 'model.scaling' to mean or none "
            "and 'model.base' to none"
        )
    if base != "none" and model.base_form == "multiplicative" and not loose:
        raise UsageError(
            f"{where}: 'model.base_form: multiplicative' divides by the base; set 'model.scaling' "
            "to mean or none"
        )
    means = {"last": ("global", "window"), "mean": ("global",)}  # that of a window is 0 already
    if model.reversion and scaling not in means.get(base, ()):
        raise UsageError(
            f"{where}: 'model.reversion' has the bases last and mean fall back to the mean that "
            f"'model.scaling' takes away, global, or window for last; 'model.base' is {base}, "
            f"'model.scaling' {scaling}"
        )
    if model.base_form == "multiplicative" and base == "none":
        raise UsageError(f"{where}: 'model.base_form: multiplicative' needs a 'model.base'")
    if kind == "attention" and model.attention in ("dot", "scaled_dot"):
        width = model.hidden_size * (2 if model.bidirectional else 1)
        if width != model.hidden_size:
            raise UsageError(
                f"{where}: 'model.attention: {model.attention}' needs encoder states as wide as "
                "the decoder's; set 'model.bidirectional: false' or use general"
            )
