"""The attention of one translation as a heat map."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.errors import UsageError
from seq2seq.plotting import END, GREY, new_figure, save_figure

if TYPE_CHECKING:
    import numpy
    import torch
    from matplotlib.axes import Axes

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
    axes.set_xlabel("source", color=GREY)
    axes.set_ylabel("translation", color=GREY)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02, shrink=min(1.0, 2.5 / height))
    bar.outline.set_visible(False)
    bar.set_label("attention weight", color=GREY)
    return save_figure(figure, path)


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
