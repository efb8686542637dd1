"""Daily movements of 87 stocks (ACL18, Xu and Cohen 2018) as a table that `seq2seq train` reads.

    python recipes/forecasting/prepare_stocks.py acl18_ourpped.tar.xz

The archive is that of Feng et al. 2019 (Adv-ALSTM): 11 features a stock and day, and the movement
of the day, 1 (up by 0.55% or more), -1 (down by 0.5% or more) or 0 (neither, not scored). The
target `up` is 1 or 0. What a row knows ahead are **the features of the day before** and the
weekday: nothing of the day itself. A movement counts from 2014 on and where the features of the
five days before are complete: with that there are 20,315, 2,555 and 3,720 examples to train on, to
validate and to test, as published.
"""

from __future__ import annotations

import argparse
import io
import sys
import tarfile
from datetime import date
from pathlib import Path

import numpy as np
import pandas
from prepare_series import write

from seq2seq.errors import RunError, UsageError

MISSING = -123320.0  # the files write -123321
DAYS = 5  # whose features must be complete
SPLITS = ("2014-01-02", "2015-08-03", "2015-10-01")  # where training, validation and test begin
BEFORE = 10  # rows kept before the first example


def main() -> None:
    parser = argparse.ArgumentParser(description="Prepare ACL18 stocks for forecasting.")
    parser.add_argument("source", type=Path, help="the archive: trading_dates.csv, ourpped/*.csv")
    parser.add_argument("--output", type=Path, default=Path("data/forecasting"), metavar="DIR")
    arguments = parser.parse_args()
    try:
        dates, stocks = read(arguments.source)
        table = rows(dates, stocks)
        print(write(table, arguments.output / "stocks.csv"))
        begins = [dates.index(day) for day in SPLITS] + [len(dates)]
        for name, begin, end in zip(
            ("train", "validation", "test"), begins[:-1], begins[1:], strict=True
        ):
            part = table[(table["time"] >= begin) & (table["time"] < end)]["up"].dropna()
            print(
                f"  {name}: {end - begin} days, {len(part):,} examples, {100 * part.mean():.1f}% up"
            )
        first = begins[0] - BEFORE
        sizes = [begins[1] - first, begins[2] - begins[1], begins[3] - begins[2]]
        print(f"  data.split: {sizes}")
    except (UsageError, RunError) as error:
        print(f"prepare_stocks: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)


def read(source: Path) -> tuple[list[str], dict[str, np.ndarray]]:
    """The trading days, and of each stock (days, 13): 11 features, movement, price."""
    dates, stocks = [], {}
    try:
        with tarfile.open(source) as archive:
            for member in sorted(archive.getmembers(), key=lambda one: one.name):
                path = Path(member.name)
                if path.suffix != ".csv":
                    continue
                text = archive.extractfile(member).read()
                if path.stem == "trading_dates":
                    dates = text.decode().split()
                else:
                    stocks[path.stem] = np.loadtxt(io.BytesIO(text), delimiter=",", ndmin=2)
    except (OSError, ValueError, tarfile.TarError) as error:
        raise UsageError(f"{source}: cannot be read as an archive of stocks ({error})") from None
    missing = [day for day in SPLITS if day not in dates]
    if missing or not stocks:
        raise UsageError(
            f"{source}: expected trading_dates.csv with {SPLITS[0]}, and ourpped/*.csv"
        )
    for name, values in stocks.items():
        if values.shape != (len(dates), 13):
            raise UsageError(
                f"{source}: {name} has shape {values.shape}; expected {len(dates)} x 13"
            )
    return dates, stocks


def rows(dates: list[str], stocks: dict[str, np.ndarray]) -> pandas.DataFrame:
    first = dates.index(SPLITS[0])
    days = np.arange(first - BEFORE, len(dates))
    weekdays = np.array([date.fromisoformat(day).weekday() for day in dates])
    parts = []
    for name, values in stocks.items():
        complete = values.min(1) > MISSING
        known = np.all([complete[days - back] for back in range(1, DAYS + 1)], axis=0)
        movement = values[days, 11]
        counts = known & (np.abs(movement) > 1e-8) & (days >= first)
        before = np.where(complete[days - 1, None], values[days - 1, :11], 0.0)
        part = {"series": name, "time": days, "up": np.where(counts, movement > 0, np.nan)}
        part |= {f"before{n + 1}": before[:, n] for n in range(11)}
        part |= {f"weekday{n}": (weekdays[days] == n).astype(int) for n in range(5)}
        parts.append(pandas.DataFrame(part))
    return pandas.concat(parts, ignore_index=True)


if __name__ == "__main__":
    main()
