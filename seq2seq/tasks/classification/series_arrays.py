"""Series in arrays: NPZ files, see ``series``."""

from __future__ import annotations

from typing import Any

import numpy as np

from seq2seq.array_files import check_dimensions, load_npz, whole_numbers
from seq2seq.errors import UsageError
from seq2seq.tasks.classification.feature_order import feature_order
from seq2seq.tasks.classification.labelled import Columns
from seq2seq.tasks.classification.series import Rows, check_keys, make_series

_DIMENSIONS = {
    **{"values": (1, 2, 3), "lengths": (1,), "times": (1, 2, 3), "static": (1, 2)},
    **{"labels": (1, 2), "label_names": (1,), "ids": (1,)},
    **{"features": (1,), "static_features": (1,)},
}


def read_arrays(path: str, columns: Columns | None) -> tuple[Rows, Columns | None]:
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
            order = feature_order(names, wanted or None, f"{path}, '{key}'")
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
    check_keys(arrays, _DIMENSIONS, path)
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
    value = label.item()
    return None if value != value or value == "" else value  # NaN is no label
