"""Series as arrays: one .npz file, or a folder with a .npy file for each array, which stays on disk
(memory-mapped), so that sets larger than the memory can be trained on.

    values         (sum of T, C) floating point, NaN where missing; also (N, T, C), (sum of T,)
    lengths        (N,) T of each series; default: one series, or N equal ones
    names          (N,) text; default: 1, 2, ...
    starts         (N,) datetime64, or whole numbers; default: 0
    zone           text, as "Europe/Berlin", where starts are instants in UTC; default: none
    step           text, as pandas names it ("h", "D"), or a whole number; default: 1
    targets        (C,) names; default: target, or target1, target2, ...
    known          (sum of T + F, K) covariates known ahead
    known_lengths  (N,) T + F of each series; default: ``lengths``
    known_names    (K,)
    past           (sum of T, J) past covariates, NaN where missing
    past_names     (J,)
    static.NAME    (N,) text or numbers
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from seq2seq.array_files import (
    LARGEST,
    check_dimensions,
    load_folder,
    load_npz,
    whole_numbers,
)
from seq2seq.errors import UsageError
from seq2seq.tasks.forecasting.series_set import SeriesSet
from seq2seq.tasks.forecasting.times import Step, check_dates, reach_told, shown, step_named
from seq2seq.tasks.forecasting.zones import is_zone

ARRAYS = (
    *("values", "lengths", "names", "starts", "zone", "step", "targets"),
    *("known", "known_lengths", "known_names", "past", "past_names"),
)
_STATIC = "static."


def write_arrays(series: SeriesSet, path: str | Path) -> None:
    """Write a set as ``read_arrays`` reads it: into one file where ``path`` ends in .npz,
    otherwise into a folder."""
    path = Path(path)
    starts = series.starts
    found: dict[str, Any] = {
        "values": series.values,
        "lengths": series.lengths,
        "names": series.names.astype(str),
        "starts": starts.astype("datetime64[ns]") if series.step.dated else starts,
        "step": np.array(str(series.step)),
        "targets": np.array(series.targets),
        **{_STATIC + name: column for name, column in series.static.items()},
    }
    if series.zone is not None:
        found["zone"] = np.array(series.zone)
    if series.known is not None and series.known_offsets is not None:
        found["known"] = series.known
        found["known_lengths"] = np.diff(series.known_offsets)
        found["known_names"] = np.array(series.known_names)
    if series.past is not None:
        found["past"] = series.past
        found["past_names"] = np.array(series.past_names)
    if path.suffix == ".npz":
        np.savez(path, **found)
        return
    path.mkdir(parents=True, exist_ok=True)
    for name, array in found.items():
        np.save(path / f"{name}.npy", array)


def read_arrays(path: Path) -> SeriesSet:
    """Raises UsageError for a file that is none, an unknown array, and shapes that do not fit."""
    arrays = load_folder(path) if path.is_dir() else load_npz(path)
    _check_arrays(path, arrays)
    values, lengths = _values(path, arrays)
    count, columns = len(lengths), values.shape[1]
    step = step_named(str(arrays.get("step", "1")))
    default = ["target"] if columns == 1 else [f"target{n + 1}" for n in range(columns)]
    known = arrays.get("known")
    series = SeriesSet(
        np.asarray(arrays.get("names", np.arange(1, count + 1))).astype(str),
        _starts(path, arrays, step, count),
        step,
        values,
        _offsets(lengths),
        tuple(str(one) for one in arrays.get("targets", default)),
        known,
        None
        if known is None
        else _offsets(whole_numbers(path, "known_lengths", arrays.get("known_lengths", lengths))),
        tuple(str(one) for one in arrays.get("known_names", [])),
        {n.removeprefix(_STATIC): _static(a) for n, a in arrays.items() if n.startswith(_STATIC)},
        zone=_zone(path, arrays, step),
        past=arrays.get("past"),
        past_names=tuple(str(one) for one in arrays.get("past_names", [])),
    )
    _check_sizes(path, series)
    _check_covariates(path, series)
    _check_times(path, series)
    return series


def _check_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Names, numbers of dimensions, and covariates that are numbers."""
    unknown = [n for n in arrays if n not in ARRAYS and not n.startswith(_STATIC)]
    if unknown or "values" not in arrays:
        what = f"unknown array {unknown[0]!r}" if unknown else "no array 'values'"
        raise UsageError(
            f"{path}: {what}; expected values and some of {', '.join(ARRAYS[1:])}, static.NAME"
        )
    one = [name for name in arrays if name not in ("values", "step", "zone", "known", "past")]
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(one, (1,))
    tables = {"values": (1, 2, 3), "known": (2,), "past": (2,)}
    check_dimensions(path, arrays, {**shapes, **tables, "step": (0,), "zone": (0,)})
    for name in ("known", "past"):
        table = arrays.get(name)
        if table is not None and table.dtype.kind not in "fiub":
            raise UsageError(f"{path}: {name!r} holds {table.dtype}; expected numbers")


def _starts(path: Path, arrays: dict[str, np.ndarray], step: Step, count: int) -> np.ndarray:
    """(N,) datetime64[ns] or int64"""
    starts = np.asarray(arrays.get("starts", np.zeros(count, dtype=np.int64)))
    if (starts.dtype.kind == "M") != step.dated or starts.dtype.kind not in "Miu":
        raise UsageError(
            f"{path}: 'starts' are {starts.dtype} and 'step' is {step}; expected dates and a step "
            "such as h or D, or whole numbers and a whole number"
        )
    if step.dated:
        check_dates(starts, lambda row: f"{path}: 'starts' of series {row + 1}")
    return starts.astype("datetime64[ns]" if step.dated else np.int64)


def _zone(path: Path, arrays: dict[str, np.ndarray], step: Step) -> str | None:
    if "zone" not in arrays:
        return None
    zone = str(arrays["zone"])
    if not is_zone(zone) or not step.dated:
        raise UsageError(
            f"{path}: 'zone' is {zone!r}, and 'step' is {step}; expected a time zone such as "
            "Europe/Berlin, UTC or UTC+02:00, and a step such as h"
        )
    return zone


def _check_sizes(path: Path, series: SeriesSet) -> None:
    """Every array is as long as those that it belongs to."""
    count, known, past = len(series.offsets) - 1, series.known, series.past
    known_lengths = None if series.known_offsets is None else np.diff(series.known_offsets)
    for what, found, expected in (
        ("names", len(series.names), count),
        ("starts", len(series.starts), count),
        ("targets", len(series.targets), series.values.shape[1]),
        ("known_lengths", count if known_lengths is None else len(known_lengths), count),
        (
            "known rows",
            0 if known is None else len(known),
            0 if known_lengths is None else known_lengths.sum(),
        ),
        ("known_names", len(series.known_names), 0 if known is None else known.shape[1]),
        ("past rows", 0 if past is None else len(past), 0 if past is None else len(series.values)),
        ("past_names", len(series.past_names), 0 if past is None else past.shape[1]),
        *((f"static.{name}", len(column), count) for name, column in series.static.items()),
    ):
        if found != expected:
            raise UsageError(f"{path}: {found} {what}; expected {expected}")


def _check_covariates(path: Path, series: SeriesSet) -> None:
    used = [*series.targets, *series.known_names, *series.past_names]
    twice = [name for name in series.past_names if used.count(name) > 1]
    if twice:
        raise UsageError(f"{path}: two columns are named {twice[0]!r}; expected one name for each")
    if series.known is not None and not bool((np.abs(series.known) <= LARGEST).all()):
        raise UsageError(
            f"{path}: 'known' holds NaN, infinity or a number above {LARGEST:.2g}; expected numbers"
        )


def _check_times(path: Path, series: SeriesSet) -> None:
    """Lengths, and that the last step of each series has a time."""
    lengths = reach = np.diff(series.offsets)
    if series.known_offsets is not None:
        reach = np.diff(series.known_offsets)
    if (lengths < 1).any() or (reach < lengths).any():
        raise UsageError(f"{path}: lengths must be at least 1, known_lengths at least lengths")
    _check_starts(path, series)
    fits = series.step.fits(series.starts, reach - 1)
    if not fits.all():
        row = int((~fits).argmax())
        raise UsageError(
            f"{path}: series {str(series.names[row])!r}, of {lengths[row]:,} steps ({series.step}) "
            f"from {shown(series.starts[row])}: {reach_told(series.step)}"
        )


def _check_starts(path: Path, series: SeriesSet) -> None:
    """Each series begins at a time that its step has: no Saturday for business days."""
    step, starts = series.step, series.starts
    right = step.times(starts, np.zeros(len(starts), np.int64)) == starts
    if step.unit == "months":  # the same day of every month; each has 28
        lengths = np.diff(series.offsets if series.known_offsets is None else series.known_offsets)
        for row in np.flatnonzero(_day(starts) > 28).tolist():
            days = _day(step.times(starts[row], np.arange(lengths[row])))
            right[row] &= bool((days == days[0]).all())
    if not right.all():
        row = int((~right).argmax())
        raise UsageError(
            f"{path}: series {str(series.names[row])!r} starts at {shown(starts[row])}, which is "
            f"none that the step {step} has"
        )


def _day(times: np.ndarray) -> np.ndarray:
    """The day of the month, from 1."""
    first = times.astype("datetime64[M]").astype("datetime64[D]")
    return (times.astype("datetime64[D]") - first).astype(np.int64) + 1


def _values(path: Path, arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(sum of T, C), and lengths (N,)"""
    values = arrays["values"]
    if values.dtype.kind in "iub":
        values = values.astype(np.float64)
    if values.dtype.kind != "f" or values.ndim not in (1, 2, 3):
        raise UsageError(
            f"{path}: 'values' are {values.dtype} of shape {values.shape}; expected numbers of "
            "shape (steps, targets) or (series, steps, targets)"
        )
    lengths = np.array([values.shape[0]])
    if values.ndim == 3:
        lengths = np.full(values.shape[0], values.shape[1])
        values = values.reshape(-1, values.shape[2])
    elif values.ndim == 1:
        values = values[:, None]
    lengths = whole_numbers(path, "lengths", arrays.get("lengths", lengths))
    if lengths.sum() != len(values) or not values.size:
        raise UsageError(
            f"{path}: 'lengths' sum up to {lengths.sum()}; 'values' have {len(values)} rows of "
            f"{values.shape[1]} numbers"
        )
    return values, lengths


def _static(column: np.ndarray) -> np.ndarray:
    return column.astype(np.float64) if column.dtype.kind in "fiub" else column.astype(str)


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
