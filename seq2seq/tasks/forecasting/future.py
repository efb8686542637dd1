"""What lies ahead of a series: that the horizon has times, and known covariates reach its end."""

from __future__ import annotations

import numpy as np

from seq2seq.errors import UsageError
from seq2seq.tasks.forecasting.series_set import SeriesSet
from seq2seq.tasks.forecasting.times import reach_told, shown


def check_times(series: SeriesSet, horizon: int) -> None:
    """Raises UsageError where the horizon's end has no time."""
    fits = series.step.fits(series.starts, series.lengths + horizon - 1)
    if not fits.all():
        number = int((~fits).argmax())
        row = int(series.lengths[number]) - 1
        time = series.step.times(series.starts[number], np.array(row))[()]
        raise UsageError(
            f"series {str(series.names[number])!r}, {horizon} steps ({series.step}) after row "
            f"{row + 1} (time {shown(time)}): {reach_told(series.step)}"
        )


def check_future(series: SeriesSet, horizon: int) -> None:
    """Raises UsageError where a known covariate does not reach to the end of the horizon."""
    if series.known_offsets is None:
        return
    ahead = np.diff(series.known_offsets) - series.lengths
    if (ahead < horizon).any():
        number = int((ahead < horizon).argmax())
        row = int(series.lengths[number] + ahead[number])
        time = series.step.times(series.starts[number], np.array(row))[()]
        raise UsageError(
            f"series {str(series.names[number])!r}, row {row + 1} (time {shown(time)}): no values "
            f"of {', '.join(series.known_names)}, which must be known for all {horizon} steps "
            "ahead; add rows with them and without targets"
        )
