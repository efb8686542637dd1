"""Series in a table, a row for each time: CSV, see ``series``."""

from __future__ import annotations

import csv
import dataclasses
from typing import Any

from seq2seq.errors import UsageError
from seq2seq.tasks.classification.config import ClassDataConfig
from seq2seq.tasks.classification.feature_order import feature_order
from seq2seq.tasks.classification.labelled import Columns, first_row
from seq2seq.tasks.classification.series import Rows, Series, make_series
from seq2seq.text.files import csv_rows


def read_table(
    path: str, lines: list[str], config: ClassDataConfig, columns: Columns | None
) -> tuple[Rows, Columns | None]:
    if columns is not None and columns.static:  # also of a model that read another form
        config = dataclasses.replace(config, static=list(columns.static))
    rows = csv_rows(lines)
    try:
        header = first_row(rows, path)
        if config.id not in header:
            raise UsageError(
                f"{path}, line 1: no column {config.id!r} ('data.id'); there are: "
                f"{', '.join(header[:20])}"
            )
        unknown = [name for name in config.static if name not in header]
        if unknown:
            raise UsageError(f"{path}, line 1: no column {unknown[0]!r} ('data.static')")
        groups: dict[str, list[tuple[int, list[str]]]] = {}
        for row in rows:
            if row:
                if len(row) != len(header):
                    raise UsageError(
                        f"{path}, line {rows.line_num}: {len(row)} columns; the header has "
                        f"{len(header)}"
                    )
                name = row[header.index(config.id)]
                if not name.strip():
                    raise UsageError(
                        f"{path}, line {rows.line_num}: no {config.id!r} ('data.id'); expected the "
                        "name of a series"
                    )
                groups.setdefault(name, []).append((rows.line_num, row))
    except csv.Error as error:
        raise UsageError(f"{path}, line {rows.line_num}: not CSV ({error})") from None
    given = {config.id, config.time, config.label, *config.static}
    names = [column for column in header if column not in given]
    wanted = columns.features if columns else None
    names = [names[n] for n in feature_order(names, wanted, f"{path}, line 1")]
    features = [header.index(column) for column in names]
    found = (_group(path, name, group, header, features, config) for name, group in groups.items())
    return found, Columns(tuple(names), tuple(config.static))


def _group(
    path: str,
    name: str,
    group: list[tuple[int, list[str]]],
    header: list[str],
    features: list[int],
    config: ClassDataConfig,
) -> tuple[str, Series, Any]:
    """One series of a CSV file from its rows; ``features``: their places in the header."""
    label = header.index(config.label) if config.label in header else None
    time = header.index(config.time) if config.time in header else None
    still = [header.index(column) for column in config.static]
    values = [[_field(row[n], path, line, header[n]) for n in features] for line, row in group]
    times = (
        None
        if time is None
        else [_field(row[time], path, line, config.time) for line, row in group]
    )
    static = [_static(path, name, group, header[n], n) for n in still]
    given = () if label is None else (row[label].strip() for _, row in group)
    labels = list(dict.fromkeys(one for one in given if one))
    if len(labels) > 1:
        raise UsageError(
            f"{path}, line {group[0][0]}: series {name!r} has two labels, {labels[0]!r} and "
            f"{labels[1]!r}"
        )
    where = f"{path}, line {group[0][0]}, series {name!r}"
    none = "" if config.target == "labels" and label is not None else None
    return name, make_series(values, times, static, where), next(iter(labels), none)


def _static(
    path: str, name: str, group: list[tuple[int, list[str]]], column: str, place: int
) -> float:
    """The value of a static column, NaN where no row has one."""
    found = float("nan")
    for line, row in group:
        value = _field(row[place], path, line, column)
        if value == value and found == found and value != found:
            raise UsageError(
                f"{path}, line {line}: series {name!r} has two values of the static column "
                f"{column!r}, {found:g} and {value:g}"
            )
        found = value if value == value else found
    return found


def _field(text: str, path: str, line: int, column: str) -> float:
    if not text.strip():
        return float("nan")
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            f"{path}, line {line}: column {column!r} holds {text!r}; expected a number, or nothing"
        ) from None
