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

import csv
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seq2seq.array_files import LARGEST, check_dimensions, load_npz, whole_numbers
from seq2seq.errors import UsageError
from seq2seq.json_files import begins_json, parse_json
from seq2seq.public_data import missing_hint
from seq2seq.tasks.classification.config import ClassDataConfig
from seq2seq.tasks.classification.labelled import Columns, Labelled, parse_target
from seq2seq.text.files import csv_rows, is_stream, read_lines


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


def _numbers(values: Any, where: str, what: str) -> np.ndarray:
    try:
        return np.array(values, np.float64)  # None becomes NaN
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{where}: {what} are no table of numbers ({error})") from None


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
        rows, named = _npz(path, columns)
    else:
        lines, as_json = _lines(path, lines)
        rows, named = (
            (_jsonl(path, lines, config), None) if as_json else _csv(path, lines, config, columns)
        )
    found = Labelled(path, place="line" if as_json else "series", columns=named)
    rename = dict(rule.split("=", 1) for rule in config.rename)
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


def averaged(series: Series, width: float) -> Series:
    """The mean of what was measured in each stretch of ``width``; stretches without rows are left
    out, their length is in the times. 0: as it is."""
    if not width:
        return series
    number = np.floor((series.times - series.times[0]) / width).astype(np.int64)
    bins, index = np.unique(number, return_inverse=True)
    seen = ~np.isnan(series.values)
    sums = np.zeros((len(bins), series.values.shape[1]))
    counts = np.zeros_like(sums)
    np.add.at(sums, index, np.where(seen, series.values, 0))
    np.add.at(counts, index, seen)
    with np.errstate(invalid="ignore"):
        values = (sums / np.where(counts > 0, counts, np.nan)).astype(np.float32)
    return Series(values, series.times[0] + bins * width, series.static)


_DIMENSIONS = {
    **{"values": (1, 2, 3), "lengths": (1,), "times": (1, 2, 3), "static": (1, 2)},
    **{"labels": (1, 2), "label_names": (1,), "ids": (1,)},
    **{"features": (1,), "static_features": (1,)},
}

Rows = Iterator[tuple[Any, Series, Any]]  # place, series, target


def _order(names: list[str], wanted: tuple[str, ...] | None, where: str) -> list[int]:
    """Places of the wanted names, of all where nothing is wanted."""
    twice = next((name for n, name in enumerate(names) if name in names[:n]), None)
    if twice is not None:
        raise UsageError(f"{where}: two features are named {twice!r}; give one another name")
    if wanted is None:
        return list(range(len(names)))
    missing = [name for name in wanted if name not in names]
    extra = [name for name in names if name not in wanted]
    if missing or extra:
        found = f"no feature {', '.join(map(repr, missing))}" if missing else ""
        found += "; " if missing and extra else ""
        found += f"{', '.join(map(repr, extra))} was not in training" if extra else ""
        raise UsageError(f"{where}: {found}; the model reads: {', '.join(wanted)}")
    return [names.index(name) for name in wanted]


def _npz(path: str, columns: Columns | None) -> tuple[Rows, Columns | None]:
    arrays = _arrays(path)
    found: dict[str, tuple[str, ...]] = {}
    for key, array in (("features", "values"), ("static_features", "static")):
        if key in arrays and array in arrays:
            names = [str(name) for name in arrays[key]]
            if len(names) != arrays[array].shape[-1]:
                raise UsageError(
                    f"{path}: '{key}' has {len(names)} names; '{array}' has "
                    f"{arrays[array].shape[-1]} columns"
                )
            known = columns or Columns(())
            wanted = known.features if key == "features" else known.static
            order = _order(names, wanted or None, f"{path}, '{key}'")
            arrays[array] = arrays[array][..., order]
            found[key] = tuple(names[n] for n in order)
    named = None
    if "features" in found:
        named = Columns(found["features"], found.get("static_features", ()))
    return _npz_rows(path, arrays), named


def _arrays(path: str) -> dict[str, Any]:
    arrays: dict[str, Any] = dict(load_npz(path))
    if "values" not in arrays:
        raise UsageError(f"{path}: no array 'values'; there are: {', '.join(arrays) or 'none'}")
    check_dimensions(path, arrays, _DIMENSIONS)
    if "lengths" in arrays:
        arrays["lengths"] = whole_numbers(path, "lengths", arrays["lengths"])
    return arrays


def _npz_rows(path: str, arrays: dict[str, Any]) -> Rows:
    values, lengths = arrays["values"], arrays.get("lengths")
    times, static, labels = (arrays.get(name) for name in ("times", "static", "labels"))
    if lengths is None:
        if values.ndim != 3:
            raise UsageError(
                f"{path}: 'values' has shape {values.shape}; expected (series, steps, features), "
                "or (all steps, features) with 'lengths'"
            )
        ends = np.arange(1, len(values) + 1) * values.shape[1]
        values = values.reshape(-1, values.shape[2])
        if times is not None:  # (T,) are those of every series
            times = (np.tile(times, len(ends)) if times.ndim == 1 else times).reshape(-1)
    else:
        ends = np.cumsum(lengths)
    if not len(ends) or ends[-1] != len(values):
        total = int(ends[-1]) if len(ends) else 0
        raise UsageError(
            f"{path}: 'lengths' sum up to {total:,}; 'values' has {len(values):,} rows"
        )
    _check_rows(path, arrays, len(ends), len(values), times)
    names = arrays.get("label_names")
    ids = arrays.get("ids", np.arange(1, len(ends) + 1))
    for row, (start, end) in enumerate(zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)):
        place = str(ids[row])
        series = make_series(
            values[start:end],
            None if times is None else times[start:end],
            None if static is None else static[row],
            f"{path}, series {place}",
        )
        target = None if labels is None else _npz_target(labels[row], names, path)
        yield place, series, target


def _check_rows(path: str, arrays: dict[str, Any], series: int, rows: int, times: Any) -> None:
    for name in ("labels", "static", "ids"):
        if name in arrays and len(arrays[name]) != series:
            raise UsageError(f"{path}: '{name}' has {len(arrays[name])} rows for {series} series")
    if times is not None and len(times) != rows:
        raise UsageError(f"{path}: 'times' has {len(times)} rows; 'values' has {rows}")


def _npz_target(label: Any, names: Any, path: str) -> Any:
    if np.ndim(label) == 1:
        if names is None or len(names) != len(label):
            raise UsageError(f"{path}: several labels need 'label_names', one for each column")
        return [str(name) for name, has in zip(names, label, strict=True) if has]
    return label.item()


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
    return make_series(values["values"], values.get("times"), values.get("static"), where), values


def _csv(
    path: str, lines: list[str], config: ClassDataConfig, columns: Columns | None
) -> tuple[Rows, Columns | None]:
    if columns is not None and columns.static:  # also of a model that read another form
        config = dataclasses.replace(config, static=list(columns.static))
    rows = csv_rows(lines)
    try:
        header = next(rows)
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
                groups.setdefault(row[header.index(config.id)], []).append((rows.line_num, row))
    except csv.Error as error:
        raise UsageError(f"{path}, line {rows.line_num}: not CSV ({error})") from None
    given = {config.id, config.time, config.label, *config.static}
    names = [column for column in header if column not in given]
    wanted = columns.features if columns else None
    names = [names[n] for n in _order(names, wanted, f"{path}, line 1")]
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
    static = [
        next(
            (v for line, row in group if (v := _field(row[n], path, line, header[n])) == v), np.nan
        )
        for n in still
    ]
    labels = [] if label is None else list(dict.fromkeys(r[label] for _, r in group if r[label]))
    if len(labels) > 1:
        raise UsageError(
            f"{path}, line {group[0][0]}: series {name!r} has two labels, {labels[0]!r} and "
            f"{labels[1]!r}"
        )
    where = f"{path}, line {group[0][0]}, series {name!r}"
    return name, make_series(values, times, static, where), next(iter(labels), None)


def _field(text: str, path: str, line: int, column: str) -> float:
    if not text.strip():
        return float("nan")
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            f"{path}, line {line}: column {column!r} holds {text!r}; expected a number, or nothing"
        ) from None
