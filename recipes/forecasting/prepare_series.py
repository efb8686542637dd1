"""Public series as tables that `seq2seq train` reads.

    python recipes/forecasting/prepare_series.py etth1 ETTh1.csv
    python recipes/forecasting/prepare_series.py exchange exchange_rate.txt.gz
    python recipes/forecasting/prepare_series.py m4 FOLDER       Hourly-train.csv, Hourly-test.csv,
    ... python recipes/forecasting/prepare_series.py pm25 pollution.csv
    python recipes/forecasting/prepare_series.py sunspots monthly-sunspots.csv

Files may be compressed (.gz, .xz). Where each comes from is said in start.md. Tables are written
under `--output` (data/forecasting).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas

from seq2seq.errors import RunError, UsageError

M4 = {"Hourly": 48, "Weekly": 13}  # groups of M4, and how many steps ahead each is forecast


def main() -> None:
    parser = argparse.ArgumentParser(description="Prepare public series for forecasting.")
    parser.add_argument("name", choices=list(SETS))
    parser.add_argument("source", type=Path, help="the file or folder as published")
    parser.add_argument("--output", type=Path, default=Path("data/forecasting"), metavar="DIR")
    arguments = parser.parse_args()
    try:
        for name, table in SETS[arguments.name](arguments.source).items():
            print(write(table, arguments.output / f"{name}.csv"))
    except (UsageError, RunError) as error:
        print(f"prepare_series: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)


def etth1(source: Path) -> dict[str, pandas.DataFrame]:
    """Two years of hours of an electricity transformer: six loads and the oil's temperature."""
    table = read(source)
    expect(table, ["date", "HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"], source)
    return {"etth1": table.rename(columns={"date": "time"})}


def exchange(source: Path) -> dict[str, pandas.DataFrame]:
    """Daily exchange rates of eight currencies. The file has no dates: days are numbered."""
    table = read(source, header=None)
    if table.shape[1] != 8:
        raise UsageError(f"{source}: {table.shape[1]} columns; expected 8 rates a line")
    table.columns = [f"rate{n}" for n in range(1, 9)]
    table.insert(0, "time", range(len(table)))
    return {"exchange": table}


def m4(source: Path) -> dict[str, pandas.DataFrame]:
    """Series of M4, whose last steps are the competition's test set. Steps are numbered: the
    series have no times."""
    tables = {}
    for group, horizon in M4.items():
        found = (
            sorted(source.glob(f"{group}-train.csv*")),
            sorted(source.glob(f"{group}-test.csv*")),
        )
        if not all(found):
            continue
        parts = []
        for part, paths in zip(("train", "test"), found, strict=True):
            wide = read(paths[0])
            names = wide.columns[0]
            long = wide.melt(id_vars=names, var_name="column", value_name="value").dropna()
            long["step"] = long["column"].str[1:].astype(int) - 2  # the first column is the name
            if part == "test" and not (long.groupby(names).size() == horizon).all():
                raise UsageError(f"{paths[0]}: expected {horizon} values a series")
            parts.append(long.rename(columns={names: "series"})[["series", "step", "value"]])
        parts[1]["step"] += parts[1]["series"].map(parts[0].groupby("series").size())
        joined = pandas.concat(parts)
        if joined["step"].isna().any():
            raise UsageError(f"{found[1][0]}: a series is not in {found[0][0]}")
        joined["time"] = joined["step"].astype(int)
        joined["number"] = joined["series"].str[1:].astype(int)
        joined = joined.sort_values(["number", "time"])
        tables[f"m4_{group.lower()}"] = joined[["series", "time", "value"]]
    if not tables:
        raise UsageError(f"{source}: no Hourly-train.csv and Hourly-test.csv, nor those of Weekly")
    return tables


def pm25(source: Path) -> dict[str, pandas.DataFrame]:
    """Hours of Beijing's air, 2010 to 2014: fine dust, with gaps, and the weather; the wind comes
    from NW, NE or SE, or is calm or changes (cv)."""
    table = read(source)
    weather = ["DEWP", "TEMP", "PRES", "Iws"]
    expect(table, ["year", "month", "day", "hour", "pm2.5", *weather, "cbwd"], source)
    time = pandas.to_datetime(table[["year", "month", "day", "hour"]])
    found = table[["pm2.5", *weather]].copy()
    found["wind"] = table["cbwd"]
    found.insert(0, "time", time)
    first = found["pm2.5"].first_valid_index()
    return {"pm25": found.loc[first:]}


def sunspots(source: Path) -> dict[str, pandas.DataFrame]:
    """Monthly numbers of sunspots, 1749 to 1983."""
    table = read(source)
    expect(table, ["Month", "Sunspots"], source)
    return {"sunspots": table.rename(columns={"Month": "time", "Sunspots": "sunspots"})}


SETS = {"etth1": etth1, "exchange": exchange, "m4": m4, "pm25": pm25, "sunspots": sunspots}


def read(source: Path, **options: None) -> pandas.DataFrame:
    try:
        return pandas.read_csv(source, **options)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"{source}: cannot be read as a CSV table ({reason})") from None


def expect(table: pandas.DataFrame, columns: list[str], source: Path) -> None:
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise UsageError(
            f"{source}: no column {missing[0]!r}; there are: {', '.join(table.columns)}"
        )


def write(table: pandas.DataFrame, path: Path) -> str:
    """Write a table whole or not at all; -> what was written, as a line."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".part")
        table.to_csv(temporary, index=False, date_format="%Y-%m-%d %H:%M:%S")
        temporary.replace(path)
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror})") from None
    series = f"{table['series'].nunique():,} series, " if "series" in table.columns else ""
    return f"{path}: {series}{len(table):,} rows"


if __name__ == "__main__":
    main()
