"""Pictures of forecasts: history with forecast and interval bands, backtests, paths in the plane.

Drawn with matplotlib, which the ``plots`` extra installs, into PNG, SVG or PDF files.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seq2seq.errors import UsageError
from seq2seq.plotting import BLUE, GREEN, GREY, ORANGE, new_figure, save_figure
from seq2seq.tasks.forecasting.series import UNNAMED, Forecast, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    FilePath = str | os.PathLike[str]

_PANELS = 8  # targets that one picture shows
_PAST = 4  # horizons of history before the forecast
_INK = "#1a202c"
_COLOURS = (BLUE, ORANGE, GREEN, "#97266d", GREY)  # of forecast paths, in order


def plot_forecast(
    series: Series,
    forecast: Forecast,
    path: FilePath,
    *,
    actual: np.ndarray | None = None,
    shown: int | None = None,
) -> Path:
    """Draw the end of a history and its forecast: the median as a line, and a band between each
    pair of quantiles that lie symmetrically around it. A panel a target, at most eight.

    Args:
        series: the history, at whose end the forecast begins.
        forecast: the forecast of it.
        path: the picture to write: .png, .svg or .pdf.
        actual: the values (H, C) that came, drawn where given.
        shown: steps of history; default: four times the horizon.

    Raises:
        UsageError: shapes that do not fit one another, matplotlib is missing.
        RunError: the file cannot be written.
    """
    return plot_backtest([(series, forecast)], path, actual=actual, shown=shown)


def plot_backtest(
    pairs: Sequence[tuple[Series, Forecast]],
    path: FilePath,
    *,
    actual: np.ndarray | None = None,
    shown: int | None = None,
    title: str | None = None,
) -> Path:
    """Draw forecasts of one series from several origins over its history, a panel a target.

    The history is that of the latest origin, so that earlier forecasts are seen beside the values
    that came. Arguments and errors as ``plot_forecast``; ``pairs`` are in the order of origins.
    """
    if not pairs:
        raise UsageError("no forecast to draw; expected at least one")
    series, forecast = pairs[-1]
    if forecast.targets != series.targets:
        raise UsageError(
            f"series {series.name!r} has targets {', '.join(series.targets)}; its forecast "
            f"{', '.join(forecast.targets)}"
        )
    if actual is not None and np.shape(actual) != forecast.median.shape:
        raise UsageError(
            f"actual values have shape {np.shape(actual)}; expected {forecast.median.shape}"
        )
    steps = shown or _PAST * len(forecast.times)
    before = len(series) - len(pairs[0][0])  # steps between the first origin and the last
    history = slice(-min(len(series), steps + before), None)
    figure = new_figure()
    panels = min(len(series.targets), _PANELS)
    figure.set_size_inches(10, 1.2 + 2.6 * panels)
    axes = np.atleast_1d(figure.subplots(panels, 1, sharex=True))
    for target, ax in enumerate(axes):
        times, values = series.times[history], series.values[history, target]
        if actual is not None:
            times = np.concatenate([times, forecast.times])
            values = np.concatenate([values, actual[:, target]])
        ax.plot(times, values, color=_INK, linewidth=1, label="observed")
        for number, (_, one) in enumerate(pairs):
            _draw_forecast(ax, one, target, labelled=number == 0)
        ax.set_ylabel(series.targets[target])
        ax.spines[["top", "right"]].set_visible(False)
    if series.step.dated:
        import pandas
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        zone = None if series.zone is None else pandas.Timestamp(0, tz=series.zone).tzinfo
        locator = AutoDateLocator(tz=zone)
        axes[-1].xaxis.set_major_locator(locator)
        axes[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=zone))
    handles, labels = axes[0].get_legend_handles_labels()  # below: it never hides a value
    figure.legend(
        handles, labels, loc="outside lower left", frameon=False, ncols=6, fontsize="small"
    )
    name = "" if series.name == UNNAMED else f"{series.name}: "
    axes[0].set_title(title or f"{name}{len(forecast.times)} steps ahead")
    return save_figure(figure, path)


def _draw_forecast(ax: Axes, forecast: Forecast, target: int, labelled: bool) -> None:
    levels, times = forecast.levels, forecast.times
    bands = [level for level in levels if level < 0.5 and _has(levels, 1 - level)]
    for number, level in enumerate(bands):  # the widest first
        low, high = forecast.interval(1 - 2 * level)
        ax.fill_between(
            times,
            low[:, target],
            high[:, target],
            color=BLUE,
            alpha=0.15 + 0.15 * number / max(1, len(bands) - 1),
            linewidth=0,
            label=f"{100 * (1 - 2 * level):.0f}% interval" if labelled else None,
        )
    median = forecast.median[:, target]
    marker = "o" if len(times) == 1 else None
    label = "forecast" if labelled else None
    ax.plot(times, median, color=BLUE, linewidth=1.4, marker=marker, markersize=3, label=label)


def _has(levels: Sequence[float], level: float) -> bool:
    return any(abs(one - level) < 1e-9 for one in levels)


def plot_paths(
    past: np.ndarray,
    actual: np.ndarray,
    forecasts: Mapping[str, np.ndarray],
    path: FilePath,
    *,
    axes: tuple[int, int] | None = None,
    labels: tuple[str, str] | None = None,
    title: str | None = None,
) -> Path:
    """Draw N paths in a plane, a panel each: what was seen, what came, and forecasts by name.

    Args:
        past: (N, T, C) positions that were seen.
        actual: (N, H, C) positions that came, NaN where a path ended.
        forecasts: name -> (N, H, C).
        path: the picture to write: .png, .svg or .pdf.
        axes: which two coordinates are drawn; default: the first and the last.
        labels: what they are called.
        title: above the picture.

    Raises:
        UsageError: shapes that do not fit one another, fewer than two coordinates, matplotlib is
            missing.
        RunError: the file cannot be written.
    """
    past, actual = np.asarray(past), np.asarray(actual)
    shapes = {"actual": actual.shape, **{name: np.shape(one) for name, one in forecasts.items()}}
    for name, shape in shapes.items():
        if past.ndim != 3 or past.shape[2] < 2 or shape != (len(past), *actual.shape[1:]):
            raise UsageError(
                f"paths {name!r} have shape {shape}, those seen {past.shape}; expected "
                "(paths, steps, coordinates), two coordinates or more"
            )
    first, second = axes or (0, past.shape[2] - 1)
    columns = min(3, len(past))
    rows = math.ceil(len(past) / columns)
    figure = new_figure()
    figure.set_size_inches(3.6 * columns, 0.6 + 2.8 * rows)
    for number in range(len(past)):
        ax = figure.add_subplot(rows, columns, number + 1)
        ax.plot(*past[number][:, [first, second]].T, "o", color=GREY, markersize=3, label="seen")
        ax.plot(*actual[number][:, [first, second]].T, "o", color=_INK, markersize=3, label="came")
        there = np.concatenate([past[number], actual[number]])[:, [first, second]]
        for place, (name, one) in enumerate(forecasts.items()):
            line = np.concatenate([past[number][-1:], one[number]])[:, [first, second]]
            colour = _COLOURS[place % len(_COLOURS)]
            ax.plot(*line.T, color=colour, linewidth=1.8 if not place else 1.1, label=name)
        _frame_paths(ax, there)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize="small")
        if labels:
            ax.set_xlabel(labels[0], fontsize="small")
            ax.set_ylabel(labels[1], fontsize="small")
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=5, frameon=False)
    if title:
        figure.suptitle(title)
    return save_figure(figure, path)


def _frame_paths(ax: Axes, there: np.ndarray) -> None:
    """Limits around what was seen and came: a forecast that leaves them is cut off."""
    low, high = np.nanmin(there, axis=0), np.nanmax(there, axis=0)
    margin = 0.25 * max(float((high - low).max()), 1e-9)
    ax.set_xlim(low[0] - margin, high[0] + margin)
    ax.set_ylim(low[1] - margin, high[1] + margin)
