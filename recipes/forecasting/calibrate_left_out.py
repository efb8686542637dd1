"""Intervals for series unlike those of training: a new place, another machine, a new customer.

    python recipes/forecasting/calibrate_left_out.py runs/pedestrians/eth/model \\
        biwi_hotel crowds_zara "students|uni_examples"

A model's intervals follow its errors on the validation set, which resembles the training set. Here
the training series are divided into groups: each pattern (a regular expression) stands for the
series whose names begin so. For each group a model is trained in the same way without it, and
forecasts it. The errors of all groups, each counting as much as any other, give the model its new
offsets (cross-conformal prediction, Vovk 2015, over groups), which are saved in its place or under
--output. The mean forecast stays as it is; the median moves with its offset.

The model's training file is read again: a CSV with one column of series names, as its
configuration has it. Models of the groups are trained in --work and kept there: a second call
trains only what is new, and what was interrupted goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from pathlib import Path

import numpy as np

from seq2seq import Forecaster
from seq2seq.config import config_from_dict, config_to_dict
from seq2seq.digests import file_digest
from seq2seq.errors import RunError, UsageError
from seq2seq.tasks.forecasting.calibration import LEAST, learn_offsets
from seq2seq.tasks.forecasting.errors import quantile_errors
from seq2seq.tasks.forecasting.rolling import Origins
from seq2seq.tasks.forecasting.series_set import SeriesSet
from seq2seq.tasks.forecasting.tables import read_table
from seq2seq.training import checkpoints
from seq2seq.training.loop import train

MOST = 2000  # windows of a group


def trained_without(forecaster: Forecaster, pattern: str, work: Path) -> Forecaster:
    """A model of the same configuration that has not seen the series whose names begin so."""
    values = config_to_dict(forecaster.config)
    folder = work / own_name(pattern, values)
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "validation"):
        if values["data"][split] is not None:
            file = folder / f"{split}.csv"
            write_without(pattern, Path(values["data"][split]), values["data"]["series"][0], file)
            values["data"][split] = str(file)
    values["data"]["test"] = None
    values["output"] = str(folder / "run")
    model = folder / "run" / "model"
    if not (model / "config.json").exists():
        begun = checkpoints.exists(folder / "run" / "checkpoints" / "last")
        train(config_from_dict(values), quiet=True, resume=begun)
    return Forecaster.from_pretrained(model, device="cpu")


def own_name(pattern: str, values: dict) -> str:
    """A folder's name that follows from all that a group's model follows from."""
    files = [values["data"][split] for split in ("train", "validation")]
    digests = [file_digest(Path(file)) for file in files if file is not None]
    whole = json.dumps([pattern, {**values, "output": None}, digests], sort_keys=True)
    readable = re.sub(r"\W+", "_", pattern).strip("_")[:30]
    return f"{readable}-{hashlib.sha256(whole.encode()).hexdigest()[:10]}"


def write_without(pattern: str, source: Path, column: str, file: Path) -> None:
    """The table of ``source`` without the series whose names begin so."""
    rows = read_table(source)
    assert rows is not None
    kept = rows[[re.match(pattern, str(name)) is None for name in rows[column]]]
    if not 0 < len(kept) < len(rows) and (file.stem == "train" or not len(kept)):
        which = "all" if len(kept) == 0 else "none"
        raise UsageError(f"{pattern!r}: {which} of the series of {source} have names of this kind")
    kept.to_csv(file, index=False)


def windows_of(series: SeriesSet, pattern: str, forecaster: Forecaster) -> Origins:
    """The windows of the series whose names begin so, at most ``MOST``."""
    model, data = forecaster.config.model, forecaster.config.data
    stride = data.validation_stride or model.horizon
    found, origins = [], []
    for number, name in enumerate(series.names):
        if re.match(pattern, str(name)):
            own = np.arange(model.context, series.lengths[number] - model.horizon + 1, stride)
            origins.append(own)
            found.append(np.full(len(own), number))
    index = np.concatenate(found) if found else np.zeros(0, np.int64)
    if len(index) < LEAST:
        raise UsageError(f"{pattern!r}: {len(index)} windows; expected {LEAST} at least")
    return Origins(index, np.concatenate(origins), series.lengths[index]).every(MOST)


def run(options: argparse.Namespace) -> None:
    forecaster = Forecaster.from_pretrained(options.model, device="cpu")
    config = forecaster.config
    if len(config.data.series) != 1 or not str(config.data.train).endswith(".csv"):
        raise UsageError(f"{options.model}: expected a model trained on a CSV with 'data.series'")
    if not config.forecast.calibrate or config.forecast.widths != "fixed":
        raise UsageError(
            f"{options.model}: expected 'forecast.calibrate: true' and 'forecast.widths: fixed'"
        )
    if config.training.start_from:
        raise UsageError(
            f"{options.model}: it began with the weights of {config.training.start_from}, which "
            "may have seen the groups; expected a model trained from nothing"
        )
    series = forecaster.read(str(config.data.train))
    errors = []
    for pattern in options.patterns:
        other = trained_without(forecaster, pattern, options.work)
        asked = other.asked(levels=config.forecast.levels, calibrate=False)
        where = windows_of(series, pattern, other)
        errors.append(quantile_errors(other, series, where, asked)[0])
        print(f"{pattern}: {len(where.series):,} windows", file=sys.stderr)
    most = max(map(len, errors))
    even = [one[np.linspace(0, len(one) - 1, most).round().astype(int)] for one in errors]
    offsets = learn_offsets(np.concatenate(even), config.forecast.levels)
    forecaster.model.offsets.copy_(offsets)
    groups = ", ".join(f"`{pattern}`" for pattern in options.patterns)
    notes = f"Quantiles are calibrated on groups of training series left out: {groups}."
    forecaster.save_pretrained(options.output or options.model, card={"notes": notes})


def main() -> None:
    parser = argparse.ArgumentParser(description="Calibrate intervals on series left out.")
    parser.add_argument("model", type=Path, help="a saved model, whose training file is there")
    parser.add_argument("patterns", nargs="+", help="how the names of a group's series begin")
    parser.add_argument("--work", type=Path, help="folder of the groups' models (MODEL-left-out)")
    parser.add_argument("--output", type=Path, help="the new model's folder (MODEL itself)")
    options = parser.parse_args()
    options.work = options.work or options.model.with_name(options.model.name + "-left-out")
    try:
        for pattern in options.patterns:
            re.compile(pattern)
        if len(options.patterns) < 2:
            raise UsageError("one group; expected at least two, which tell what is new of a group")
        run(options)
    except re.error as error:
        print(f"calibrate_left_out: {pattern!r}: {error}", file=sys.stderr)
        sys.exit(2)
    except (UsageError, RunError, OSError) as error:
        print(f"calibrate_left_out: {error}", file=sys.stderr)
        sys.exit(1 if isinstance(error, RunError) else 2)


if __name__ == "__main__":
    main()
