"""Many series in a few long arrays: a million fit, and arrays on disk stay there (memory-mapped).

Series i owns rows offsets[i] to offsets[i + 1] of ``values``; times follow from its start and the
step that all series of a set share. Sizes are those of ``series.py``; N series.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np

from seq2seq.array_files import LARGEST
from seq2seq.errors import UsageError
from seq2seq.tasks.forecasting.series import Series
from seq2seq.tasks.forecasting.times import Step, shown


@dataclass(frozen=True)
class SeriesSet(Sequence[Series]):
    """N series with the same targets, covariates and step; item i is a ``Series``."""

    names: np.ndarray  # (N,) text
    starts: np.ndarray  # (N,) datetime64[ns], or int64
    step: Step
    values: np.ndarray  # (sum of T, C) floating point, NaN where missing
    offsets: np.ndarray  # (N + 1,) int64
    targets: tuple[str, ...]
    known: np.ndarray | None = None  # (sum of T + F, K)
    known_offsets: np.ndarray | None = None  # (N + 1,)
    known_names: tuple[str, ...] = ()
    static: Mapping[str, np.ndarray] = field(default_factory=dict)  # name -> (N,): text or float64
    zone: str | None = None
    past: np.ndarray | None = None  # (sum of T, J) floating point, NaN where missing
    past_names: tuple[str, ...] = ()
    # columns of text that known and past covariates were made of: see ``text_columns``
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    # how dates such as 1/2/2024 of its table were read; None: it has none
    day_first: bool | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def lengths(self) -> np.ndarray:
        """(N,) observed steps of each series."""
        return np.diff(self.offsets)

    @overload
    def __getitem__(self, index: int) -> Series: ...
    @overload
    def __getitem__(self, index: slice) -> list[Series]: ...
    def __getitem__(self, index: int | slice) -> Series | list[Series]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        begin, end = self.offsets[index : index + 2]
        known = None
        if self.known is not None and self.known_offsets is not None:
            first, last = self.known_offsets[index : index + 2]
            known = np.asarray(self.known[first:last], dtype=np.float64)
        past = None
        if self.past is not None:
            past = np.asarray(self.past[begin:end], dtype=np.float64)
        return Series(
            str(self.names[index]),
            self.step.times(self.starts[index], np.arange(end - begin)),
            self.step,
            np.asarray(self.values[begin:end], dtype=np.float64),
            self.targets,
            known,
            self.known_names,
            {name: _plain(column[index]) for name, column in self.static.items()},
            self.zone,
            past,
            self.past_names,
        )

    def __iter__(self) -> Iterator[Series]:
        return (self[number] for number in range(len(self)))


def _plain(value: np.generic) -> str | float:
    return float(value) if value.dtype.kind == "f" else str(value)


def pack(history: Series | Sequence[Series]) -> SeriesSet:
    """One set of a series, of several, or of what is one already.

    Raises UsageError for anything else, where there is none, or where two differ in step, targets,
    known columns, static columns or zone: the error names the series.
    """
    if isinstance(history, SeriesSet):  # which makes its series when it is asked
        return history
    series = [history] if isinstance(history, Series) else history
    if not isinstance(series, Sequence) or not all(isinstance(one, Series) for one in series):
        raise UsageError(
            f"history is {type(history).__name__}; expected a Series or a list of them "
            "(forecast_frame takes pandas frames)"
        )
    if not series:
        raise UsageError("no series; expected at least one")
    first = series[0]
    for one in series:
        for what in ("step", "targets", "known_names", "past_names", "zone"):
            if getattr(one, what) != getattr(first, what):
                raise UsageError(
                    f"series {one.name!r}: {what.replace('_', ' ')} is {getattr(one, what)!s}; "
                    f"series {first.name!r} has {getattr(first, what)!s}, and all must agree"
                )
        if one.static.keys() != first.static.keys():
            raise UsageError(
                f"series {one.name!r}: static columns are {sorted(one.static)}; series "
                f"{first.name!r} has {sorted(first.static)}"
            )
        if not len(one):
            raise UsageError(f"series {one.name!r}: no observation; at least one is needed")
    known = known_offsets = None
    if first.known is not None:
        known = np.concatenate([one.known for one in series if one.known is not None])
        known_offsets = _offsets([len(one) + one.future for one in series])
    past = None
    if first.past_names:
        past = np.concatenate([one.past for one in series if one.past is not None])
    return SeriesSet(
        np.array([one.name for one in series]),
        np.array([one.times[0] for one in series]),
        first.step,
        np.concatenate([one.values for one in series]),
        _offsets([len(one) for one in series]),
        first.targets,
        known,
        known_offsets,
        first.known_names,
        {name: _column([one.static[name] for one in series], name) for name in first.static},
        first.zone,
        past,
        first.past_names,
    )


def _offsets(lengths: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _column(values: Sequence[str | float], name: str) -> np.ndarray:
    """A static column: numbers, or text."""
    if all(isinstance(value, str) for value in values):
        return np.array(values)
    if any(isinstance(value, str) for value in values):
        raise UsageError(f"static column {name!r}: holds text and numbers; expected one of the two")
    return np.array(values, dtype=np.float64)


Bounds = tuple[float | None, float | None]


def check_values(
    series: SeriesSet,
    *,
    counts: bool = False,
    positive: bool = False,
    bounds: Bounds = (None, None),
) -> None:
    """Raises UsageError that names series, target and row for an infinite value; with ``counts``
    for one that is no whole number of at least 0; with ``positive`` for one that is not above 0;
    with ``bounds`` for one below the first or above the second.
    """
    _check_static(series)
    _check_numbers(
        series, series.values, series.targets, counts=counts, positive=positive, bounds=bounds
    )
    if series.past is not None:
        _check_numbers(series, series.past, series.past_names)


def _check_numbers(
    series: SeriesSet,
    numbers: np.ndarray,
    names: tuple[str, ...],
    *,
    counts: bool = False,
    positive: bool = False,
    bounds: Bounds = (None, None),
) -> None:
    """``check_values`` of the columns ``names``, (sum of T, columns)."""
    chunk = 1 << 20  # rows at once: the array may lie on disk
    for begin in range(0, len(numbers), chunk):
        values = np.asarray(numbers[begin : begin + chunk])
        missing = np.isnan(values)
        wrong, expected = (
            np.abs(values) > LARGEST,
            "a finite number, or nothing where it is missing",
        )
        if wrong.any() and not np.isinf(values).any():
            expected = f"a number of at most {LARGEST:.2g}, the largest that networks compute with"
        if counts and not wrong.any():
            with np.errstate(invalid="ignore"):
                wrong = ~missing & ((values < 0) | (values != np.floor(values)))
            expected = "a count (0, 1, 2, ...), as 'model.head: negative_binomial' needs"
        if positive and not wrong.any():
            wrong = ~missing & ~(values > 0)
            expected = "a number above 0, as 'base_form: multiplicative' or 'transform: log' needs"
        for key, bound, beyond in zip(
            ("lower", "upper"), bounds, (np.less, np.greater), strict=True
        ):
            if bound is not None and not wrong.any():
                wrong = beyond(values, bound)  # a missing value is neither
                expected = f"none beyond {bound:g}, as 'forecast.{key}' says"
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            found = f"{names[column]} is {values[row, column]:g}"
            raise UsageError(f"{_place(series, begin + row)}: {found}; expected {expected}")


def _check_static(series: SeriesSet) -> None:
    for name, column in series.static.items():
        wrong = np.zeros(0, bool)
        if column.dtype.kind == "f":
            wrong = ~(np.abs(column) <= LARGEST)  # NaN is none, either
        if wrong.any():
            number = int(wrong.argmax())
            raise UsageError(
                f"series {str(series.names[number])!r}: static column {name!r} is "
                f"{column[number]:g}; expected a number of at most {LARGEST:.2g}"
            )


def _place(series: SeriesSet, row: int) -> str:
    """Where a row of the set stands, for an error."""
    number = int(np.searchsorted(series.offsets, row, side="right")) - 1
    row -= int(series.offsets[number])
    time = series.step.times(series.starts[number], np.array(row))[()]
    return f"series {str(series.names[number])!r}, row {row + 1} (time {shown(time)})"
