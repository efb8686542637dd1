"""What turns series into a network's numbers: statistics and categories of the training series.
It is saved with the model."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seq2seq.array_files import LARGEST
from seq2seq.errors import RunError, UsageError
from seq2seq.json_files import read_json
from seq2seq.tasks.forecasting.calendar_features import features_of, resolve
from seq2seq.tasks.forecasting.config import ForecastConfig
from seq2seq.tasks.forecasting.series_set import SeriesSet
from seq2seq.tasks.forecasting.times import Step, step_named
from seq2seq.tasks.forecasting.zones import is_zone

ENCODING_FILE = "encoding.json"
SERIES = "series"  # the category that ``model.series_embedding`` makes of a series' name
# the deviation of a covariate that does not vary in training: nothing is learned of it, and where
# it varies later, it says nothing either
_SILENT = float(LARGEST)
# fields that encodings of before do not have: none, or those of one of two times
_LATEST = {"zone", "day_first"}
_LATER: tuple[set[str], ...] = (
    set(),
    _LATEST,
    {*_LATEST, "past_names", "past_mean", "past_deviation", "texts"},
)
_SEASONS = {"D": 7, "B": 5, "W": 52, "MS": 12, "ME": 12, "QS": 4, "QE": 4}


@dataclass(frozen=True)
class Encoding:
    """Names, categories and statistics; C targets, K known and J past covariates."""

    targets: tuple[str, ...]
    step: str  # as ``times.step_named`` reads it
    season: int
    calendar: tuple[str, ...]
    target_mean: tuple[float, ...]  # (C,) of the training part
    target_deviation: tuple[float, ...]
    known_names: tuple[str, ...] = ()
    known_mean: tuple[float, ...] = ()  # (K,)
    known_deviation: tuple[float, ...] = ()
    categories: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    numbers: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)  # mean, dev.
    needs_static: tuple[str, ...] = ()
    past_names: tuple[str, ...] = ()
    past_mean: tuple[float, ...] = ()  # (J,)
    past_deviation: tuple[float, ...] = ()
    texts: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)  # of covariates
    zone: str | None = None  # whose clocks the calendar is of; None: those of the series forecast
    day_first: bool | None = None  # how dates such as 1/2/2024 are meant; None: not known

    @property
    def features(self) -> int:
        """Covariates of each step."""
        return features_of(self.calendar) + len(self.known_names)

    @property
    def constant(self) -> list[str]:
        """Covariates that do not vary in training, which a model does not read."""
        spreads = (*self.known_deviation, *self.past_deviation)
        names = (*self.known_names, *self.past_names)
        return [name for name, one in zip(names, spreads, strict=True) if one == _SILENT]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Encoding:
        """Raises TypeError, ValueError or KeyError for values that are none."""
        fields = {field.name for field in dataclasses.fields(cls)}
        if values.keys() - fields or fields - values.keys() not in _LATER:
            raise KeyError(f"expected the keys {', '.join(sorted(fields))}")
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        for key in ("categories", "numbers", "texts"):
            values[key] = {name: tuple(one) for name, one in values.get(key, {}).items()}
        step_named(values["step"])
        zone, day_first = values.get("zone"), values.get("day_first")
        if zone is not None and not is_zone(zone):
            raise ValueError(f"zone is {zone!r}")
        if day_first not in (None, True, False):
            raise ValueError(f"day_first is {day_first!r}")
        found = cls(**values)
        found._check_sizes()
        return found

    def _check_sizes(self) -> None:
        """Raises ValueError where statistics are no numbers, or not one for each column."""
        for names, *statistics in (
            (self.targets, self.target_mean, self.target_deviation),
            (self.known_names, self.known_mean, self.known_deviation),
            (self.past_names, self.past_mean, self.past_deviation),
        ):
            for numbers in statistics:
                if len(numbers) != len(names) or not np.isfinite(numbers).all():
                    raise ValueError("a mean or deviation is missing or no number")
        spreads = (*self.target_deviation, *self.known_deviation, *self.past_deviation)
        if not all(spread > 0 for spread in spreads):
            raise ValueError("a deviation is not above 0")
        for names in (self.targets, self.known_names, self.past_names, *self.texts.values()):
            if not all(isinstance(name, str) for name in names):
                raise ValueError(f"a name is no text: {names}")
        for name, texts in self.texts.items():
            own = tuple(f"{name}={text}" for text in texts) or (f"{name}=",)
            columns = self.known_names if own[0] in self.known_names else self.past_names
            begin = columns.index(own[0])  # ValueError without it
            if columns[begin : begin + len(own)] != own:
                raise ValueError(f"the texts of {name} and its columns differ")
        if not isinstance(self.season, int) or self.season < 1 or not self.targets:
            raise ValueError(f"season is {self.season!r}, targets are {self.targets!r}")

    def check(self, series: SeriesSet) -> None:
        """Raises UsageError where series are not of the kind that the model was trained on: other
        targets, another step, a column that is missing."""
        name = str(series.names[0])
        _same(name, "targets are", series.targets, self.targets)
        if str(series.step) != self.step and series.lengths.max() > 1:
            raise UsageError(
                f"series {name!r}: the step is {series.step}; the model was trained with "
                f"{self.step}"
            )
        _same(name, "known covariates are", series.known_names, self.known_names)
        _same(name, "past covariates are", series.past_names, self.past_names)
        missing = [column for column in self.needs_static if column not in series.static]
        if missing:
            raise UsageError(
                f"series {name!r}: no static column {missing[0]!r}; the model reads it"
            )
        for column in self.numbers:
            if series.static[column].dtype.kind != "f":
                raise UsageError(f"series {name!r}: static column {column!r} is text, not numbers")

    def codes(self, series: SeriesSet) -> np.ndarray:
        """(N, S) int64: the number of each category from 1 on; 0 for one never seen."""
        columns = []
        for name, known in self.categories.items():
            own = name == SERIES and name not in series.static
            values = (series.names if own else series.static[name]).astype(str)
            order = np.argsort(known)
            ordered = np.asarray(known)[order]
            place = np.searchsorted(ordered, values).clip(max=len(known) - 1)
            found = np.where(ordered[place] == values, order[place] + 1, 0)
            columns.append(_by_number(found, values, known))
        return np.stack(columns, 1) if columns else np.zeros((len(series), 0), dtype=np.int64)

    def static_numbers(self, series: SeriesSet) -> np.ndarray:
        """(N, R) float32, normalised."""
        columns = [
            (series.static[name] - mean) / deviation
            for name, (mean, deviation) in self.numbers.items()
        ]
        found = np.stack(columns, 1) if columns else np.zeros((len(series), 0))
        return found.astype(np.float32)


def _by_number(codes: np.ndarray, values: np.ndarray, known: Sequence[str]) -> np.ndarray:
    """``codes`` (N,), where 0 stands for a text that is not among the ``known``, with those of
    texts that are the same whole number: a table that holds nothing else is read as numbers, and
    "1" as 1.0, "001" as 1."""
    unseen = np.flatnonzero(codes == 0)
    if not len(unseen):
        return codes
    numbers: dict[int, int] = {}
    for place, text in enumerate(known, start=1):
        number = _whole(text)
        if number is not None:  # of two that are one number neither is meant
            numbers[number] = 0 if number in numbers else place
    found = codes.copy()
    for row in unseen:
        number = _whole(str(values[row]))
        found[row] = 0 if number is None else numbers.get(number, 0)
    return found


def _whole(text: str) -> int | None:
    """The whole number that a text is."""
    found = re.fullmatch(r"([-+]?\d{1,18})(\.0*)?", text)
    return int(found[1]) if found else None


def save_encoding(encoding: Encoding, directory: Path) -> None:
    """Write the encoding into a folder."""
    text = json.dumps(encoding.to_dict(), ensure_ascii=False, indent=1)
    (directory / ENCODING_FILE).write_text(text, encoding="utf-8")


def load_encoding(directory: Path) -> Encoding:
    """The encoding in a folder. Raises RunError where it cannot be read."""
    path = directory / ENCODING_FILE
    try:
        return Encoding.from_dict(read_json(path))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, UsageError) as error:
        raise RunError(f"{path}: damaged ({error}); copy the file again") from None


def _same(name: str, what: str, found: tuple[str, ...], expected: tuple[str, ...]) -> None:
    if found != expected:
        raise UsageError(
            f"series {name!r}: {what} {', '.join(found) or 'none'}; the model was trained with "
            f"{', '.join(expected) or 'none'}"
        )


def learn_encoding(config: ForecastConfig, series: SeriesSet, ends: np.ndarray) -> Encoding:
    """The encoding of the training series, whose training parts end before ``ends`` (N,)."""
    mean, deviation = _statistics(series.values, series.offsets, ends)
    known_mean = known_deviation = np.zeros(0)
    if series.known is not None and series.known_offsets is not None:
        known_mean, known_deviation = _statistics(series.known, series.known_offsets, ends, _SILENT)
    past_mean = past_deviation = np.zeros(0)
    if series.past is not None:
        past_mean, past_deviation = _statistics(series.past, series.offsets, ends, _SILENT)
    categories, numbers = {}, {}
    for name, column in series.static.items():
        if column.dtype.kind == "f":
            spread = float(column.std())
            numbers[name] = (float(column.mean()), spread if spread > 0 else 1.0)
        else:
            categories[name] = tuple(sorted(set(column.astype(str).tolist())))
    if config.model.series_embedding:
        if SERIES in series.static:
            raise UsageError(
                f"a static column is named {SERIES!r}, which is what 'model.series_embedding' "
                "calls the names of the series; rename the column, or leave that key out"
            )
        categories[SERIES] = tuple(sorted(set(series.names.astype(str).tolist())))
    return Encoding(
        series.targets,
        str(series.step),
        config.data.season or default_season(series.step),
        tuple(resolve(config.data.calendar, series.step)),
        tuple(mean.tolist()),
        tuple(deviation.tolist()),
        series.known_names,
        tuple(known_mean.tolist()),
        tuple(known_deviation.tolist()),
        categories,
        numbers,
        tuple(series.static),
        series.past_names,
        tuple(past_mean.tolist()),
        tuple(past_deviation.tolist()),
        dict(series.texts),
        series.zone,
        series.day_first,
    )


def default_season(step: Step) -> int:
    """The season of series with this step; 1, none, where it has no usual one."""
    day = 86_400 * 10**9
    if step.unit == "ns" and step.count < day and day % step.count == 0:
        return day // step.count
    return _SEASONS.get(str(step), 1)


def _statistics(
    values: np.ndarray, offsets: np.ndarray, ends: np.ndarray, constant: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column over the first ``ends`` rows of each series,
    missing values left out; a mean of 0 without any, a deviation of ``constant`` for a column that
    does not vary."""
    count = np.zeros(values.shape[1])
    total, squares = np.zeros_like(count), np.zeros_like(count)
    centre: np.ndarray | None = None
    chunk = 1 << 20  # rows at once: the array may lie on disk
    number = np.searchsorted(offsets, np.arange(0, len(values), chunk), side="right") - 1
    for begin, first in zip(range(0, len(values), chunk), number, strict=True):
        rows = np.asarray(values[begin : begin + chunk], dtype=np.float64)
        kept = _before_ends(begin, len(rows), int(first), offsets, ends)
        rows = rows[kept]
        there = ~np.isnan(rows)
        if centre is None:  # near the mean: squares do not cancel
            sums = np.where(there, rows, 0.0).sum(0)
            centre = sums / np.maximum(there.sum(0), 1)
        moved = np.where(there, rows - centre, 0.0)
        count += there.sum(0)
        total += moved.sum(0)
        squares += (moved**2).sum(0)
    divisor = np.maximum(count, 1)
    shift = total / divisor
    mean = shift if centre is None else centre + shift
    deviation = np.sqrt(np.maximum(squares / divisor - shift**2, 0))
    return mean, np.where(deviation > 1e-12 * np.abs(mean), deviation, constant)


def _before_ends(
    begin: int, count: int, first: int, offsets: np.ndarray, ends: np.ndarray
) -> np.ndarray:
    """Which of ``count`` rows from ``begin`` on lie in the first ``ends`` rows of their series;
    ``first`` is the series of the first row."""
    rows = np.arange(begin, begin + count)
    last = int(np.searchsorted(offsets, begin + count))
    own = np.repeat(
        np.arange(first, last), np.diff(np.clip(offsets[first : last + 1], begin, begin + count))
    )
    return rows - offsets[own] < ends[own]
