"""Series of vectors with their targets, from CSV, NPZ or JSON lines.

CSV     a row for each time: columns ``id`` and ``label`` (repeated in each row, or in its first),
        ``time`` (may be missing: every row is one later), and one for each feature. An empty field
        is a value that was not measured.
NPZ     ``values`` (N, T, D), or ragged: ``values`` (sum of T, D) and ``lengths`` (N,); ``labels``
        (N,), or (N, K) of several labels with ``label_names``. Optional: ``times`` (like values
        without D), ``static`` (N, F), ``ids`` (N,), ``features`` (D,) and ``static_features`` (F,),
        names. NaN is a value that was not measured.
JSON    objects: ``values`` [[...], ...] (null: not measured), ``label``, optional ``times`` and
        ``static``, ``id``

Where a file names its features (a CSV's header, ``features`` of NPZ), they are read by their names,
in the order of the training data; JSON has none, and goes by their order.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seq2seq.errors import UsageError
from seq2seq.json_files import begins_json, parse_json
from seq2seq.public_data import missing_hint
from seq2seq.tasks.classification.config import ClassDataConfig
from seq2seq.tasks.classification.labelled import Columns, Labelled, Renaming, parse_target
from seq2seq.tasks.classification.series import (
    PARTS,
    Rows,
    Series,
    averaged,
    check_keys,
    make_series,
)
from seq2seq.tasks.classification.series_arrays import read_arrays
from seq2seq.tasks.classification.series_table import read_table
from seq2seq.text.files import is_stream, read_lines


def read_series(
    path: str,
    config: ClassDataConfig,
    labelled: bool = True,
    columns: Columns | None = None,
    lines: list[str] | None = None,
) -> Labelled:
    """Read the series of a file, in its order; their ``bin``s are averaged. ``labelled``: targets
    are expected. ``columns`` are those of the training data: where the file has names, features
    are read in that order, whatever theirs is. ``lines`` are those of a stream called ``path``.

    Raises UsageError with the place for what is no series, and for features that are missing or
    that the training data lacks.
    """
    if lines is None and not Path(path).exists():
        raise UsageError(f"{path}: no such file{missing_hint(Path(path))}")
    as_json = False
    if lines is None and path.lower().endswith(".npz"):
        rows, named = read_arrays(path, columns)
    else:
        lines, as_json = _lines(path, lines)
        rows, named = (
            (_jsonl(path, lines, config), None)
            if as_json
            else read_table(path, lines, config, columns)
        )
    found = Labelled(path, place="line" if as_json else "series", columns=named)
    rename = Renaming(config.rename)
    width: tuple[int, int] | None = None
    for place, series, target in rows:
        where = f"{path}, {found.place} {place}"
        if target is None and labelled:
            raise UsageError(f"{where}: no label")
        kept = parse_target(target, config, rename, where) if labelled else ""
        if kept is None:
            continue
        shape = (series.values.shape[1], len(series.static))
        width = width or shape
        if shape != width:
            raise UsageError(
                f"{where}: {shape[0]} features and {shape[1]} static ones; those before have "
                f"{width[0]} and {width[1]}"
            )
        found.add(averaged(series, config.bin), kept, place)
    if not len(found):
        raise UsageError(f"{path}: holds no series")
    found.unused = rename.unused
    return found


def _lines(path: str, lines: list[str] | None) -> tuple[list[str], bool]:
    """The lines, and whether they are JSON or else CSV: the name of a file tells it, of a stream
    the first line."""
    if lines is None:
        name = path.lower().removesuffix(".gz").removesuffix(".xz")
        if name.endswith((".jsonl", ".json", ".csv")):
            return read_lines(path), not name.endswith(".csv")
        if not is_stream(path):
            raise UsageError(f"{path}: expected a name that ends in .csv, .npz or .jsonl")
        lines = read_lines(path)
    return lines, begins_json(lines[0])


def _jsonl(path: str, lines: list[str], config: ClassDataConfig) -> Rows:
    for number, line in enumerate(lines, 1):
        if line.strip():
            series, values = series_of_json(line, f"{path}, line {number}")
            yield number, series, values.get(config.label)


def series_of_json(line: str, where: str) -> tuple[Series, dict[str, Any]]:
    """A series from one line of JSON: an object, or its values alone; and the whole object."""
    try:
        values = parse_json(line)
    except ValueError as error:
        raise UsageError(f"{where}: not JSON ({error})") from None
    if isinstance(values, list):
        values = {"values": values}
    if not isinstance(values, dict) or "values" not in values:
        raise UsageError(
            f"{where}: expected an object with 'values', or a list of lists of numbers"
        )
    check_keys(values, PARTS, where)
    return make_series(values["values"], values.get("times"), values.get("static"), where), values
