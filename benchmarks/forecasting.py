"""Training speed of a DeepAR, here and in gluonts: windows a second of CPU time.

    python benchmarks/forecasting.py ours ours-bf16 gluonts --output forecasting-cpu.json

Both train the same network (LSTM, 2 x 40, Student's t, the lags and the context that gluonts takes
by itself) on the same made-up hourly series, in batches of the same size, with Adam and clipping,
one thread, in turn, each round in a process of its own. Measured is the CPU time of the process
between two steps in the middle of training, so that imports and set-up do not count. gluonts
(``pip install 'gluonts[torch]'``) may be in an environment of its own: ``--gluonts-python PATH``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SERIES, LENGTH, HORIZON = 400, 900, 48
LAGS = [  # gluonts' for hourly data
    *range(1, 8),
    *(24 * day + hour for day in (1, 2, 3, 4, 5, 6) for hour in (-1, 0, 1)),
    *(168 * week + hour for week in (1, 2, 3, 4) for hour in (-1, 0, 1)),
    *(719, 720, 721),
]
FIRST = 20  # steps before the clock starts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sides", nargs="+", choices=["ours", "ours-bf16", "gluonts"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--gluonts-python", default=sys.executable)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--here", action="store_true", help="one side, in this process")
    options = parser.parse_args()
    if options.here:
        side = options.sides[0]
        if side == "gluonts":
            print(json.dumps(gluonts(options.steps, options.batch)))
        else:
            precision = "bf16" if side == "ours-bf16" else "fp32"
            print(json.dumps(ours(options.steps, options.batch, precision)))
        return
    found: dict[str, list[float]] = {side: [] for side in options.sides}
    versions: dict[str, str] = {}
    for _ in range(options.rounds):
        for side in options.sides:
            python = options.gluonts_python if side == "gluonts" else sys.executable
            result = in_a_process(python, side, options)
            found[side].append(result["windows_per_second"])
            versions |= result["versions"]
            print(f"{side}: {found[side][-1]:.0f} windows/s", file=sys.stderr)
    medians = {side: statistics.median(rates) for side, rates in found.items()}
    report = {
        "what": "training windows per second of CPU time, one thread",
        "batch": options.batch,
        "steps": options.steps,
        "machine": processor(),
        "versions": versions,
        "windows_per_second": found,
        "median": medians,
    }
    if "gluonts" in medians:
        report["times_gluonts"] = {s: rate / medians["gluonts"] for s, rate in medians.items()}
    text = json.dumps(report, indent=1)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


def in_a_process(python: str, side: str, options: argparse.Namespace) -> dict:
    command = [python, __file__, side, "--here", "--steps", str(options.steps)]
    command += ["--batch", str(options.batch)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def series():
    """(SERIES, LENGTH) float64"""
    import numpy as np

    random, steps = np.random.default_rng(0), np.arange(LENGTH)
    level = random.lognormal(4, 1, (SERIES, 1))
    season = 1 + 0.5 * np.sin(2 * np.pi * (steps + random.integers(0, 24, (SERIES, 1))) / 24)
    return level * season * (1 + 0.1 * random.standard_normal((SERIES, LENGTH)))


class Clock:
    """CPU time between step ``FIRST`` and the last one seen."""

    def __init__(self) -> None:
        self.step, self.begun, self.now = 0, 0.0, 0.0

    def tick(self) -> None:
        self.step += 1
        self.now = time.process_time()
        if self.step == FIRST:
            self.begun = self.now

    def report(self, batch: int, versions: dict[str, str]) -> dict:
        rate = batch * (self.step - FIRST) / (self.now - self.begun)
        return {"windows_per_second": rate, "versions": versions}


def ours(steps: int, batch: int, precision: str) -> dict:
    """The loop of ``seq2seq train``, logging and all."""
    import numpy as np
    import torch

    from seq2seq.config import config_from_dict
    from seq2seq.tasks.forecasting.training import ForecastTask
    from seq2seq.training.loop import train

    torch.set_num_threads(1)
    clock, factor = Clock(), ForecastTask.rate_factor

    def timed(self: ForecastTask, one: object) -> float:  # called once a step
        clock.tick()
        return factor(self, one)

    ForecastTask.rate_factor = timed
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "series.npz"
        starts = np.full(SERIES, np.datetime64("2024-01-01", "ns"))
        np.savez(path, values=series()[..., None], starts=starts, step="h")
        config = {
            "task": "forecasting",
            "output": f"{folder}/run",
            "data": {"train": str(path), "split": ["rest", "0"], "batch_size": batch},
            "model": {
                **{"kind": "autoregressive", "cell": "lstm", "layers": 2, "hidden_size": 40},
                **{"context": HORIZON, "horizon": HORIZON, "head": "student", "lags": LAGS},
                **{"scaling": "mean", "dropout": 0.1},
            },
            "training": {
                **{"max_steps": steps, "device": "cpu", "threads": 1, "precision": precision},
                **{"clip_norm": 10.0, "patience": None, "schedule": "constant"},
            },
        }
        train(config_from_dict(config), quiet=True)
    return clock.report(batch, {"torch": torch.__version__})


def gluonts(steps: int, batch: int) -> dict:
    """gluonts' estimator, trained as its documentation does."""
    import gluonts
    import lightning.pytorch
    import pandas
    import torch
    from gluonts.dataset.common import ListDataset
    from gluonts.torch import DeepAREstimator

    torch.set_num_threads(1)
    clock = Clock()

    class Timed(lightning.pytorch.Callback):
        def on_train_batch_end(self, *_: object) -> None:
            clock.tick()

    start = pandas.Period("2024-01-01", freq="h")
    data = ListDataset([{"start": start, "target": one} for one in series()], freq="h")
    with tempfile.TemporaryDirectory() as folder:
        estimator = DeepAREstimator(
            freq="h",
            prediction_length=HORIZON,
            context_length=HORIZON,
            lags_seq=LAGS,
            batch_size=batch,
            num_batches_per_epoch=steps,
            trainer_kwargs={
                **{"max_epochs": 1, "accelerator": "cpu", "callbacks": [Timed()]},
                **{"default_root_dir": folder, "enable_progress_bar": False, "logger": False},
                "enable_model_summary": False,
            },
        )
        estimator.train(data)
    return clock.report(batch, {"torch": torch.__version__, "gluonts": gluonts.__version__})


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), "")


if __name__ == "__main__":
    main()
