"""Training, validation and test parts of series, by time: each series is cut for itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seq2seq.errors import UsageError
from seq2seq.tasks.forecasting.dates import QUARTER, steps_before
from seq2seq.tasks.forecasting.series_set import SeriesSet

REST = "rest"


@dataclass(frozen=True)
class Parts:
    """Where the parts of N series begin and end, in steps: validation lies between ``train`` and
    ``validation``, test between ``validation`` and ``test``."""

    train: np.ndarray  # (N,) ends
    validation: np.ndarray
    test: np.ndarray


def split_series(series: SeriesSet, split: Sequence[str]) -> Parts:
    """The parts that ``data.split`` asks for.

    - Shares ("0.7", "0.1", "0.2"): of the length of each series, rounded down; the last part gets
      what is left where the shares sum up to 1.
    - Numbers of steps ("8640", "2880", "2880"), one of which may be "rest": from the beginning of
      each series, or with "rest" so that the parts fill it. Steps beyond the parts are not used.
    - Dates: where validation and test begin, and a third one where test ends.

    A series too short for its parts gives what it has to test first, then to validation where the
    first part is "rest", otherwise to training. Raises UsageError for a split of no such form.
    """
    lengths = series.lengths
    words = [one.strip() for one in split]
    if len(words) in (2, 3) and all(_is_date(word) for word in words):
        return _by_date(series, words)
    if len(words) not in (2, 3):
        raise _wrong(split)
    if all(re.fullmatch(r"0?\.[0-9]+|0(\.0*)?|1(\.0*)?", word) for word in words):
        shares = np.array([float(word) for word in words] + [0.0] * (3 - len(words)))
        if shares.sum() > 1 + 1e-9:
            raise UsageError(f"'data.split' is {list(split)}; the shares sum up to more than 1")
        ends = np.floor(lengths[:, None] * shares.cumsum() + 1e-9).astype(np.int64)
        return Parts(ends[:, 0], ends[:, 1], ends[:, 2])
    if all(re.fullmatch(r"[0-9]+|rest", word) for word in words) and words.count(REST) < 2:
        _check_no_dates(series, words)
        return _by_length(lengths, [*words, *["0"] * (3 - len(words))])
    raise _wrong(split)


def _check_no_dates(series: SeriesSet, words: Sequence[str]) -> None:
    """Numbers that are longer than any series and look like dates were meant as dates."""
    dates = [word for word in words if re.fullmatch(r"(19|20)\d\d(0[1-9]|1[0-2])(\d\d)?", word)]
    longest = int(series.lengths.max())
    if len(dates) == len(words) and series.step.dated and int(min(dates, key=int)) > longest:
        shown = "-".join(filter(None, (dates[0][:4], dates[0][4:6], dates[0][6:])))
        raise UsageError(
            f"'data.split' is {words}: numbers of steps, and the longest series has {longest:,}; "
            f"write dates as {shown}"
        )


def _by_length(lengths: np.ndarray, words: Sequence[str]) -> Parts:
    fixed = sum(int(word) for word in words if word != REST)
    rest = np.maximum(lengths - fixed, 0)
    sizes = [rest if word == REST else np.full(len(lengths), int(word)) for word in words]
    if words[0] == REST:  # parts count from the end
        test = np.maximum(lengths - sizes[2], 0)
        return Parts(np.maximum(test - sizes[1], 0), test, lengths)
    ends = [np.minimum(end, lengths) for end in np.cumsum(sizes, axis=0)]
    return Parts(ends[0], ends[1], ends[2])


def _by_date(series: SeriesSet, words: Sequence[str]) -> Parts:
    where = f"'data.split' is {list(words)}:"
    ends = [steps_before(series, word, where, "dates of the calendar") for word in words]
    ends += [series.lengths] * (3 - len(ends))
    if (ends[0] > ends[1]).any() or (ends[1] > ends[2]).any():
        raise UsageError(f"'data.split' is {list(words)}; expected dates in ascending order")
    return Parts(ends[0], ends[1], ends[2])


def _is_date(word: str) -> bool:
    day = r"\d{4}-\d{2}(-\d{2}([T ]\d{2}:\d{2}(:\d{2})?)?)?"
    return re.fullmatch(rf"{day}|{QUARTER}", word) is not None


def _wrong(split: Sequence[str]) -> UsageError:
    return UsageError(
        f"'data.split' is {list(split)}; expected training, validation and test as shares (0.7, "
        "0.1, 0.2), as numbers of steps or 'rest' (rest, 48, 48), or as the dates on which "
        "validation and test begin"
    )
