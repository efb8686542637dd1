"""CSV and Parquet -> pandas frames, as spreadsheets and databases write them.

Windows line ends and a byte order mark are read. A CSV file whose first line has semicolons or tabs
and no comma is separated by those; its numbers may have decimal commas (``1,5``).
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from seq2seq.text.files import check_is_text, is_stream, open_packed

if TYPE_CHECKING:
    from pandas import DataFrame

_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}


def read_table(path: Path) -> DataFrame | None:
    """The table of a file; None where its name ends in none of .csv, .tsv and .parquet, also before
    .gz, .xz and the like. A pipe without such a name holds CSV, as standard input does. Raises
    OSError, ValueError, EOFError or ImportError."""
    import pandas

    kinds = [suffix.lower() for suffix in path.suffixes[-2:]]
    stream = _unpacked(path) if is_stream(path) else None  # cannot be opened a second time
    if ".parquet" in kinds:
        return pandas.read_parquet(stream or path)
    if ".tsv" in kinds:
        return pandas.read_csv(stream or path, sep="\t", skipinitialspace=True, low_memory=False)
    if stream is not None:
        return read_stream(stream, str(path))
    if ".csv" in kinds:
        return _read_csv(path, _separator(_first_line(path)))
    return None


def read_stream(stream: IO[bytes], name: str) -> DataFrame:
    """The CSV table in a stream. Raises OSError or ValueError, and UsageError for what is no
    text."""
    content = stream.read()
    check_is_text(content[:256], name)
    separator = _separator(content.split(b"\n", 1)[0])
    return _read_csv(content, separator)


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


def _read_csv(source: Path | bytes, separator: str) -> DataFrame:
    def read(decimal: str) -> DataFrame:
        import pandas

        file = io.BytesIO(source) if isinstance(source, bytes) else source
        # not in chunks, each of which would guess the types of its columns
        return pandas.read_csv(
            file, sep=separator, skipinitialspace=True, decimal=decimal, low_memory=False
        )

    frame = read(".")
    return read(",") if separator != "," and _decimal_commas(frame) else frame


def _decimal_commas(frame: DataFrame) -> bool:
    """Whether a column of text holds nothing but numbers with commas."""
    for name in frame.columns:
        column = frame[name].dropna()
        if not len(column) or column.dtype.kind in "iufbM":
            continue
        text = column.astype(str).str.strip()
        number = text.str.fullmatch(r"[-+]?\d*,?\d+([eE][-+]?\d+)?")
        if bool(number.all()) and bool(text.str.contains(",").any()):
            return True
    return False
