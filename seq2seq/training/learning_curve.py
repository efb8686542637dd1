"""The learning curve of a run, drawn from its log."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq import registry
from seq2seq.config.paths import normal_path
from seq2seq.errors import RunError, UsageError
from seq2seq.json_files import parse_json
from seq2seq.plotting import BLUE, GREEN, GREY, ORANGE, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOG_FILE = "log.jsonl"
_LARGEST = 1e100  # matplotlib fails where the distance of two values leaves floating point

Curve = tuple[list[int], list[float]]  # steps, values


def plot_learning_curve(
    run: str | os.PathLike[str], path: str | os.PathLike[str], title: str | None = None
) -> Path:
    """Draw losses, the task's own validation figures and the learning rate over the optimizer
    steps of a run.

    Args:
        run: the run's directory, or its ``log.jsonl``: one JSON object a line, with ``step`` and
            any of ``loss``, ``learning_rate``, ``validation_loss`` and the figures of a task
            (``seq2seq.registry``).
        path: the picture to write: .png, .svg or .pdf.
        title: by default the name of the run's directory.

    Raises:
        UsageError: no log there; matplotlib is missing; another ending.
        RunError: a run that has logged nothing yet, a damaged log, one without a loss, or a picture
            that cannot be written.
    """
    curves = read_log(run)
    if not {"loss", "validation_loss"} & curves.keys():
        raise RunError(f"{run}: no loss in the log yet; train for longer")
    panels = _panels(curves)
    heights = [height for _, height in panels]
    figure = new_figure()
    figure.set_size_inches(8, sum(heights) + 0.9)
    figure.suptitle(title or _name_of(run), parse_math=False)
    grid = figure.subplots(
        len(panels), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for axes, (draw, _) in zip(grid[:, 0], panels, strict=True):
        draw(axes)
        axes.grid(True, color="#e2e8f0", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.02)
    grid[-1, 0].set_xlabel("optimizer steps")
    grid[-1, 0].xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    return save_figure(figure, path)


def _panels(curves: dict[str, Curve]) -> list[tuple[Callable[[Axes], None], float]]:
    """How to draw each panel, and inches of height."""
    known = [figure for task in registry.TASKS.values() for figure in task.figures]
    panels: list[tuple[Callable[[Axes], None], float]] = [(partial(_draw_loss, curves=curves), 3.2)]
    if _parts(curves):
        panels.append((partial(_draw_parts, curves=curves), 1.8))
    panels += [
        (partial(_draw_figure, figure=one, curve=curves[one.name]), 2.6)
        for one in known
        if one.name in curves
    ]
    if "learning_rate" in curves:
        panels.append((partial(_draw_rate, curve=curves["learning_rate"]), 1.1))
    return panels


def _name_of(run: str | os.PathLike[str]) -> str:
    path = Path(normal_path(str(run))).resolve()
    return (path if path.is_dir() else path.parent).name


def read_log(run: str | os.PathLike[str]) -> dict[str, Curve]:
    """The curves of a training log: name -> (steps, values), steps increasing.

    Where a resumed run passed a step twice, the later line counts. A last line that was cut off
    by a kill is left out. Raises UsageError where there is no log, RunError for a run that has not
    logged yet and for a damaged log.
    """
    path = Path(normal_path(str(run)))
    path = path / LOG_FILE if path.is_dir() else path
    if path.name == LOG_FILE and not path.exists() and _is_run(path.parent):
        raise RunError(
            f"{path.parent}: this run has logged nothing yet; a run does every "
            "'training.log_every' steps (in its config.json), and when it validates"
        )
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no UTF-8 text"
        raise UsageError(
            f"{path}: cannot be read ({reason}); expected the directory of a run"
        ) from None
    points: dict[str, dict[int, float]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            entry = parse_json(line)
            step = int(_number(entry["step"], "step", f"{path}, line {number}"))
        except (ValueError, KeyError, TypeError):
            if number == len(lines) and line.startswith("{"):
                break  # cut off by a kill
            raise RunError(f"{path}, line {number}: not a JSON object with a 'step'") from None
        for name, value in entry.items():
            if isinstance(value, float) and not math.isfinite(value):
                continue  # a figure that there was not, as null
            if isinstance(value, int | float) and not isinstance(value, bool):
                found = _number(value, name, f"{path}, line {number}")
                points.setdefault(name, {})[step] = found
    return {
        name: (sorted(values), [values[step] for step in sorted(values)])
        for name, values in points.items()
    }


def _is_run(folder: Path) -> bool:
    """Whether this is the directory of a run; saved models have a configuration, too."""
    return (folder / "config.json").is_file() and not (folder / "model.safetensors").exists()


def _number(value: Any, name: str, where: str) -> float:
    """Raises RunError for a number that cannot be drawn; what is no number passes through float's
    own errors."""
    try:
        found = float(value)
    except OverflowError:  # hundreds of digits
        found = math.inf
    if not abs(found) <= _LARGEST:
        told = f"{found:g}" if math.isfinite(found) else "infinite or no number"
        raise RunError(
            f"{where}: '{name}' is {told}; expected a number between -{_LARGEST:g} and {_LARGEST:g}"
        )
    return found


def _draw_loss(axes: Axes, curves: dict[str, Curve]) -> None:
    """The losses of training and validation. Steps that trained one part of the loss alone are
    left out: they are drawn with that part."""
    alone = {point for name in _parts(curves) for point in zip(*curves[name], strict=True)}
    points = zip(*curves.get("loss", ([], [])), strict=True)
    whole = [point for point in points if point not in alone]
    if whole:
        steps, values = [step for step, _ in whole], [value for _, value in whole]
        axes.plot(steps, values, color=BLUE, linewidth=0.8, alpha=0.35)
        axes.plot(steps, _smoothed(values), color=BLUE, linewidth=1.8, label="training")
    if "validation_loss" in curves:
        axes.plot(
            *curves["validation_loss"],
            color=ORANGE,
            marker="o",
            markersize=3.5,
            linewidth=1.6,
            label="validation",
        )
    # tasks that answer with numbers have losses of other units, such as the pinball loss
    axes.set_ylabel("loss" if "mse" in curves else "loss (nats)")
    axes.legend(frameon=False)


def _draw_parts(axes: Axes, curves: dict[str, Curve]) -> None:
    """The terms of the loss that are logged beside the cross entropy."""
    for name, style in zip(_parts(curves), ("-", "--", ":", "-."), strict=False):
        steps, values = curves[name]
        label = name.removeprefix("loss_").replace("_", " ")
        axes.plot(steps, _smoothed(values), style, color=BLUE, linewidth=1.4, label=label)
    axes.set_ylabel("other terms\nof the loss")
    axes.legend(frameon=False)


def _parts(curves: dict[str, Curve]) -> list[str]:
    return sorted(name for name in curves if name.startswith("loss_"))


def _draw_figure(axes: Axes, figure: registry.Figure, curve: Curve) -> None:
    """A figure of the validation set, its best value marked."""
    steps, values = curve
    axes.plot(steps, values, color=GREEN, marker="o", markersize=3.5, linewidth=1.6)
    choose = max if figure.higher else min
    best = choose(range(len(values)), key=values.__getitem__)
    axes.plot(steps[best], values[best], marker="o", markersize=8, color=GREEN, fillstyle="none")
    axes.annotate(
        f"best {values[best]:.{figure.digits}f} at {steps[best]:,}",
        (steps[best], values[best]),
        xytext=(0, -20 if figure.higher else 14),
        textcoords="offset points",
        ha="right" if steps[best] > (steps[0] + steps[-1]) / 2 else "left",
        color=GREEN,
    )
    axes.set_ylabel(f"validation\n{figure.label}")


def _draw_rate(axes: Axes, curve: Curve) -> None:
    axes.plot(*curve, color=GREY, linewidth=1.4)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("learning\nrate")
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))


def _smoothed(values: list[float]) -> list[float]:
    """Mean over a window around each point, about a twentieth of the curve wide.

    Centred, so that a falling curve is not drawn late; narrower towards both ends.
    """
    reach = len(values) // 40
    smooth = []
    for i in range(len(values)):
        near = min(reach, i, len(values) - 1 - i)
        window = values[i - near : i + near + 1]
        smooth.append(sum(window) / len(window))
    return smooth
