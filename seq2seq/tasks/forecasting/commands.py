"""The commands of forecasting. ``seq2seq.cli`` runs it."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from seq2seq.command_line.command import Command
from seq2seq.command_line.files import open_text_output
from seq2seq.command_line.options import (
    MOST_SEED,
    add_ensemble,
    add_machine,
    add_model,
    further_file,
    input_file,
    load_models,
    output_file,
    picture,
    whole,
)
from seq2seq.command_line.rules import Needs
from seq2seq.errors import UsageError

if TYPE_CHECKING:
    from seq2seq.tasks.forecasting.forecaster import Forecaster
    from seq2seq.tasks.forecasting.series import Forecast

_EXAMPLES = """\
Reads a table with the columns of the training data (the model's card names them), as CSV or
Parquet, or arrays (.npz); standard input is CSV, as is a pipe. Forecasts what follows the last row
with a value of a target; rows behind it hold what is known ahead. Series need not be those of
training.

Writes a CSV table: series, target, time, mean, median, a column for each quantile. With --json a
line for each series: series, times, targets (mean, median, quantiles by level, paths).

  seq2seq forecast MODEL --input history.csv --horizon 48
  seq2seq forecast MODEL --input history.csv --levels 0.05,0.5,0.95 --json > forecast.jsonl
  seq2seq forecast MODEL --input history.csv --output forecast.csv --plot forecast.png
  seq2seq forecast MODEL --input history.csv --ensemble MODEL-B MODEL-C      three models as one
"""


def _levels(text: str) -> list[float]:
    try:
        return [float(one) for one in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers: 0.1,0.5,0.9") from None


def _bound(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is no finite number")
    return value


def _add_bounds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lower",
        type=_bound,
        metavar="X",
        help="nothing is forecast below it, as 0 of sales; default: forecast.lower of training",
    )
    parser.add_argument("--upper", type=_bound, metavar="X", help="nothing is forecast above it")


def _add_forecast(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument(
        "--input", type=input_file, metavar="FILE", help="the history; default: standard input"
    )
    parser.add_argument(
        "--output", type=output_file, metavar="FILE", help="write this file, not standard output"
    )
    parser.add_argument("--json", action="store_true", help="JSON lines")
    parser.add_argument(
        "--horizon", type=whole(1), metavar="N", help="steps ahead; default: as trained"
    )
    parser.add_argument(
        "--levels", type=_levels, metavar="LIST", help="quantile levels: 0.1,0.5,0.9"
    )
    parser.add_argument("--paths", type=whole(0), default=0, metavar="N", help="sampled paths")
    parser.add_argument("--seed", type=whole(0, MOST_SEED), metavar="N", help="of sampled paths")
    add_ensemble(parser, "further models of the same columns: the mean of their forecasts")
    _add_bounds(parser)
    parser.add_argument(
        "--plot", type=picture, metavar="PICTURE", help="draw the first series and its forecast"
    )
    add_machine(parser)


def _load(options: argparse.Namespace) -> Forecaster:
    """MODEL, or the ensemble of it and those of --ensemble."""
    from seq2seq.tasks.forecasting.forecaster import Forecaster

    models = load_models(options, "forecasting", [options.model, *options.ensemble])
    return Forecaster.ensemble(models) if options.ensemble else models[0]


def _forecast(options: argparse.Namespace) -> int:
    from seq2seq.tasks.forecasting.reading import read_input

    forecaster = _load(options)
    if options.seed is not None and not options.paths and not forecaster.model.samples:
        raise UsageError(
            "--seed goes with --paths N; without it does nothing, because this model computes its "
            "forecasts and draws nothing"
        )
    series = read_input(options.input, sys.stdin.buffer, forecaster.columns)
    forecasts = forecaster.forecast(
        series,
        options.horizon,
        levels=options.levels,
        paths=options.paths,
        seed=options.seed,
        lower=options.lower,
        upper=options.upper,
        precision=options.precision,
    )
    text = _text(forecasts, options.json)
    if options.output is None:
        sys.stdout.write(text)
    else:
        with open_text_output(options.output) as stream:
            stream.write(text)
    if options.plot:  # last: a picture that cannot be written loses no forecast
        from seq2seq.tasks.forecasting.plots import plot_forecast

        plot_forecast(series[0], forecasts[0], options.plot)
    return 0


def _text(forecasts: Sequence[Forecast], as_json: bool) -> str:
    from seq2seq.tasks.forecasting.frames import frame_of, json_of

    if as_json:
        return "".join(json_of(one) + "\n" for one in forecasts)
    return frame_of(forecasts).to_csv(index=False, float_format="%.12g")


def _add_backtest(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument(
        "--input", type=input_file, metavar="FILE", help="known series; default: standard input"
    )
    parser.add_argument(
        "--horizon", type=whole(1), metavar="N", help="steps ahead; default: as trained"
    )
    parser.add_argument(
        "--first", metavar="ORIGIN", help="steps seen before the first origin, or its date"
    )
    parser.add_argument(
        "--stride", type=whole(1), metavar="N", help="steps between origins; default: the horizon"
    )
    parser.add_argument(
        "--steps", type=_steps, default=[], metavar="LIST", help="score these steps ahead: 3,6,12"
    )
    parser.add_argument(
        "--output", type=further_file, metavar="FILE", help="write the errors of each origin as CSV"
    )
    add_ensemble(parser, "further models of the same columns: the mean of their forecasts")
    _add_bounds(parser)
    parser.add_argument("--json", action="store_true", help="the scores as JSON")
    parser.add_argument(
        "--plot",
        type=picture,
        metavar="PICTURE",
        help="draw the last forecasts of the first series",
    )
    add_machine(parser)


def _steps(text: str) -> list[int]:
    try:
        return [int(one) for one in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers: 3,6,12") from None


def _backtest(options: argparse.Namespace) -> int:
    from seq2seq.json_files import to_json
    from seq2seq.tasks.forecasting.backtest import backtest
    from seq2seq.tasks.forecasting.evaluation import as_json, table
    from seq2seq.tasks.forecasting.reading import read_input

    forecaster = _load(options)
    series = read_input(options.input, sys.stdin.buffer, forecaster.columns)
    first = options.first
    found = backtest(
        forecaster,
        series,
        options.horizon,
        first=int(first) if first is not None and first.isdecimal() else first,
        stride=options.stride,
        lower=options.lower,
        upper=options.upper,
        precision=options.precision,
    )
    scores = found.scores(options.steps)
    if options.json:
        told = {name: as_json(own) for name, own in scores.items()}
        print(to_json({"windows": len(found.actual), "scores": told}, ascii_only=True))
    else:
        horizon = found.actual.shape[1]
        print(f"{len(found.actual):,} windows of {horizon} steps, {len(series):,} series")
        for name, own in scores.items():
            print("\n".join(["", "all steps" if name == "all" else f"step {name}", *table(own)]))
    if options.output is not None:
        with open_text_output(options.output) as stream:
            stream.write(found.by_origin().to_csv(index=False, float_format="%.8g"))
    if options.plot:
        from seq2seq.tasks.forecasting.plots import plot_backtest

        pairs, actual = found.drawn()
        plot_backtest(pairs, options.plot, actual=actual)
    return 0


_BACKTEST_EXAMPLES = """\
Forecasts known series from past origins, reads nothing behind each origin, and scores the forecasts
beside naive ones. mse, mae and crps are in units of the standard deviation of training.

  seq2seq backtest MODEL --input series.csv                     from the last origin of each series
  seq2seq backtest MODEL --input series.csv --first 2024-05-01 --stride 24 --plot backtest.png
  seq2seq backtest MODEL --input series.csv --first 1000 --stride 1 --steps 3,6,12,24 --json
"""

COMMANDS = (
    Command("forecast", "forecast series", _add_forecast, _forecast, _EXAMPLES),
    Command(
        "backtest",
        "score past forecasts",
        _add_backtest,
        _backtest,
        _BACKTEST_EXAMPLES,
        rules=(Needs(("--stride",), ("--first ORIGIN",)),),
    ),
)
