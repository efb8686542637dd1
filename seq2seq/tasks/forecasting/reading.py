"""Files and pandas frames -> series. One row is one time of one series, in any order.

- CSV and Parquet, also compressed (.csv.gz, .csv.xz): see ``tables``.
- NPZ, and folders of .npy files, which stay on disk: see ``arrays``.

What happens to unusual input:

- Rows are sorted by time. A repeated time is an error.
- A time that is missing: ``data.gaps`` decides. Between two rows that are not a whole number of
  steps apart: an error.
- The forecast begins after the last row with a value in any target. Rows behind it are the future,
  and hold what is known ahead. A missing value before it is a missing value.
- A past covariate may be missing, as a value; behind the last observed one it is not read.
- A known covariate must have a value in every row; in rows that ``gaps: fill`` adds it is the one
  of the row before.
- Times with a zone: steps below a day are counted in UTC and times are given back in the zone; for
  longer steps the date on the zone's clocks counts, and the zone is dropped.
- Whole numbers, truth values and numbers in text are read as numbers.
- Covariates may be text: see ``text_columns``.

Every error names the series and the row, counted from 1 below the header.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

import numpy as np

from seq2seq.array_files import LARGEST, UNREADABLE, reason_of
from seq2seq.errors import UsageError
from seq2seq.public_data import missing_hint
from seq2seq.tasks.forecasting.arrays import ARRAYS, read_arrays
from seq2seq.tasks.forecasting.config import ForecastDataConfig
from seq2seq.tasks.forecasting.regular import Times, fill_gaps, parse_times, regular_step
from seq2seq.tasks.forecasting.series import UNNAMED
from seq2seq.tasks.forecasting.series_set import SeriesSet, check_values
from seq2seq.tasks.forecasting.tables import Names, read_stream, read_table
from seq2seq.tasks.forecasting.text_columns import Covariates, Texts, numbers, read_covariates
from seq2seq.tasks.forecasting.times import Step, step_named

if TYPE_CHECKING:
    from pandas import DataFrame, Index
    from pandas import Series as Column


@dataclass(frozen=True)
class Columns:
    """Which column of a table is what; see ``ForecastDataConfig``."""

    time: str | None
    series: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    step: Step | None = None
    gaps: Literal["error", "fill", "ignore"] = "error"
    past: tuple[str, ...] = ()
    texts: Texts | None = None  # of known and past columns; None: those of the table
    day_first: bool | None = None  # how dates such as 1/2/2024 are meant; None: the table tells


def columns_of(data: ForecastDataConfig) -> Columns:
    """The columns that a configuration names."""
    return Columns(
        data.time,
        tuple(data.series),
        tuple(data.targets),
        tuple(data.known),
        tuple(data.static),
        None if data.step is None else step_named(data.step),
        data.gaps,
        tuple(data.past),
    )


def read_series(location: str, columns: Columns) -> SeriesSet:
    """The series of a file or folder. Raises UsageError for what cannot be read or makes no
    sense."""
    path = Path(location)
    if not path.exists():
        raise UsageError(f"{location}: no such file or folder{missing_hint(path)}")
    if path.is_dir() or path.suffix == ".npz":
        series = read_arrays(path)
        check_values(series)
        return series
    return series_of_frame(_read_table(path, columns), columns, location)


def read_input(location: str | None, stream: IO[bytes], columns: Columns) -> SeriesSet:
    """The series of a file, or of a CSV table in ``stream`` where ``location`` is None."""
    if location is not None:
        return read_series(location, columns)
    try:
        frame = read_stream(stream, "standard input", _named(columns))
    except UNREADABLE as error:
        reason = reason_of(error)
        raise UsageError(f"standard input: cannot be read as a CSV table ({reason})") from None
    return series_of_frame(frame, columns, "standard input")


def _named(columns: Columns) -> Names:
    """The columns of names; one that is a static column, too, may be numbers."""
    texts = tuple(name for name in columns.series if name not in columns.static)
    return Names(texts, columns.static)


def _read_table(path: Path, columns: Columns) -> DataFrame:
    try:
        frame = read_table(path, _named(columns))
    except (*UNREADABLE, ImportError) as error:
        raise UsageError(f"{path}: cannot be read as a table ({reason_of(error)})") from None
    if frame is not None:
        return frame
    raise UsageError(
        f"{path}: ends in none of .csv, .tsv, .parquet, .npz; arrays may also be a folder of .npy "
        f"files ({', '.join(ARRAYS)})"
    )


def series_of_frame(frame: DataFrame, columns: Columns, where: str = "frame") -> SeriesSet:
    """The series of a table; a column may also be a level of the frame's index. Raises UsageError
    for a column that is not there, a value that is no number, and times that are not regular."""
    import pandas

    if not isinstance(frame, pandas.DataFrame):
        raise UsageError(f"history is {type(frame).__name__}; expected a pandas DataFrame")
    indexed = {columns.time, *columns.series, *columns.static} & set(frame.index.names)
    levels = [name for name in indexed if name is not None and name not in frame.columns]
    if levels:
        frame = frame.reset_index(levels)
    if not len(frame):
        raise UsageError(f"{where}: no rows; expected at least one")
    if not all(isinstance(name, str) for name in frame.columns):
        frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    _check_columns(frame, columns, where)
    names, codes = _names(frame, columns.series, where)
    numbered = columns.time is None or columns.gaps == "ignore"
    if columns.time is None:
        times, zone, day_first = Times(np.arange(len(frame)))
    else:  # the step of numbered rows says nothing about the times that put them in order
        step = None if numbered else columns.step
        times, zone, day_first = parse_times(frame[columns.time], where, step, columns.day_first)
    order = np.lexsort((times, codes))  # stable: numbered rows keep their order
    codes, times = codes[order], times[order]
    bounds = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(names)))])
    targets = columns.targets or _others(frame, columns)
    values = _numbers(frame, targets, where)[order]
    known, past = (
        read_covariates(frame, own, columns.texts, where) for own in (columns.known, columns.past)
    )
    known, past = (one and one._replace(values=one.values[order]) for one in (known, past))
    origin = _Rows(names, codes, order, where)
    if numbered:
        times, step, zone = np.arange(len(times)) - bounds[codes], Step(1, "rows"), None
    else:
        step = columns.step or regular_step(times, bounds, where)
        filled = fill_gaps(times, bounds, step, columns.gaps == "fill", origin.place)
        if filled is not None:
            bounds, source = filled
            values = np.where(source[:, None] < 0, np.nan, values[source])
            if past is not None:
                past = past._replace(
                    values=np.where(source[:, None] < 0, np.nan, past.values[source])
                )
            if known is not None:
                before = np.maximum.accumulate(np.arange(len(source)) * (source >= 0))
                known = known._replace(values=known.values[source[before]])
    starts = times[np.searchsorted(codes, np.arange(len(names)))]
    if known is not None:
        _check_known(known, bounds, names, where)
    static = _static(frame, columns, codes, order, origin)
    found = _cut_future(names, starts, step, values, bounds, targets, known, past, static, zone)
    return replace(found, day_first=day_first)


@dataclass(frozen=True)
class _Rows:
    """Where sorted rows come from."""

    names: np.ndarray
    codes: np.ndarray
    order: np.ndarray
    where: str

    def place(self, row: int) -> str:
        """The beginning of an error about a sorted row."""
        name = str(self.names[self.codes[row]])
        return f"{self.where}: series {name!r}, row {self.order[row] + 1}"


def _check_columns(frame: DataFrame, columns: Columns, where: str) -> None:
    there = [str(column) for column in frame.columns]
    time = [columns.time] if columns.time is not None else []
    read = (*columns.targets, *columns.known, *columns.past)
    for name in (*time, *columns.series, *read, *columns.static):
        if name not in there:
            near = difflib.get_close_matches(name, there, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(there)}"
            rows = " ('data.time: null' numbers the rows)" if name == columns.time else ""
            raise UsageError(f"{where}: no column {name!r}; {hint}{rows}")
        if there.count(name) > 1:
            raise UsageError(f"{where}: {there.count(name)} columns {name!r}; expected one")


def _others(frame: DataFrame, columns: Columns) -> tuple[str, ...]:
    used = {columns.time, *columns.series, *columns.known, *columns.past, *columns.static}
    return tuple(str(name) for name in frame.columns if name not in used)


def _names(frame: DataFrame, keys: Sequence[str], where: str) -> tuple[np.ndarray, np.ndarray]:
    """Names of the series in the order of their first rows, and the series of each row."""
    import pandas

    if not keys:
        return np.array([UNNAMED]), np.zeros(len(frame), dtype=np.int64)
    missing = frame[list(keys)].isna().any(axis=1).to_numpy()
    if missing.any():
        raise UsageError(f"{where}: row {int(missing.argmax()) + 1}: the series has no name")
    parts = [_identifiers(frame[key]) for key in keys]
    text = parts[0].str.cat(parts[1:], sep="/") if len(keys) > 1 else parts[0]
    codes, names = pandas.factorize(text)
    if len(keys) > 1:
        _check_apart(parts, codes, names, where)
    return np.asarray(names, dtype=str), codes.astype(np.int64)


def _identifiers(column: Column) -> Column:
    """Names as text: whole numbers without a fraction, in whatever type a table holds them."""
    import pandas

    if pandas.api.types.is_float_dtype(column) and bool((column % 1 == 0).all()):
        column = column.astype("int64") if bool((column.abs() < 2**63).all()) else column
    return column.astype(str)


def _check_apart(parts: list[Column], codes: np.ndarray, names: Index, where: str) -> None:
    """Raises UsageError where two series, told apart by several columns, have one name."""
    import pandas

    apart = pandas.DataFrame(dict(enumerate(parts)))
    first = apart.groupby(list(apart.columns), sort=False).ngroup().to_numpy()
    own = pandas.Series(first).groupby(codes).transform("first").to_numpy()
    if (own != first).any():
        row = int((own != first).argmax())
        raise UsageError(
            f"{where}: row {row + 1}: two series would have the name {str(names[codes[row]])!r}, "
            "because their names hold '/'; give them other ones"
        )


def _numbers(frame: DataFrame, names: Sequence[str], where: str) -> np.ndarray:
    """Target columns as (rows, columns) float64; UsageError for a value that is no number."""
    if not names:
        raise UsageError(f"{where}: no target column; name it in 'data.targets'")
    hint = " (name the columns to forecast in 'data.targets')"
    return np.stack([numbers(frame[name], where, hint) for name in names], 1)


def _check_known(known: Covariates, bounds: np.ndarray, names: np.ndarray, where: str) -> None:
    wrong = ~(np.abs(known.values) <= LARGEST)
    if not wrong.any():
        return
    row, column = (int(one) for one in np.argwhere(wrong)[0])
    series = int(np.searchsorted(bounds, row, side="right")) - 1
    raise UsageError(
        f"{where}: series {str(names[series])!r}, row {row - bounds[series] + 1} of it: "
        f"{known.names[column]} is {known.values[row, column]:g}; a covariate known ahead needs a "
        f"number in every row, of at most {LARGEST:.2g}"
    )


def _static(
    frame: DataFrame, columns: Columns, codes: np.ndarray, order: np.ndarray, rows: _Rows
) -> dict[str, np.ndarray]:
    """The static columns, one value for each series."""
    import pandas

    found = {}
    first = np.searchsorted(codes, np.arange(len(rows.names)))
    for name in columns.static:
        column = frame[name].iloc[order]
        number = pandas.api.types.is_numeric_dtype(column)
        values = column.to_numpy(dtype=np.float64) if number else column.astype(str).to_numpy(str)
        changed = values != values[first][codes]
        missing = column.isna().to_numpy()
        for wrong, what in ((missing, "is missing"), (changed, "differs from its first row's")):
            if wrong.any():
                place = rows.place(int(wrong.argmax()))
                raise UsageError(f"{place}: static column {name!r} {what}; expected one value")
        found[name] = values[first]
    return found


def _cut_future(
    names: np.ndarray,
    starts: np.ndarray,
    step: Step,
    values: np.ndarray,
    bounds: np.ndarray,
    targets: tuple[str, ...],
    known: Covariates | None,
    past: Covariates | None,
    static: dict[str, np.ndarray],
    zone: str | None,
) -> SeriesSet:
    """Rows behind the last observed one are the future of their series."""
    rows = np.arange(len(values))
    seen = np.where(np.isfinite(values).any(1) | np.isinf(values).any(1), rows + 1, 0)
    ends = np.maximum.reduceat(seen, bounds[:-1])
    lengths = ends - bounds[:-1]
    if (lengths <= 0).any():
        name = str(names[int((lengths <= 0).argmax())])
        raise UsageError(
            f"series {name!r}: no value in {', '.join(targets)}; at least one is needed"
        )
    kept = rows < np.repeat(ends, np.diff(bounds))
    series = SeriesSet(
        names,
        starts,
        step,
        values if kept.all() else values[kept],
        np.concatenate([[0], np.cumsum(lengths)]),
        targets,
        None if known is None else known.values,
        None if known is None else bounds,
        () if known is None else known.names,
        static,
        zone,
        None if past is None else past.values if kept.all() else past.values[kept],
        () if past is None else past.names,
        {name: texts for one in (known, past) if one for name, texts in one.texts.items()},
    )
    check_values(series)
    return series
