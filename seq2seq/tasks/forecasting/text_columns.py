"""Covariates of a table: numbers, or text, which becomes a column of 0 and 1 for each of its texts.

``weather`` with the texts rain and sun is read as ``weather=rain`` and ``weather=sun``. Which texts
there are is learned from the training part; one never seen is 0 in all columns, as a missing one.
True and False are numbers where nothing else is in their column, and texts among texts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from seq2seq.array_files import LARGEST
from seq2seq.errors import UsageError

if TYPE_CHECKING:
    from pandas import DataFrame
    from pandas import Series as Column

    from seq2seq.tasks.forecasting.series_set import SeriesSet

MOST_TEXTS = 100  # of one column: each becomes a column, and weights of the network
_NUMERAL = re.compile(r"[-+$€£ ]*\d[\d.,' ]*[%$€£]?")
Texts = Mapping[str, tuple[str, ...]]  # the texts of each column of text


class Covariates(NamedTuple):
    """K columns, in the order of their configuration; those of a text in that of the alphabet."""

    values: np.ndarray  # (rows, K) float64, NaN where a number is missing
    names: tuple[str, ...]  # (K,)
    texts: dict[str, tuple[str, ...]]


def read_covariates(
    frame: DataFrame, names: Sequence[str], texts: Texts | None, where: str
) -> Covariates | None:
    """The columns ``names`` of a table; None without any. ``texts`` are those that are known, None:
    a column without any number is text, and its texts are learned.

    Raises UsageError, which names column and row, for a text among numbers, a number among texts,
    dates, and for too many texts.
    """
    import pandas

    parts, expanded, found = [], [], {}
    for name in names:
        column, own, cells = frame[name], None, None
        if texts is not None and name in texts:
            own, cells = texts[name], _cells(column)
        elif texts is None and not pandas.api.types.is_numeric_dtype(column):  # nor truth values
            cells = _cells(column)
            own = _texts(column, cells, where)
        if own is None or cells is None:
            parts.append(numbers(column, where))
            expanded.append(name)
        else:
            parts.extend(_indicators(column, cells, own, where))
            expanded.extend(f"{name}={text}" for text in own)
            found[name] = own
    return Covariates(np.stack(parts, 1), tuple(expanded), found) if names else None


def numbers(column: Column, where: str, hint: str = "") -> np.ndarray:
    """A column as (rows,) float64, NaN where it is missing; UsageError for a value that is no
    number, which ends with ``hint``."""
    import pandas

    try:
        if _is_time(column) or column.dtype.kind == "c":
            found = pandas.Series(np.nan, index=column.index)
        else:
            found = pandas.to_numeric(column, errors="coerce")
        values: np.ndarray = found.to_numpy(dtype=np.float64, na_value=np.nan)
    except OverflowError:
        raise UsageError(
            f"{where}: {column.name} holds a whole number of hundreds of digits; expected numbers "
            f"of at most {LARGEST:.2g}"
        ) from None
    wrong = (found.isna() & column.notna()).to_numpy()
    if wrong.any():
        raise UsageError(f"{_place(column, wrong, where)}; expected a number{hint}")
    return values


def _is_time(column: Column) -> bool:
    """Whether a column holds dates, spans of time or periods, whose integers are no numbers."""
    import pandas

    kinds = pandas.api.types
    return bool(
        kinds.is_datetime64_any_dtype(column)
        or kinds.is_timedelta64_dtype(column)
        or isinstance(column.dtype, pandas.PeriodDtype)
        or str(column.dtype).startswith(("date", "time", "duration"))  # of Arrow
    )


def texts_seen(series: SeriesSet, ends: np.ndarray) -> dict[str, tuple[str, ...]]:
    """The texts of ``series.texts`` that occur in the first ``ends`` (N,) steps of the series.

    Raises UsageError for a column without any there.
    """
    found = {}
    for name, texts in series.texts.items():
        found[name] = tuple(text for text in texts if _occurs(series, f"{name}={text}", ends))
        if not found[name]:
            raise UsageError(
                f"{name} has no text in the training part, such as {texts[0]!r}, and a network "
                "cannot learn what it means; leave the column out, or let the training part end "
                "later ('data.split')"
            )
    return found


def _occurs(series: SeriesSet, column: str, ends: np.ndarray) -> bool:
    past = column in series.past_names
    at = (series.past_names if past else series.known_names).index(column)
    values, offsets = series.known, series.known_offsets
    if past:
        values, offsets = series.past, series.offsets
    assert values is not None and offsets is not None
    rows = np.flatnonzero(values[:, at] > 0)
    own = np.searchsorted(offsets, rows, side="right") - 1
    return bool((rows - offsets[own] < ends[own]).any())


class _Cells(NamedTuple):
    """The rows of a column."""

    text: np.ndarray  # (rows,) as text, "" where there is none
    number: np.ndarray  # (rows,) whether it is a number or a date; truth values are neither


def _cells(column: Column) -> _Cells:
    import pandas

    values = column.astype(object)
    text = values.where(column.notna(), "").astype(str).str.strip().to_numpy(dtype=object)
    if _is_time(column):
        return _Cells(text, np.ones(len(column), dtype=bool))
    try:
        number = pandas.to_numeric(values, errors="coerce").notna().to_numpy()
    except OverflowError:  # ``numbers`` says so
        return _Cells(text, np.ones(len(column), dtype=bool))
    return _Cells(text, number & ~np.isin(text, ("True", "False")))


def _texts(column: Column, cells: _Cells, where: str) -> tuple[str, ...] | None:
    """The texts of a column; None for one of numbers, truth values or dates, or without any value.
    UsageError for a few numbers among texts."""
    text, number = cells
    found = sorted(set(text[(text != "") & ~number]))
    if all(value in ("True", "False") for value in found) or 2 * number.sum() >= (text != "").sum():
        return None
    if any(_NUMERAL.fullmatch(value) for value in found):
        return None  # 1,5 or 20%: a number that is written in another way
    if number.any():
        raise UsageError(f"{_place(column, number, where)}; expected text, as {found[0]!r}")
    if len(found) > MOST_TEXTS:
        raise UsageError(
            f"{where}: {column.name} holds {len(found):,} different texts, such as "
            f"{found[0]!r}; expected numbers, or at most {MOST_TEXTS} texts, each of which becomes "
            "a column"
        )
    return tuple(found)


def _indicators(
    column: Column, cells: _Cells, texts: Sequence[str], where: str
) -> list[np.ndarray]:
    """(rows,) for each of the texts: 1 where the column holds it."""
    import pandas

    if cells.number.any():
        known = ", ".join(texts[:5]) + (", ..." if len(texts) > 5 else "")
        place = _place(column, cells.number, where)
        raise UsageError(f"{place}; expected text, as in training: {known}")
    codes = pandas.Index(texts, dtype=object).get_indexer(cells.text)  # -1: none of them
    return [(codes == number).astype(np.float64) for number in range(len(texts))]


def _place(column: Column, wrong: np.ndarray, where: str) -> str:
    row = int(wrong.argmax())
    return f"{where}: row {row + 1}: {column.name} is {str(column.iloc[row])!r}"
