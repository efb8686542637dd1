"""Series of vectors: values, times, what does not change. ``series_files`` reads them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from seq2seq.array_files import LARGEST
from seq2seq.errors import UsageError

PARTS = ("values", "times", "static")  # keys of a series in JSON and in Python


@dataclass(frozen=True)
class Series:
    """values (T, D) float32, NaN where nothing was measured; times (T,) float64, not falling;
    static (F,) float32, NaN where unknown."""

    values: np.ndarray
    times: np.ndarray
    static: np.ndarray


def make_series(
    values: Any, times: Any = None, static: Any = None, where: str = "series"
) -> Series:
    """Check and convert; raises UsageError for values that are no table of numbers, for infinite
    ones, and for times that go backwards or are not as many as the rows."""
    table = _numbers(values, where, "values")
    if table.ndim == 1:
        table = table[:, None]
    if table.ndim != 2 or not table.size:
        raise UsageError(
            f"{where}: values of shape {table.shape}; expected (steps, features), at least one step"
        )
    values = _float32(table, where, "in step {row}")
    if times is None:
        stamps = np.arange(len(table), dtype=np.float64)
    else:
        stamps = _numbers(times, where, "times")
    if stamps.shape != (len(table),) or not (np.abs(stamps) <= LARGEST).all():
        raise UsageError(
            f"{where}: times of shape {stamps.shape} for {len(table)} steps; expected a finite "
            f"number for each, of at most {LARGEST:.2g}"
        )
    back = np.flatnonzero(np.diff(stamps) < 0)
    if len(back):
        at = int(back[0])
        raise UsageError(
            f"{where}: time goes backwards, from {stamps[at]:g} to {stamps[at + 1]:g} (steps "
            f"{at + 1} and {at + 2}); sort the rows"
        )
    still = np.zeros(0) if static is None else _numbers(static, where, "static").reshape(-1)
    return Series(values, stamps, _float32(still, where, "in 'static'"))


def _float32(table: np.ndarray, where: str, place: str) -> np.ndarray:
    """What networks read. Raises UsageError for numbers that are infinite, also those that float32
    makes so; ``place`` says where, with the {row}."""
    with np.errstate(over="ignore"):
        found: np.ndarray = table.astype(np.float32)
    wrong = np.isinf(found)
    if wrong.any():
        row = int(np.argwhere(wrong)[0, 0]) + 1
        value = table[wrong][0]
        place = place.format(row=row)
        if np.isinf(value):
            raise UsageError(f"{where}: an infinite value {place}")
        raise UsageError(
            f"{where}: a value of {value:g} {place}; expected numbers of at most {LARGEST:.2g}"
        )
    return found


def uneven(times: np.ndarray) -> bool:
    """Whether times (T,) are not evenly spaced."""
    gaps = np.diff(times)
    return bool(len(gaps)) and not np.allclose(gaps, gaps[0], rtol=1e-3)


def check_keys(keys: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raises UsageError for a key that is nearly one of the ``known`` ones which are not there:
    times of that name would be even ones without a word."""
    there, known = list(keys), set(known)
    missing = known.difference(there)
    for key in there:
        near = [] if key in known else difflib.get_close_matches(key, missing, 1, cutoff=0.75)
        if near:
            raise UsageError(f"{where}: unknown key {key!r}; did you mean {near[0]!r}?")


def _numbers(values: Any, where: str, what: str) -> np.ndarray:
    try:
        return np.array(values, np.float64)  # None becomes NaN
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{where}: {what} are no table of numbers ({error})") from None


def averaged(series: Series, width: float) -> Series:
    """The mean of what was measured in each stretch of ``width``; stretches without rows are left
    out, their length is in the times. 0: as it is."""
    if not width:
        return series
    quotient = (series.times - series.times[0]) / width
    # 0.7 / 0.1 is a little less than 7, and times may have been float32: what is as near to the
    # next stretch as that belongs to it
    near = np.minimum(1e-3, 1e-6 + 2e-7 * quotient) + 4 * np.spacing(series.times) / width
    number = np.floor(quotient + near).astype(np.int64)
    bins, index = np.unique(number, return_inverse=True)
    seen = ~np.isnan(series.values)
    sums = np.zeros((len(bins), series.values.shape[1]))
    counts = np.zeros_like(sums)
    np.add.at(sums, index, np.where(seen, series.values, 0))
    np.add.at(counts, index, seen)
    with np.errstate(invalid="ignore"):
        values = (sums / np.where(counts > 0, counts, np.nan)).astype(np.float32)
    return Series(values, series.times[0] + bins * width, series.static)


Rows = Iterator[tuple[Any, Series, Any]]  # place, series, target
