"""How often models forecast the direction of a stock right, and what that is worth.

    python recipes/forecasting/score_directions.py data/forecasting/stocks.csv MODEL [MODEL ...]

The target is 1 (up) or 0 (down); a forecast above a half says up. Models are the same
configuration with other seeds. The 95% interval is a bootstrap over days, since the stocks of a
day move together: days are drawn, not examples. A model is worth something where the interval of
its mean lies above always saying up.

Before scoring, the script replaces all that lies behind each forecast's origin by noise and checks
that the forecasts do not change.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np

from seq2seq import Forecaster
from seq2seq.errors import RunError, UsageError
from seq2seq.tasks.forecasting.rolling import Origins, actual_values
from seq2seq.tasks.forecasting.series_set import SeriesSet
from seq2seq.tasks.forecasting.splits import split_series

DRAWS = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description="Score forecasts of directions.")
    parser.add_argument("input", help="the table of prepare_stocks.py")
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores")
    arguments = parser.parse_args()
    try:
        results = run(arguments.input, arguments.models)
    except (UsageError, RunError) as error:
        print(f"score_directions: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


def run(location: str, models: list[str]) -> dict[str, object]:
    right, days, up = [], np.zeros(0), np.zeros(0)
    for model in models:
        forecaster = Forecaster.from_pretrained(model)
        series = forecaster.read(location)
        where = origins(forecaster, series)
        up = actual_values(series, where, 1)[:, 0, 0]
        days = series.starts[where.series] + where.origins
        found = forecaster.predict(series, where, forecaster.asked()).mean[:, 0, 0]
        check_leak(forecaster, series, where, found)
        right.append((found > 0.5) == (up > 0.5))
        share = 100 * np.mean(found > 0.5)
        print(f"{model}: {100 * right[-1].mean():.2f}% right, says up in {share:.0f}% of the cases")
    mean = np.mean(right, axis=0)  # (N,) share of models that are right
    interval = over_days(mean, days)
    always = up > 0.5
    better = over_days(mean - always, days)
    accuracy = [float(100 * one.mean()) for one in right]
    print(
        f"\n{len(up):,} examples on {len(np.unique(days))} days, {len(models)} models\n"
        f"  mean            {np.mean(accuracy):.2f}%, 95% interval {told(interval)} (over days)\n"
        f"  always up       {100 * always.mean():.2f}%\n"
        f"  the difference  {np.mean(accuracy) - 100 * always.mean():+.2f}, "
        f"95% interval {told(better)}"
    )
    return {
        "examples": len(up),
        "accuracy": accuracy,
        "mean": float(np.mean(accuracy)),
        "interval_95": interval,
        "always_up": float(100 * always.mean()),
        "difference_interval_95": better,
    }


def origins(forecaster: Forecaster, series: SeriesSet) -> Origins:
    """The days of the test part that have a direction."""
    parts = split_series(series, forecaster.config.data.split)
    found = []
    for number, one in enumerate(series):
        steps = np.arange(parts.validation[number], min(len(one), parts.test[number]))
        steps = steps[~np.isnan(one.values[steps, 0])]
        found += [(number, step, step + 1) for step in steps]
    if not found:
        raise UsageError("no example in the test part; expected the table of prepare_stocks.py")
    return Origins(*np.array(found).T)


def check_leak(
    forecaster: Forecaster, series: SeriesSet, where: Origins, found: np.ndarray
) -> None:
    """Raises RunError if a forecast changes when the targets from its origin on are noise, and the
    covariates of later days, too."""
    random = np.random.default_rng(0)
    for day in np.unique(where.origins)[:: max(1, len(np.unique(where.origins)) // 8)]:
        own = where.origins == day
        values, known = np.array(series.values), np.array(series.known)
        step = np.arange(len(values)) - np.repeat(series.offsets[:-1], np.diff(series.offsets))
        behind = step >= day
        values[behind] = random.integers(0, 2, (behind.sum(), 1))
        step = np.arange(len(known)) - np.repeat(
            series.known_offsets[:-1], np.diff(series.known_offsets)
        )
        known[step > day] = random.normal(size=((step > day).sum(), known.shape[1]))
        changed = dataclasses.replace(series, values=values, known=known)
        part = Origins(*(one[own] for one in where))
        again = forecaster.predict(changed, part, forecaster.asked()).mean[:, 0, 0]
        if not np.allclose(again, found[own], rtol=0, atol=1e-6):
            raise RunError(f"day {day}: the forecast changes with what comes after it")


def over_days(values: np.ndarray, days: np.ndarray) -> list[float]:
    """95% interval of the mean of ``values`` in %, by a bootstrap that draws whole days."""
    kinds, place = np.unique(days, return_inverse=True)
    total, count = np.bincount(place, values), np.bincount(place)
    drawn = np.random.default_rng(1).integers(0, len(kinds), (DRAWS, len(kinds)))
    means = 100 * total[drawn].sum(1) / count[drawn].sum(1)
    return [float(bound) for bound in np.quantile(means, [0.025, 0.975])]


def told(interval: list[float]) -> str:
    return f"{interval[0]:.2f} to {interval[1]:.2f}"


if __name__ == "__main__":
    main()
