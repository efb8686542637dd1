"""Errors of forecast paths as distances, beside naive forecasts of the same paths.

    python recipes/forecasting/score_trajectories.py --seen 8 MODEL TEST.csv [MODEL TEST.csv ...]

Every path of a test file is forecast once, from its first `--seen` positions; shorter ones are
left out, and a path that ends early is scored as far as it goes. Several models with their own
test files, as cross-validation and leaving one scene out have, are printed one by one and together.

ade: mean distance over all positions; fde: at the last one; mean and median of the paths' own
means; coverage of the 80% interval of each coordinate.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from seq2seq import Forecaster
from seq2seq.errors import RunError, UsageError
from seq2seq.plotting import can_draw
from seq2seq.tasks.forecasting.naive import constant_velocity, last, parabola
from seq2seq.tasks.forecasting.plots import plot_paths
from seq2seq.tasks.forecasting.rolling import Origins, actual_values
from seq2seq.tasks.forecasting.scores import displacement, score

NAIVE = {"last": last, "constant velocity": constant_velocity, "parabola": parabola}


def main() -> None:
    parser = argparse.ArgumentParser(description="Score forecast paths as distances.")
    parser.add_argument(
        "pairs", nargs="+", metavar="MODEL TEST", help="models and their test files"
    )
    parser.add_argument(
        "--seen", type=int, required=True, metavar="N", help="positions that are seen"
    )
    parser.add_argument("--plot", metavar="PICTURE", help="draw some paths of the first test file")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores")
    arguments = parser.parse_args()
    try:
        if len(arguments.pairs) % 2:
            raise UsageError(f"{arguments.pairs[-1]}: a model without a test file")
        run(arguments)
    except (UsageError, RunError) as error:
        print(f"score_trajectories: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)


def run(arguments: argparse.Namespace) -> None:
    names, parts, results = [], [], {}
    for model, test in zip(arguments.pairs[::2], arguments.pairs[1::2], strict=True):
        found = forecast(Forecaster.from_pretrained(model), test, arguments.seen)
        names.append(test)
        parts.append(found)
        results[test] = scores(found)
        show(test, results[test])
    if len(parts) > 1:
        shape = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        results["all paths"] = scores(shape)
        show("all paths", results["all paths"])
        results["mean of the files"] = mean_of([results[name] for name in names])
        show("mean of the files", results["mean of the files"])
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    if arguments.plot and can_draw():
        print(f"drawn: {plot_paths(*examples(parts[0]), arguments.plot)}")


def forecast(forecaster: Forecaster, test: str, seen: int) -> dict[str, np.ndarray]:
    """The past, what came, the forecast, its 80% interval and the naive forecasts of each path."""
    series = forecaster.read(test)
    index = np.flatnonzero(series.lengths > seen)
    if not len(index):
        raise UsageError(f"{test}: no path of more than {seen} positions")
    origins = np.full(len(index), seen)
    where = Origins(index, origins, series.lengths[index])
    asked = forecaster.asked(levels=[0.1, 0.9])
    found = forecaster.predict(series, where, asked)
    past = np.stack([series[int(i)].values[:seen] for i in index])
    naive = {name: one(past, asked.horizon, 1) for name, one in NAIVE.items()}
    actual = actual_values(series, where, asked.horizon)
    arrays = {"past": past, "actual": actual, "model": found.mean, "interval": found.quantiles}
    return arrays | naive


def scores(found: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    actual = found["actual"]
    results = {name: displacement(actual, found[name]) for name in ("model", *NAIVE)}
    spread = score(actual, found["model"], levels=[0.1, 0.9], quantiles=found["interval"])
    results["model"]["coverage_80"] = spread["coverage_80"]
    results["model"]["paths"] = len(actual)
    return results


def mean_of(results: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    return {
        kind: {name: float(np.mean([one[kind][name] for one in results])) for name in own}
        for kind, own in results[0].items()
    }


def show(title: str, results: dict[str, dict[str, float]]) -> None:
    print(f"\n{title}, {results['model']['paths']:,.0f} paths")
    names = ("ade", "fde", "mean_path", "median_path", "coverage_80")
    print(" ".join([" " * 18, *(f"{name:>11}" for name in names)]))
    for kind, own in results.items():
        cells = [f"{own[name]:11.4f}" if name in own else " " * 11 for name in names]
        print(" ".join([f"{kind:18}", *cells]).rstrip())


def examples(
    found: dict[str, np.ndarray], most: int = 6
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Some paths, evenly spread over the file: past, what came, forecasts by name."""
    chosen = np.linspace(0, len(found["past"]) - 1, most).round().astype(int)
    names = ("model", "constant velocity", "parabola")
    return found["past"][chosen], found["actual"][chosen], {n: found[n][chosen] for n in names}


if __name__ == "__main__":
    main()
