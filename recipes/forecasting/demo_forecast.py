"""The demo: learn how thrown balls fly and bounce, forecast where unseen ones go next.

    seq2seq demo forecasting    a minute on two CPU cores

Everything is written under ``--output`` (runs/demo-forecast). Where
`data/forecasting/sunspots.csv` lies (prepare_series.py writes it), sunspots are forecast, too.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import ball
import numpy as np

from seq2seq import Forecaster, load_config
from seq2seq.command_line import demo_script
from seq2seq.plotting import can_draw
from seq2seq.tasks.forecasting.backtest import backtest
from seq2seq.tasks.forecasting.config import ForecastConfig
from seq2seq.tasks.forecasting.naive import constant_velocity, parabola
from seq2seq.tasks.forecasting.plots import plot_backtest, plot_paths
from seq2seq.tasks.forecasting.scores import displacement, score
from seq2seq.training.learning_curve import plot_learning_curve
from seq2seq.training.loop import train

RECIPE = Path(__file__).parent
SUNSPOTS = Path("data/forecasting/sunspots.csv")
SEEN = 12  # positions, half a second
NAIVE = {"constant velocity": constant_velocity, "parabola": parabola}


def run(output: Path) -> None:
    fly(output)
    if SUNSPOTS.exists():
        shine(output)


def main() -> None:
    demo_script.main(
        "forecasting", "Train and show a small forecasting model.", "runs/demo-forecast", run
    )


def fly(output: Path) -> None:
    """Train on thrown balls, forecast others."""
    started = time.monotonic()
    data, folder = output / "data", output / "ball"
    for earlier in (data, folder):
        shutil.rmtree(earlier, ignore_errors=True)
    files = ball.write(data)
    print(
        f"balls: {ball.PATHS['train']} throws to train on, {ball.PATHS['test']} others to test, "
        f"{ball.RATE} positions a second, in {data}"
    )
    paths = {f"data.{split}": str(files[split]) for split in ("train", "validation")}
    model = train(load_config(RECIPE / "demo.yaml", {"output": str(folder), **paths}))

    forecaster = Forecaster.from_pretrained(model)
    balls = forecaster.read(str(files["test"]))
    found = forecaster.forecast([one.until(SEEN) for one in balls], levels=[0.1, 0.9])
    past = np.stack([one.values[:SEEN] for one in balls])
    horizon = len(found[0].median)
    came = np.stack([one.values[SEEN : SEEN + horizon] for one in balls])
    forecasts = {"model": np.stack([one.median for one in found])}
    forecasts |= {name: naive(past, horizon, 1) for name, naive in NAIVE.items()}
    seconds = [count / ball.RATE for count in (SEEN, horizon)]
    print(
        f"\n{len(came)} balls never seen, {seconds[0]:g} s of each, then the next {seconds[1]:g} s:"
    )
    for name, one in forecasts.items():
        errors = displacement(came, one)
        ade, fde = 100 * errors["ade"], 100 * errors["fde"]
        print(f"  {name:18} {ade:6.1f} cm off; {fde:6.1f} at the end")
    interval = np.stack([one.quantiles for one in found])
    inside = score(came, forecasts["model"], levels=[0.1, 0.9], quantiles=interval)["coverage_80"]
    print(f"  the model's 80% intervals hold {100 * inside:.0f}% of the coordinates")
    print(f"  {time.monotonic() - started:.0f} s in all\n\nmodel           {model}")
    if not can_draw():
        print("pictures        need matplotlib: pip install 'recurrent-seq2seq[plots]'")
        return
    chosen = slice(0, 6)
    shown = {name: one[chosen] for name, one in forecasts.items()}
    picture = plot_paths(
        past[chosen], came[chosen], shown, folder / "balls.png", labels=("x, m", "height, m")
    )
    print(f"paths           {picture}")
    print(f"learning curve  {plot_learning_curve(folder, folder / 'learning_curve.png')}")


def shine(output: Path) -> None:
    """Train on the sunspots until 1900, forecast those from 1935 on."""
    folder = output / "sunspots"
    shutil.rmtree(folder, ignore_errors=True)
    changed = {"output": str(folder), "data.train": str(SUNSPOTS)}
    config = load_config(RECIPE / "sunspots.yaml", changed)
    assert isinstance(config, ForecastConfig)
    print()
    forecaster = Forecaster.from_pretrained(train(config))
    found = backtest(forecaster, forecaster.read(str(SUNSPOTS)), first=config.data.split[1])
    if can_draw():
        pairs, came = found.drawn()
        picture = plot_backtest(pairs, folder / "sunspots.png", actual=came)
        print(f"sunspots        {picture}")


if __name__ == "__main__":
    main()
