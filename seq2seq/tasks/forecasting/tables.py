"""CSV and Parquet -> pandas frames, as spreadsheets and databases write them.

Windows line ends and a byte order mark are read. A CSV file whose first line has semicolons or tabs
and no comma is separated by those; its numbers may have decimal commas (``1,5``).

Names are what a file of text has in their place: ``001`` keeps its zeros, and ``NA`` is a name
where it is one (of a region, of a ticker), though in other columns it stands for a missing value.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from seq2seq.text.files import check_is_text, is_stream, open_packed

if TYPE_CHECKING:
    from pandas import DataFrame
    from pandas import Series as Column

_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}


@dataclass(frozen=True)
class Names:
    """Columns of text: names alone, and names or numbers."""

    texts: tuple[str, ...] = ()
    mixed: tuple[str, ...] = ()


def read_table(path: Path, names: Names = Names()) -> DataFrame | None:
    """The table of a file; None where its name ends in none of .csv, .tsv and .parquet, also before
    .gz, .xz and the like. A pipe without such a name holds CSV, as standard input does. Raises
    OSError, ValueError, EOFError or ImportError."""
    import pandas

    kinds = [suffix.lower() for suffix in path.suffixes[-2:]]
    stream = _unpacked(path) if is_stream(path) else None  # cannot be opened a second time
    if ".parquet" in kinds:
        return pandas.read_parquet(stream or path)
    if ".tsv" in kinds:
        return _read_csv(stream.read() if stream else path, "\t", names)
    if stream is not None:
        return read_stream(stream, str(path), names)
    if ".csv" in kinds:
        return _read_csv(path, _separator(_first_line(path)), names)
    return None


def read_stream(stream: IO[bytes], name: str, names: Names = Names()) -> DataFrame:
    """The CSV table in a stream. Raises OSError or ValueError, and UsageError for what is no
    text."""
    content = stream.read()
    check_is_text(content[:256], name)
    separator = _separator(content.split(b"\n", 1)[0])
    return _read_csv(content, separator, names)


def _unpacked(path: Path) -> io.BytesIO:
    """All that a pipe holds."""
    with open_packed(str(path)) as stream:
        return io.BytesIO(stream.read())


def _first_line(path: Path) -> bytes:
    opener = _OPENERS.get(path.suffix.lower())
    if opener is None and zipfile.is_zipfile(path):
        return b""  # pandas reads it, separated by commas
    with opener(path, "rb") if opener else path.open("rb") as stream:
        line: bytes = stream.readline()
    return line


def _separator(line: bytes) -> str:
    if b"," in line:
        return ","
    return ";" if b";" in line else "\t" if b"\t" in line else ","


def _read_csv(source: Path | bytes, separator: str, names: Names) -> DataFrame:
    import pandas

    def opened() -> Any:
        return io.BytesIO(source) if isinstance(source, bytes) else source

    layout: dict[str, Any] = {"sep": separator, "skipinitialspace": True}
    header = pandas.read_csv(opened(), nrows=0, **layout).columns
    text = [name for name in (*names.texts, *names.mixed) if name in header]

    def read(decimal: str) -> DataFrame:
        # not in chunks, each of which would guess the types of its columns
        found: DataFrame = pandas.read_csv(
            opened(),
            **layout,
            decimal=decimal,
            low_memory=False,
            dtype=dict.fromkeys(text, str),
            keep_default_na=False,
            na_values={
                name: sorted(_MISSING - ({"NA"} if name in text else set())) for name in header
            },
        )
        for name in text:
            mixed = name in names.mixed
            change = partial(_numbers_or_names, decimal=decimal) if mixed else _plain_names
            found[name] = _by_value(found[name], change)
        return found

    frame = read(".")
    return read(",") if separator != "," and _decimal_commas(frame, names.texts) else frame


# what pandas takes for a missing number
_MISSING = {
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
}
_TRUTH = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}


def _by_value(column: Column, change: Callable[[Column], Column]) -> Column:
    """``change`` of the different texts of a column, blank ones missing, in their places."""
    import pandas

    codes, texts = pandas.factorize(column)  # -1: missing
    stripped = pandas.Series(texts, dtype=object).str.strip().replace("", None)
    found = change(stripped).to_numpy()
    taken = pandas.api.extensions.take(found, codes, allow_fill=True)
    return pandas.Series(taken, index=column.index, name=column.name)


def _plain_names(column: Column) -> Column:
    """Names; those that are whole numbers without a fraction: 1.0 is 1."""
    return column.str.replace(r"^(-?[1-9]\d*|0)\.0+$", r"\1", regex=True)


def _numbers_or_names(column: Column, decimal: str) -> Column:
    """A column of text as numbers or truth values where it holds nothing else."""
    import pandas

    there = column[column.notna() & ~column.isin(_MISSING)]
    if not len(there):
        return column
    if bool(there.isin(_TRUTH).all()):
        return column.map(_TRUTH) if len(there) == len(column) else column
    plain = column.str.replace(decimal, ".", regex=False)
    numbers = pandas.to_numeric(plain, errors="coerce")
    return numbers if bool(numbers[there.index].notna().all()) else column


def _decimal_commas(frame: DataFrame, texts: tuple[str, ...]) -> bool:
    """Whether a column of text, but for the names ``texts``, holds nothing but numbers with
    commas."""
    for name in frame.columns.difference(list(texts)):
        column = frame[name].dropna()
        if not len(column) or column.dtype.kind in "iufbM":
            continue
        text = column.astype(str).str.strip()
        number = text.str.fullmatch(r"[-+]?\d*,?\d+([eE][-+]?\d+)?")
        if bool(number.all()) and bool(text.str.contains(",").any()):
            return True
    return False
