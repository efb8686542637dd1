"""Regular times: a step found from times, and any time from its number by arithmetic alone.

A step is a number of units. Units of fixed length are nanoseconds; months and business days are
counted by the calendar, so that monthly and stock-market series are regular, too.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from seq2seq.errors import UsageError

Unit = Literal["rows", "ns", "months", "month ends", "business days"]

_NANOSECONDS = {  # pandas' names of frequencies
    **{"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9},
    **{"D": 86_400 * 10**9, "W": 7 * 86_400 * 10**9},
}
_MONTHS = {"M": 1, "Q": 3, "Y": 12}
_DAY = _NANOSECONDS["D"]
_YEAR = 365.2425 * _DAY
# what datetime64[ns] holds, but for the first day, which numpy rounds wrongly
_ENDS = ("1677-09-22T23:59:59", "2262-04-11T23:47:16")
_BETWEEN = "from 1677-09-23 to 2262-04-11"
MAX_COUNT = 2**63 - 1  # nanoseconds or whole numbers of a step: 292 years


@dataclass(frozen=True)
class Step:
    """The distance of neighbouring times: ``count`` units. Unit "rows" means whole numbers."""

    count: int
    unit: Unit

    @property
    def dated(self) -> bool:
        """Whether times are dates; otherwise they are whole numbers."""
        return self.unit != "rows"

    def __str__(self) -> str:
        """As ``step_named`` reads it."""
        if self.unit == "rows":
            return str(self.count)
        if self.unit == "business days":
            return "B" if self.count == 1 else f"{self.count}B"
        if self.unit in ("months", "month ends"):
            name = next(name for name in "YQM" if self.count % _MONTHS[name] == 0)
            number = self.count // _MONTHS[name]
            name += "S" if self.unit == "months" else "E"
        else:
            name = next(n for n in reversed(_NANOSECONDS) if self.count % _NANOSECONDS[n] == 0)
            number = self.count // _NANOSECONDS[name]
        return name if number == 1 else f"{number}{name}"

    def times(self, start: np.ndarray | np.generic, number: np.ndarray) -> np.ndarray:
        """The times of the steps ``number``, counted from ``start``; the two are broadcast."""
        number = np.asarray(number, dtype=np.int64) * self.count
        if self.unit == "rows":
            return np.asarray(start, dtype=np.int64) + number
        start = np.asarray(start, dtype="datetime64[ns]")
        if self.unit == "ns":  # as integers, whose sum is right where a summand has wrapped round
            return np.asarray(start.astype(np.int64) + number).view("datetime64[ns]")
        days = start.astype("datetime64[D]")
        clock = start - days
        if self.unit == "business days":
            return np.busday_offset(days, number, roll="forward").astype("datetime64[ns]") + clock
        months = days.astype("datetime64[M]")
        there = months + number.astype("timedelta64[M]")
        if self.unit == "month ends":
            day = (there + np.timedelta64(1, "M")).astype("datetime64[D]") - np.timedelta64(1, "D")
        else:  # the same day of each month: the 28th at the latest
            day = there.astype("datetime64[D]") + (days - months.astype("datetime64[D]"))
        return day.astype("datetime64[ns]") + clock

    def fits(self, start: np.ndarray, number: np.ndarray) -> np.ndarray:
        """Whether the times of the steps ``number`` after ``start`` can be told; others wrap round
        in ``times``. bool, as the two are broadcast."""
        length = {"rows": 1, "ns": 1, "business days": _DAY * 7 / 5}.get(self.unit, _YEAR / 12)
        # in floating point, which does not wrap; a date may be off by four days of a calendar
        first = np.asarray(start, "datetime64[ns]" if self.dated else None).astype(np.int64)
        found = first + np.asarray(number, np.float64) * self.count * length
        inside = np.abs(found) < 2.0**63 - (0 if self.unit in ("rows", "ns") else 4 * _DAY)
        return np.asarray(inside)

    def numbers(self, times: np.ndarray) -> np.ndarray:
        """How many steps after ``times[0]`` each time lies, int64; -1 where it lies between two
        steps. Times are sorted."""
        start = times[0]
        if self.unit in ("rows", "ns"):
            whole = distance(times, start)
        elif self.unit == "business days":
            first, days = start.astype("datetime64[D]"), times.astype("datetime64[D]")
            whole = np.busday_count(first, days).astype(np.int64)
        else:
            whole = (times.astype("datetime64[M]") - start.astype("datetime64[M]")).astype(np.int64)
        numbers = whole // self.count
        numbers = np.where(numbers <= MAX_COUNT, numbers, 0).astype(np.int64)
        return np.where(self.times(start, numbers) == times, numbers, -1)


def step_named(name: str) -> Step:
    """The step that pandas names so ("h", "15min", "D", "W", "MS", "ME", "QS", "YE", "B"); a whole
    number is the distance of times that are whole numbers. Raises UsageError for another name."""
    if re.fullmatch(r"[1-9][0-9]{0,99}", name):
        if int(name) > MAX_COUNT:
            raise UsageError(f"step is {name!r}; expected a whole number of at most 63 bits")
        return Step(int(name), "rows")
    found = re.fullmatch(r"([1-9][0-9]{0,99})?(ns|us|ms|s|min|h|D|W|B|[MQY][SE])(-[A-Z]{3})?", name)
    if not found:
        raise UsageError(
            f"step is {name!r}; expected a whole number or a name such as 15min, h, D, B, W, MS, "
            "ME, QS or YS, with a number before it if need be"
        )
    count, unit = int(found[1] or 1), found[2]
    if count * _NANOSECONDS.get(unit, _DAY) > MAX_COUNT:
        raise UsageError(f"step is {name!r}; expected a shorter one, since dates are {_BETWEEN}")
    if unit == "B":
        return Step(count, "business days")
    if unit in _NANOSECONDS:
        return Step(count * _NANOSECONDS[unit], "ns")
    return Step(count * _MONTHS[unit[0]], "months" if unit[1] == "S" else "month ends")


def distance(later: np.ndarray, earlier: np.ndarray | np.generic) -> np.ndarray:
    """How far apart times are, in nanoseconds or whole numbers, uint64; ``later`` is nowhere before
    ``earlier``. Dates are up to 584 years apart, and int64 counts nanoseconds of 292."""
    signed = later.astype(np.int64) - earlier.astype(np.int64)  # wraps round, which uint64 undoes
    return np.asarray(signed).view(np.uint64)


def find_step(times: np.ndarray) -> Step | None:
    """The step of sorted, distinct times (T,): the one that most neighbours have, gaps aside.

    None for fewer than two times, and for times that no step fits.
    """
    if len(times) < 2:
        return None
    apart = distance(times[1:], times[:-1])
    common = most_common(apart)
    fixed = [Step(common, "rows" if times.dtype.kind == "i" else "ns")]
    if common > MAX_COUNT:
        fixed = []
    candidates = list(fixed)
    if times.dtype.kind != "i":
        # July, August and September begin as far apart as their days are many, and are months
        even = bool((apart == common).all()) and not _bounds_of_months(times)
        candidates = [*(fixed if even else []), *_calendar_steps(times), *fixed]
    return next((step for step in candidates if bool((step.numbers(times) >= 0).all())), None)


def _bounds_of_months(times: np.ndarray) -> bool:
    """Whether all times are the first day of a month, or all the last one, each of its own."""
    days = times.astype("datetime64[D]")
    months = [near.astype("datetime64[M]") for near in (days - 1, days, days + 1)]
    distinct = len(np.unique(months[1])) == len(days)
    return distinct and any(bool((a != b).all()) for a, b in itertools.pairwise(months))


def _calendar_steps(times: np.ndarray) -> list[Step]:
    """Steps by the calendar that these times may have."""
    days = times.astype("datetime64[D]")
    months = days.astype("datetime64[M]").astype(np.int64)
    found = []
    if len(np.unique(months)) == len(months):  # at most one time a month
        count = int(most_common(np.diff(months)))
        found += [Step(count, "months"), Step(count, "month ends")]
        tomorrow = (days + np.timedelta64(1, "D")).astype("datetime64[M]")
        if bool((tomorrow.astype(np.int64) > months).all()):
            found.reverse()
    if bool(np.is_busday(days).all()):
        near = np.busday_count(days[:-1], days[1:])
        # daily times without a weekend in two weeks are business days
        if most_common(near) == 1 and bool((np.diff(days).astype(int) == 3).any()):
            found.append(Step(1, "business days"))
    return found


def check_dates(dates: np.ndarray, place: Callable[[int], str]) -> None:
    """Raises UsageError for a date that datetime64[ns] cannot hold: it would wrap round.
    ``place`` names a row."""
    wrong = np.isnat(dates)
    if not wrong.any():
        low, high = (np.datetime64(end).astype(dates.dtype) for end in _ENDS)
        wrong = (dates <= low) | (dates > high)
    if wrong.any():
        row = int(wrong.argmax())
        raise UsageError(f"{place(row)} is {dates[row]}; expected dates {_BETWEEN}")


def reach_told(step: Step) -> str:
    """What is wrong with steps that ``Step.fits`` refuses."""
    numbers = "whole numbers of at most 63 bits"
    return (
        f"its last time cannot be told; expected {f'dates {_BETWEEN}' if step.dated else numbers}"
    )


def shown(time: Any) -> str:
    """A time, a scalar of numpy, as errors name it: a number, a date, or date and time."""
    if not isinstance(time, np.datetime64):
        return str(time)
    if np.isnat(time):
        return "missing"
    for unit in ("D", "m", "s"):
        if time == time.astype(f"datetime64[{unit}]"):
            return str(time.astype(f"datetime64[{unit}]")).replace("T", " ")
    return str(time).replace("T", " ").rstrip("0")


def most_common(values: np.ndarray) -> int:
    """The most frequent value; the smallest of those that are equally frequent."""
    kinds, counts = np.unique(values, return_counts=True)
    return int(kinds[counts.argmax()])
