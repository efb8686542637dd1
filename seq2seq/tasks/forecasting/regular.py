"""The times of tables: parsed, and made regular."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from seq2seq.errors import UsageError
from seq2seq.tasks.forecasting.dates import QUARTER
from seq2seq.tasks.forecasting.times import (
    MAX_COUNT,
    Step,
    check_dates,
    distance,
    find_step,
    most_common,
    shown,
)
from seq2seq.tasks.forecasting.zones import zone_of

if TYPE_CHECKING:
    from pandas import Series as Column

_DAY = 86_400 * 10**9
_MOST_FILLED = 10**9  # rows; a mistyped date must not fill the memory
_OFFSET = r"(:\d\d(?:\.\d+)?)\s*(?:[+-]\d\d(?::?\d\d)?|[Zz]|UTC|GMT)\s*$"  # behind a time of day


class Times(NamedTuple):
    """A time column."""

    values: np.ndarray  # int64 or datetime64[ns]
    zone: str | None = None  # where the values are instants in UTC
    day_first: bool | None = None  # how 1/2/2024 was read; None: nothing was written so


def parse_times(
    column: Column, where: str, step: Step | None = None, day_first: bool | None = None
) -> Times:
    """A time column.

    Whole numbers that are all days, 20240131, or all months, 202401, are dates, unless ``step`` is
    one of whole numbers; a quarter, 2024Q1, is its first day.
    ``day_first`` is how dates such as 1/2/2024 are meant, where that is known. Raises UsageError
    for a row that is no time, and for times that are not of the kind that ``step`` counts.
    """
    found = _times(column, where, step, day_first)
    dated = found.values.dtype.kind == "M"
    if step is not None and dated != step.dated:
        holds, expected = ("dates", "whole numbers")[:: 1 if dated else -1]
        raise UsageError(
            f"{where}: {column.name} holds {holds} ({column.iloc[0]}); the step is {step}, which "
            f"goes with {expected}"
        )
    return found


def _times(column: Column, where: str, step: Step | None, day_first: bool | None) -> Times:
    import pandas

    missing = column.isna().to_numpy()
    if missing.any():
        raise UsageError(f"{where}: row {int(missing.argmax()) + 1}: {column.name} is missing")
    if pandas.api.types.is_numeric_dtype(column):
        numbers = column.to_numpy()
        with np.errstate(invalid="ignore"):  # numbers that are too large differ below
            whole = numbers.astype(np.int64)
        wrong = whole != numbers
        if wrong.any():
            row = int(wrong.argmax())
            raise UsageError(
                f"{where}: row {row + 1}: {column.name} is {numbers[row]}; expected a date or a "
                "whole number"
            )
        return Times(_dates(whole) if step is None or step.dated else whole)
    if isinstance(column.dtype, pandas.PeriodDtype):
        column = column.dt.to_timestamp()
    elif str(column.dtype) in ("date32[day][pyarrow]", "date64[ms][pyarrow]"):
        column = column.astype("datetime64[s]")

    def place(row: int) -> str:
        return f"{where}: row {row + 1}: {column.name}"

    clocks, order = None, None
    if not pandas.api.types.is_datetime64_any_dtype(column):
        text = _periods(column.astype(str))
        column, differ, order = _parsed(text, where, day_first)
        if differ:
            bare = text.str.replace(_OFFSET, r"\1", regex=True)
            clocks = _parsed(bare, where, day_first)[0]
    if column.dt.tz is None:
        return Times(_nanoseconds(column, place), None, order)
    zone = zone_of(column.dt.tz, f"{where}: {column.name}")
    clocks = column if clocks is None else clocks  # as the rows have them: UTC forgets offsets
    local = _nanoseconds(clocks.dt.tz_localize(None), place)
    if _of_days(local, step):
        return Times(local, None, order)
    instants = _nanoseconds(column.dt.tz_convert("UTC").dt.tz_localize(None), place)
    return Times(instants, zone, order)


def _of_days(local: np.ndarray, step: Step | None) -> bool:
    """Whether the step is a day or longer, so that dates count and not instants: of ``step``, or of
    the times on the clocks where that is not known."""
    if step is not None:
        return step.unit != "ns" or step.count % _DAY == 0
    distinct = np.unique(local)
    distances = distance(distinct[1:], distinct[:-1])
    return bool(len(distances) and (distances % _DAY == 0).all())


def _nanoseconds(column: Column, place: Callable[[int], str]) -> np.ndarray:
    """Dates without a zone as datetime64[ns]; UsageError for one that is too far away."""
    dates = column.to_numpy()
    check_dates(dates, place)
    return dates.astype("datetime64[ns]")


def _dates(numbers: np.ndarray) -> np.ndarray:
    """Numbers such as 20240131 or 202401 -> dates, if all of them are days or all are months from
    1900 to 2100; else as they are."""
    import pandas

    for first, last, form in ((19000101, 21001231, "%Y%m%d"), (190001, 210012, "%Y%m")):
        if len(numbers) and first <= numbers.min() and numbers.max() <= last:
            text = pandas.Series(numbers).astype(str)
            found = pandas.to_datetime(text, format=form, errors="coerce")
            if not found.isna().any():
                return found.to_numpy().astype("datetime64[ns]")
    return numbers


def _periods(text: Column) -> Column:
    """Quarters such as 2024Q1 or 2024-Q1 and months such as 202401 -> the first day of each; other
    text as it is."""
    for pattern, months in ((QUARTER, 3), (r"((?:19|20)\d\d)(0[1-9]|1[0-2])", 1)):
        parts = text.str.extract(rf"^\s*{pattern}\s*$")
        if not parts.isna().any(axis=None):
            month = (months * (parts[1].astype(int) - 1) + 1).astype(str).str.zfill(2)
            return (parts[0] + "-" + month + "-01").rename(text.name)
    return text


def _parsed(
    text: Column, where: str, day_first: bool | None = None
) -> tuple[Column, bool, bool | None]:
    """Text -> times; whether they have offsets from UTC that differ between rows (summer time):
    then the times are UTC; and whether the day comes first.

    With dots it does, 31.01.2024; with slashes the month, 01/31/2024, and where that does not fit
    all rows the day: or first as ``day_first`` says.
    """
    import pandas

    dots = bool(text.iloc[:1].str.match(r"\s*\d{1,2}\.\d{1,2}\.\d").all())
    attempts: list[dict[str, Any]] = [{"format": "ISO8601"}, {"format": "ISO8601", "utc": True}]
    orders = (True,) if dots else (True, False) if day_first else (False, True)
    for first in orders:
        attempts += [{"dayfirst": first}, {"dayfirst": first, "utc": True}]
    for options in attempts:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # no format that all rows have
                found = pandas.to_datetime(text, **options)
                return found, "utc" in options, options.get("dayfirst")
        except (ValueError, OverflowError, UserWarning):
            continue
    found = pandas.to_datetime(text, errors="coerce", utc=True, format="mixed")
    wrong = found.isna().to_numpy()
    row = int(wrong.argmax()) if wrong.any() else 0
    raise UsageError(
        f"{where}: row {row + 1}: {text.name} is {text.iloc[row]!r}; expected a date and time "
        "such as 2024-01-31, 31.01.2024 or 2024-01-31 13:00:00, in one format, or a whole "
        "number"
    )


def regular_step(times: np.ndarray, bounds: np.ndarray, where: str) -> Step:
    """The step of the longest series; where no step fits its times, the one that most neighbours
    have, for ``fill_gaps`` to say where it breaks; of whole numbers 1 where no series has two rows.

    Raises UsageError where no series of dates has two rows, and for rows that are further apart
    than any step.
    """
    longest = int(np.diff(bounds).argmax())
    own = np.unique(times[bounds[longest] : bounds[longest + 1]])
    dated = times.dtype.kind == "M"
    if len(own) > 1:
        step = find_step(own)
        apart = distance(own[1:], own[:-1])
        common = most_common(apart)
        if step is None and common > MAX_COUNT:
            row = int((apart == common).argmax())
            raise UsageError(
                f"{where}: no row lies between the times {shown(own[row])} and "
                f"{shown(own[row + 1])}, which are further apart than any step is long; set "
                "'data.step', or 'data.gaps: ignore' to number the rows"
            )
        return step or Step(common, "ns" if dated else "rows")
    if not dated:
        return Step(1, "rows")
    raise UsageError(
        f"{where}: one time does not show the step; set 'data.step' (h, D, B, MS, ...), or "
        "'data.gaps: ignore' to number the rows"
    )


def fill_gaps(
    times: np.ndarray, bounds: np.ndarray, step: Step, fill: bool, place: Callable[[int], str]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Check that the times of each series, sorted, are ``step`` apart.

    None where they are; with ``fill`` else the new bounds, and for each new row the old one it
    comes from, -1 for none. Raises UsageError for a repeated time, for a time between two steps,
    and without ``fill`` for a missing one.
    """
    numbers = np.concatenate(
        [step.numbers(times[a:b]) for a, b in itertools.pairwise(bounds)]
        if step.unit not in ("ns", "rows")
        else [_numbers(times, bounds, step)]
    )
    own = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    expected = np.arange(len(times)) - bounds[own]
    if (numbers == expected).all():
        return None
    same = np.zeros(len(times), dtype=bool)
    same[1:] = (times[1:] == times[:-1]) & (own[1:] == own[:-1])
    if same.any():
        row = int(same.argmax())
        raise UsageError(
            f"{place(row)}: time {shown(times[row])} is repeated; expected each time once in a "
            "series ('data.series' names the columns that tell series apart)"
        )
    if (numbers < 0).any():
        row = int((numbers < 0).argmax())
        if expected[row] == 0:  # the first of its series: a Sunday for business days
            raise UsageError(
                f"{place(row)}: time {shown(times[row])} is none that the step {step} has; set "
                "'data.step', or 'data.gaps: ignore' to number the rows"
            )
        raise UsageError(
            f"{place(row)}: time {shown(times[row])} is no whole number of steps ({step}) after "
            "the series' first; set 'data.step', or 'data.gaps: ignore' to number the rows"
        )
    if not fill:
        row = int((numbers != expected).argmax())
        raise UsageError(
            f"{place(row)}: time {shown(times[row])} comes {numbers[row] - numbers[row - 1]} steps "
            f"({step}) after the row before; set 'data.gaps' to fill, for missing values there, or "
            "to ignore, to number the rows"
        )
    lengths = numbers[bounds[1:] - 1] + 1
    if (lengths > _MOST_FILLED).any() or lengths.sum() > _MOST_FILLED:
        row = int(bounds[int(lengths.argmax()) + 1]) - 1
        raise UsageError(
            f"{place(row)}: time {shown(times[row])} comes {numbers[row]:,} steps ({step}) after "
            f"the series' first; 'data.gaps: fill' makes at most {_MOST_FILLED:,} rows in all; "
            "check the time, or set 'data.step' or 'data.gaps: ignore'"
        )
    new = np.concatenate([[0], np.cumsum(lengths)])
    source = np.full(int(new[-1]), -1)
    source[new[own] + numbers] = np.arange(len(times))
    return new, source


def _numbers(times: np.ndarray, bounds: np.ndarray, step: Step) -> np.ndarray:
    """``Step.numbers`` of all series at once, for steps of fixed length."""
    starts = np.repeat(times[bounds[:-1]], np.diff(bounds))
    apart = distance(times, starts)
    number = apart // step.count
    right = (apart % step.count == 0) & (number <= MAX_COUNT)
    return np.where(right, np.where(right, number, 0).astype(np.int64), -1)
