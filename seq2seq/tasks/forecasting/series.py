"""A series and a forecast of it: plain data that every part of this task takes and gives.

Sizes: T observed steps, F further steps whose covariates are known, H forecast steps, C targets,
K known covariates, J past covariates, Q quantile levels, P sampled paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from seq2seq.errors import UsageError
from seq2seq.tasks.forecasting.times import Step, shown

UNNAMED = "series"  # of a table that holds one and names none


@dataclass(frozen=True)
class Series:
    """One series: targets over regular times, with what is known about it besides.

    The forecast's origin is the end of ``values``: step T is the first one to forecast. ``known``
    may reach further than ``values``, which is what makes it known ahead.

    Raises UsageError, which names the series, where the arrays do not fit one another.
    """

    name: str
    times: np.ndarray  # (T,) datetime64[ns], or int64; one ``step`` apart
    step: Step
    values: np.ndarray  # (T, C) float64, NaN where missing
    targets: tuple[str, ...]  # names of the C targets
    known: np.ndarray | None = None  # (T + F, K) float64
    known_names: tuple[str, ...] = ()  # names of the K columns of ``known``
    static: Mapping[str, str | float] = field(default_factory=dict)  # text: a category
    zone: str | None = None  # the time zone in which times were given; see ``reading``
    past: np.ndarray | None = None  # (T, J) float64, NaN where missing: read, not forecast
    past_names: tuple[str, ...] = ()  # names of the J columns of ``past``

    def __post_init__(self) -> None:
        self._check_kind("step", Step, "; times.step_named('h') makes one")
        self._check_kind("times", np.ndarray, "; index.to_numpy() makes one")
        self._check_kind("values", np.ndarray)
        if self.values.ndim != 2 or self.values.dtype != np.float64:
            raise UsageError(
                f"series {self.name!r}: values are {self.values.dtype} of shape "
                f"{self.values.shape}; expected float64 of shape (times, targets)"
            )
        if self.values.shape != (len(self.times), len(self.targets)):
            raise UsageError(
                f"series {self.name!r}: values have shape {self.values.shape}; expected "
                f"({len(self.times)} times, {len(self.targets)} targets)"
            )
        self._check_times()
        rows, columns = (len(self), 0) if self.known is None else self.known.shape
        if columns != len(self.known_names) or rows < len(self):
            raise UsageError(
                f"series {self.name!r}: known covariates have shape ({rows}, {columns}); expected "
                f"at least {len(self)} rows and {len(self.known_names)} columns"
            )
        past = np.zeros((len(self), 0)) if self.past is None else self.past
        if not isinstance(past, np.ndarray) or past.dtype != np.float64:
            found = getattr(past, "dtype", type(past).__name__)
            raise UsageError(f"series {self.name!r}: past covariates are {found}; expected float64")
        if past.shape != (len(self), len(self.past_names)):
            raise UsageError(
                f"series {self.name!r}: past covariates have shape {past.shape}; expected "
                f"({len(self)} times, {len(self.past_names)} columns)"
            )

    def _check_kind(self, name: str, kind: type, hint: str = "") -> None:
        found = getattr(self, name)
        if not isinstance(found, kind):
            raise UsageError(
                f"series {self.name!r}: {name} is a {type(found).__name__}; expected a "
                f"{kind.__name__}{hint}"
            )

    def _check_times(self) -> None:
        """The times are one step apart: a forecast counts on from the first."""
        times, step = self.times, self.step
        if times.dtype.kind != ("M" if step.dated else "i"):
            raise UsageError(
                f"series {self.name!r}: times are {times.dtype} and the step is {step}; expected "
                "datetime64 with a step such as h or D, int64 with a whole number"
            )
        if not len(times):
            return
        wrong = np.isnat(times) if step.dated else np.zeros(len(times), dtype=bool)
        if not wrong.any():
            wrong = step.times(times[0], np.arange(len(times))) != times
        if wrong.any():
            row = int(wrong.argmax())
            raise UsageError(
                f"series {self.name!r}, row {row + 1}: the time is {shown(times[row])}; expected "
                f"times one step ({step}) apart; a value that is missing there is NaN"
            )

    def __len__(self) -> int:
        return len(self.times)

    @property
    def future(self) -> int:
        """F, the number of steps after the last observed one whose covariates are known."""
        return 0 if self.known is None else len(self.known) - len(self)

    def future_times(self, horizon: int) -> np.ndarray:
        """The times (H,) of the ``horizon`` steps after the last one."""
        return self.step.times(self.times[0], np.arange(len(self), len(self) + horizon))

    def until(self, origin: int) -> Series:
        """The series as it was known at an earlier origin: its first ``origin`` steps are observed;
        covariates known ahead stay."""
        past = None if self.past is None else self.past[:origin]
        return replace(self, times=self.times[:origin], values=self.values[:origin], past=past)


@dataclass(frozen=True)
class Forecast:
    """The forecast of one series."""

    name: str
    times: np.ndarray  # (H,) as in ``Series``
    targets: tuple[str, ...]  # names of the C targets
    mean: np.ndarray  # (H, C) float64: the point forecast of a model without a distribution
    median: np.ndarray  # (H, C)
    levels: tuple[float, ...]  # of the Q quantiles, ascending; () where a model gives none
    quantiles: np.ndarray  # (Q, H, C)
    paths: np.ndarray | None = None  # (P, H, C) sampled, where they were asked for
    zone: str | None = None

    def interval(self, coverage: float) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bound (H, C) of the central interval, 0.8 for 10% to 90%.

        Raises UsageError where its two levels were not forecast.
        """
        bounds = []
        for level in ((1 - coverage) / 2, (1 + coverage) / 2):
            near = [n for n, one in enumerate(self.levels) if abs(one - level) < 1e-9]
            if not near:
                raise UsageError(
                    f"forecast of {self.name!r}: no quantile {level:g} for an interval of "
                    f"{coverage:g}; forecast levels are {', '.join(map(str, self.levels))}"
                )
            bounds.append(self.quantiles[near[0]])
        return bounds[0], bounds[1]
