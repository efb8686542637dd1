"""Covariates of a table: numbers, or text, which becomes a column of 0 and 1 for each of its texts.

``weather`` with the texts rain and sun is read as ``weather=rain`` and ``weather=sun``. Which texts
there are is learned from the training table; one never seen is 0 in all columns, as a missing one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from seq2seq.errors import UsageError

if TYPE_CHECKING:
    from pandas import DataFrame
    from pandas import Series as Column

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
    parts, expanded, found = [], [], {}
    for name in names:
        own = _texts(frame[name], where) if texts is None else texts.get(name)
        if own is None:
            parts.append(numbers(frame[name], where))
            expanded.append(name)
        else:
            parts.extend(_indicators(frame[name], own, where))
            expanded.extend(f"{name}={text}" for text in own)
            found[name] = own
    return Covariates(np.stack(parts, 1), tuple(expanded), found) if names else None


def numbers(column: Column, where: str, hint: str = "") -> np.ndarray:
    """A column as (rows,) float64, NaN where it is missing; UsageError for a value that is no
    number, which ends with ``hint``."""
    import pandas

    if pandas.api.types.is_datetime64_any_dtype(column):
        found = pandas.Series(np.nan, index=column.index)
    else:
        found = pandas.to_numeric(column, errors="coerce")
    wrong = (found.isna() & column.notna()).to_numpy()
    if wrong.any():
        raise UsageError(f"{_place(column, wrong, where)}; expected a number{hint}")
    return found.to_numpy(dtype=np.float64, na_value=np.nan)


def _texts(column: Column, where: str) -> tuple[str, ...] | None:
    """The texts of a column; None for one that holds a number, dates, or nothing."""
    there = column.dropna()
    if not len(there) or _number(there).any():
        return None
    found = sorted(set(_stripped(there)))
    if any(_NUMERAL.fullmatch(text) for text in found):
        return None  # 1,5 or 20%: a number that is written in another way
    if len(found) > MOST_TEXTS:
        raise UsageError(
            f"{where}: {column.name} holds {len(found):,} different texts, such as "
            f"{found[0]!r}; expected numbers, or at most {MOST_TEXTS} texts, each of which becomes "
            "a column"
        )
    return tuple(found)


def _indicators(column: Column, texts: Sequence[str], where: str) -> list[np.ndarray]:
    """(rows,) for each of the texts: 1 where the column holds it."""
    import pandas

    there = column.notna().to_numpy()
    wrong = there & _number(column)
    if wrong.any():
        raise UsageError(
            f"{_place(column, wrong, where)}; expected text, as in training: {', '.join(texts[:5])}"
            + (", ..." if len(texts) > 5 else "")
        )
    own = np.where(there, _stripped(column), None)
    codes = pandas.Categorical(own, categories=list(texts)).codes  # -1: none of them
    return [(codes == number).astype(np.float64) for number in range(len(texts))]


def _number(column: Column) -> np.ndarray:
    """Which values of a column are numbers or dates."""
    import pandas

    if pandas.api.types.is_datetime64_any_dtype(column):
        return np.ones(len(column), dtype=bool)
    return pandas.to_numeric(column.astype(object), errors="coerce").notna().to_numpy()


def _stripped(column: Column) -> Any:
    return column.astype(str).str.strip().to_numpy(dtype=object)


def _place(column: Column, wrong: np.ndarray, where: str) -> str:
    row = int(wrong.argmax())
    return f"{where}: row {row + 1}: {column.name} is {str(column.iloc[row])!r}"
