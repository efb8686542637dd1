"""Readers of files of sentence pairs: two parallel texts, or one file with both columns."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from seq2seq.errors import UsageError
from seq2seq.json_files import parse_json
from seq2seq.text.files import check_unicode, csv_rows, decode_lines, open_binary, read_lines

_log = logging.getLogger("seq2seq")
_FORMATS = (".tsv", ".csv", ".json", ".jsonl", ".parquet")

Pairs = Iterator[tuple[str, str]]


def read_pairs(paths: tuple[str, ...], source: str, target: str, columns: tuple[str, ...]) -> Pairs:
    """The pairs of two parallel files, or of one file; the columns are named by ``source`` and
    ``target``, in a table without a header line by ``columns``."""
    if len(paths) == 2:
        return _read_parallel(*paths)
    read = {
        ".tsv": _read_tsv,
        ".csv": _read_csv,
        ".json": _read_json,
        ".jsonl": _read_jsonl,
        ".parquet": _read_parquet,
    }[format_of(paths[0])]
    return read(paths[0], source, target, columns)


def format_of(path: str) -> str:
    suffix = Path(path.removesuffix(".gz")).suffix.lower()
    if suffix in _FORMATS:
        return suffix
    raise UsageError(
        f"{path}: unknown format '{suffix}'; expected {', '.join(_FORMATS)} (or .gz of one), or "
        "two parallel text files, written with {lang} in place of the language"
    )


def _read_parallel(source: str, target: str) -> Pairs:
    counts = [0, 0]
    with open_binary(source) as first, open_binary(target) as second:
        for row in zip_longest(decode_lines(first, source), decode_lines(second, target)):
            for side, text in enumerate(row):
                counts[side] += text is not None
            if counts[0] == counts[1]:
                yield row
    if counts[0] != counts[1]:
        raise UsageError(
            f"{source} has {counts[0]} lines and {target} has {counts[1]}; "
            "parallel files need one line for each line of the other"
        )


def _read_tsv(path: str, source: str, target: str, columns: tuple[str, ...]) -> Pairs:
    # Quotes mean nothing here: a sentence may hold a lone one.
    with open_binary(path) as stream:
        lines = enumerate(decode_lines(stream, path), 1)
        rows = ((number, line.split("\t")) for number, line in lines if line)
        yield from _from_table(path, rows, source, target, columns)


def _read_csv(path: str, source: str, target: str, columns: tuple[str, ...]) -> Pairs:
    with open_binary(path) as stream:
        reader = csv_rows(decode_lines(stream, path))
        try:
            rows = ((reader.line_num, row) for row in reader if row)
            yield from _from_table(path, rows, source, target, columns)
        except csv.Error as error:
            raise UsageError(f"{path}, line {reader.line_num}: not valid CSV: {error}") from None


def _from_table(
    path: str,
    rows: Iterator[tuple[int, list[str]]],
    source: str,
    target: str,
    columns: tuple[str, ...],
) -> Pairs:
    """The two columns of rows of fields, named by ``columns`` or else by the first row."""
    names = list(columns) or next(rows, (0, []))[1]
    if not names:
        return
    first, second = find_column(path, names, source), find_column(path, names, target)
    for number, row in rows:
        if columns and row == names:
            _log.warning(
                "%s, line %d: the names of 'data.columns', and read as a pair; leave out that key, "
                "which is of tables without a header line, or remove the line",
                path,
                number,
            )
        if len(row) != len(names):
            raise UsageError(
                f"{path}, line {number}: {len(row)} fields; expected {len(names)} "
                f"({', '.join(names)})"
            )
        yield row[first], row[second]


def find_column(path: str, names: list[str], wanted: str) -> int:
    if wanted in names:
        return names.index(wanted)
    raise UsageError(
        f"{path}: no column '{wanted}'; it has: {', '.join(map(repr, names))}; name them with "
        "'data.source' and 'data.target' (and 'data.columns' for a .tsv or .csv without a header)"
    )


def _read_json(path: str, source: str, target: str, columns: tuple[str, ...]) -> Pairs:
    """One list of objects, such a list under ``data``, or (like .jsonl) an object a line."""
    text = "\n".join(read_lines(path))
    try:
        values = parse_json(text)
    except json.JSONDecodeError as error:
        if not error.msg.startswith("Extra data"):
            raise UsageError(f"{path}, line {error.lineno}: not valid JSON: {error.msg}") from None
        yield from _read_jsonl(path, source, target, columns)
        return
    if isinstance(values, dict) and isinstance(values.get("data"), list):
        values = values["data"]
    elif isinstance(values, dict):
        values = [values]  # a file of one line
    if not isinstance(values, list):
        raise UsageError(f"{path}: expected a list of objects, found {type(values).__name__}")
    for number, value in enumerate(values, 1):
        yield from_object(f"{path}, row {number}", value, source, target)


def _read_jsonl(path: str, source: str, target: str, columns: tuple[str, ...]) -> Pairs:
    with open_binary(path) as stream:
        for number, line in enumerate(decode_lines(stream, path), 1):
            if not line.strip():
                continue
            try:
                value = parse_json(line)
            except json.JSONDecodeError as error:
                raise UsageError(f"{path}, line {number}: not valid JSON: {error.msg}") from None
            yield from_object(f"{path}, line {number}", value, source, target)


def _read_parquet(path: str, source: str, target: str, columns: tuple[str, ...]) -> Pairs:
    try:
        with open_binary(path) as stream:
            # Parquet is read from its end: a compressed file has to be unpacked first.
            table = pyarrow.parquet.ParquetFile(
                io.BytesIO(stream.read()) if path.endswith(".gz") else stream
            )
            names = table.schema_arrow.names
            nested = "translation" in names and not {source, target} <= set(names)
            wanted = ["translation"] if nested else [source, target]
            for name in wanted:
                find_column(path, names, name)
            number = 0
            for batch in table.iter_batches(batch_size=1000, columns=wanted):
                for value in batch.to_pylist():
                    number += 1
                    yield from_object(f"{path}, row {number}", value, source, target)
    except pyarrow.ArrowException as error:
        raise UsageError(f"{path}: not a readable Parquet file: {error}") from None


def from_object(where: str, value: Any, source: str, target: str) -> tuple[str, str]:
    """The two texts of a row with named values, flat or under ``translation``."""
    if isinstance(value, dict) and not {source, target} <= set(value):
        nested = value.get("translation")
        value = nested if isinstance(nested, dict) else value
    if not isinstance(value, dict):
        raise UsageError(f"{where}: expected named columns, found {value!r:.60}")
    texts = []
    for name in (source, target):
        if name not in value:
            find_column(where, list(value), name)
        text = "" if value[name] is None else value[name]
        if not isinstance(text, str):
            raise UsageError(f"{where}: '{name}' is {text!r:.60}; expected text")
        if not text.isascii():
            check_unicode(text, f"{where}: '{name}'")
        texts.append(text.replace("\0", " "))
    return texts[0], texts[1]
