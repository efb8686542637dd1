"""Pictures: the attention of one translation, the learning curve of one run.

Drawn with matplotlib, which the ``plots`` extra installs, into PNG files; no display is needed
and matplotlib's global state is left alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.errors import RunError, UsageError

if TYPE_CHECKING:
    import numpy
    import torch
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

END = "</s>"
LOG_FILE = "log.jsonl"

_BLUE, _ORANGE, _GREEN, _GREY = "#2b6cb0", "#dd6b20", "#2f855a", "#718096"
_LONGEST_SIDE = 16.0  # inches of heat map; beyond, the cells get smaller
_LABELS = 120  # more labels than this on a side cannot be read: every n-th is written


def plot_attention(
    attention: torch.Tensor | numpy.ndarray,
    source_pieces: Sequence[str],
    target_pieces: Sequence[str],
    path: str | os.PathLike[str],
) -> Path:
    """Draw attention weights as a heat map: a row a target piece, a column a source piece.

    Args:
        attention: (T, S) weights, each row summing to 1. T is the number of target pieces, or
            one more, the row that ended the sentence.
        source_pieces: S subwords, as a tokenizer writes them.
        target_pieces: the subwords of the translation.
        path: the PNG to write.

    Raises:
        UsageError: no pieces, or a shape that does not fit them; matplotlib is missing.
        RunError: the file cannot be written.
    """
    import numpy

    weights = numpy.asarray(attention, dtype=float)  # (T, S)
    rows = [_label(piece) for piece in target_pieces]
    columns = [_label(piece) for piece in source_pieces]
    if weights.shape == (len(rows) + 1, len(columns)):
        rows.append(END)
    if weights.shape != (len(rows), len(columns)) or weights.size == 0:
        raise UsageError(
            f"attention has shape {weights.shape}; expected ({len(target_pieces)} or "
            f"{len(target_pieces) + 1} target pieces, {len(columns)} source pieces), none of them 0"
        )
    figure = new_figure()
    cell = min(0.32, _LONGEST_SIDE / max(weights.shape))
    width, height = cell * weights.shape[1], cell * weights.shape[0]
    figure.set_size_inches(max(width, 1.2) + 2.4, max(height, 1.2) + 1.6)
    axes = figure.add_subplot()
    image = axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    axes.xaxis.set_label_position("top")
    _write_labels(axes.xaxis, columns, cell)
    _write_labels(axes.yaxis, rows, cell)
    for text in axes.get_xticklabels():
        text.set(rotation=60, ha="left", va="bottom", rotation_mode="anchor")
    axes.spines[:].set_visible(False)
    if cell > 0.15:
        _grid_between_cells(axes, weights.shape)
    axes.set_xlabel("source", color=_GREY)
    axes.set_ylabel("translation", color=_GREY)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02, shrink=min(1.0, 2.5 / height))
    bar.outline.set_visible(False)
    bar.set_label("attention weight", color=_GREY)
    return save_figure(figure, path)


def plot_learning_curve(run: str | os.PathLike[str], path: str | os.PathLike[str]) -> Path:
    """Draw loss, BLEU and learning rate over the optimizer steps of a run.

    Args:
        run: the run's directory, or its ``log.jsonl``: one JSON object a line, with ``step`` and
            any of ``loss``, ``learning_rate``, ``validation_loss``, ``bleu``.
        path: the PNG to write.

    Raises:
        UsageError: no log there; matplotlib is missing.
        RunError: a damaged log, one without a loss, or a picture that cannot be written.
    """
    curves = read_log(run)
    if not {"loss", "validation_loss"} & curves.keys():
        raise RunError(f"{run}: no loss in the log yet; train for longer")
    panels = [(_draw_loss, 3.2)]  # how to draw it, and inches of height
    panels += [(_draw_bleu, 3.2)] if "bleu" in curves else []
    panels += [(_draw_rate, 1.1)] if "learning_rate" in curves else []
    heights = [height for _, height in panels]
    figure = new_figure()
    figure.set_size_inches(8, sum(heights) + 0.6)
    grid = figure.subplots(
        len(panels), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for axes, (draw, _) in zip(grid[:, 0], panels, strict=True):
        draw(axes, curves)
        axes.grid(True, color="#e2e8f0", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.02)
    grid[-1, 0].set_xlabel("optimizer steps")
    grid[-1, 0].xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    return save_figure(figure, path)


Curve = tuple[list[int], list[float]]


def read_log(run: str | os.PathLike[str]) -> dict[str, Curve]:
    """The curves of a training log: name -> (steps, values), steps increasing.

    Where a resumed run passed a step twice, the later line counts. A last line that was cut off
    by a kill is left out.
    """
    path = Path(run)
    path = path / LOG_FILE if path.is_dir() else path
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read ({error.strerror}); expected the directory of a run"
        ) from None
    points: dict[str, dict[int, float]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            step = int(entry["step"])
        except (ValueError, KeyError, TypeError):
            if number == len(lines):
                break
            raise RunError(f"{path}, line {number}: not a JSON object with a 'step'") from None
        for name, value in entry.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                points.setdefault(name, {})[step] = float(value)
    return {
        name: (sorted(values), [values[step] for step in sorted(values)])
        for name, values in points.items()
    }


def _draw_loss(axes: Axes, curves: dict[str, Curve]) -> None:
    if "loss" in curves:
        steps, values = curves["loss"]
        axes.plot(steps, values, color=_BLUE, linewidth=0.8, alpha=0.35)
        axes.plot(steps, _smoothed(values), color=_BLUE, linewidth=1.8, label="training")
    if "validation_loss" in curves:
        axes.plot(
            *curves["validation_loss"],
            color=_ORANGE,
            marker="o",
            markersize=3.5,
            linewidth=1.6,
            label="validation",
        )
    axes.set_ylabel("loss")
    axes.legend(frameon=False)


def _draw_bleu(axes: Axes, curves: dict[str, Curve]) -> None:
    steps, values = curves["bleu"]
    axes.plot(steps, values, color=_GREEN, marker="o", markersize=3.5, linewidth=1.6)
    best = max(range(len(values)), key=values.__getitem__)
    axes.plot(steps[best], values[best], marker="o", markersize=8, color=_GREEN, fillstyle="none")
    axes.annotate(
        f"best {values[best]:.1f} at {steps[best]:,}",
        (steps[best], values[best]),
        xytext=(0, -20),
        textcoords="offset points",
        ha="right" if steps[best] > (steps[0] + steps[-1]) / 2 else "left",
        color=_GREEN,
    )
    axes.set_ylabel("validation BLEU")


def _draw_rate(axes: Axes, curves: dict[str, Curve]) -> None:
    axes.plot(*curves["learning_rate"], color=_GREY, linewidth=1.4)
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


def _label(piece: str) -> str:
    """A space before a word goes without saying; a piece that goes on with a word is marked."""
    if piece == "\u2581":
        return "\u2423"
    if piece.startswith("\u2581"):
        return piece.removeprefix("\u2581")
    return f"\u00b7{piece}" if piece[:1].isalnum() else piece


def _write_labels(axis: Any, labels: list[str], cell: float) -> None:
    every = -(-len(labels) // _LABELS)
    shown = range(0, len(labels), every)
    axis.set_ticks(shown, [labels[i] for i in shown])
    size = max(5.0, min(10.0, cell * every * 72 * 0.55))
    for text in axis.get_ticklabels():
        text.set_fontsize(size)
        text.set_parse_math(False)  # a dollar sign is one


def _grid_between_cells(axes: Axes, shape: tuple[int, int]) -> None:
    rows, columns = shape
    axes.set_xticks([x - 0.5 for x in range(1, columns)], minor=True)
    axes.set_yticks([y - 0.5 for y in range(1, rows)], minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0)


def new_figure() -> Figure:
    """An empty figure; raises UsageError where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError(
            "pictures need matplotlib, which is not installed; "
            "install it with: pip install 'recurrent-seq2seq[plots]'"
        ) from None
    return Figure(layout="constrained")


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a PNG, and the folders it needs; raises RunError where that fails."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="png", dpi=150)
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror})") from None
    return path
