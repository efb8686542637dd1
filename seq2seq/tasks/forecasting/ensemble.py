"""Several models that forecast as one: the mean of their forecasts.

The mean of quantiles at one level (Vincent 1912), so that the interval is as wide as the members'
on average; path p is the mean of the members' paths p, which follow from the same random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seq2seq.errors import UsageError
from seq2seq.tasks.forecasting.prediction import Predicted

if TYPE_CHECKING:
    from seq2seq.tasks.forecasting.forecaster import Forecaster


def mean_of(found: Sequence[Predicted], counts: bool) -> Predicted:
    """The mean of the members' forecasts, in the values' own unit; quantiles and paths of
    ``counts`` are rounded."""

    def mean(parts: Sequence[np.ndarray], whole: bool) -> np.ndarray:
        total = np.mean(np.stack(parts), axis=0)
        return np.rint(total) if whole else total

    paths = [one.paths for one in found if one.paths is not None]
    return Predicted(
        mean([one.mean for one in found], whole=False),
        mean([one.median for one in found], counts),
        mean([one.quantiles for one in found], counts),
        mean(paths, counts) if paths else None,
    )


def check_alike(members: Sequence[Forecaster]) -> None:
    """Raises UsageError unless the models read the same columns and forecast the same ones, as far
    ahead."""
    first = _reads(members[0])
    for number, member in enumerate(members, start=1):
        for name, value in _reads(member).items():
            if value != first[name]:
                raise UsageError(
                    f"ensemble: {name} {_shown(first[name])} in model 1 and {_shown(value)} in "
                    f"model {number}; expected models that read and forecast the same columns"
                )


def _reads(one: Forecaster) -> dict[str, Any]:
    encoding, columns = one.encoding, one.columns
    return {
        "the targets are": encoding.targets,
        "the step is": encoding.step,
        "known covariates are": encoding.known_names,
        "past covariates are": encoding.past_names,
        "static columns are": columns.static,
        "columns that tell series apart are": columns.series,
        "the time column is": columns.time,
        "'data.gaps' is": columns.gaps,
        "the horizon is": one.config.model.horizon,
        "'model.kind' is": "autoregressive" if one.model.samples else "at once",
    }


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return repr(value)
