"""The attention of one translation as a heat map."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.arguments import check_truth
from seq2seq.errors import UsageError
from seq2seq.plotting import END, GREY, new_figure, save_figure

if TYPE_CHECKING:
    import numpy
    import torch
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LONGEST_SIDE = 16.0  # inches of heat map; beyond, the cells get smaller
_LABELS = 120  # more labels than this on a side cannot be read: every n-th is written


def plot_attention(
    attention: torch.Tensor | numpy.ndarray,
    source_pieces: Sequence[str],
    target_pieces: Sequence[str],
    path: str | os.PathLike[str],
    *,
    words: bool = True,
    title: str = "What each word of the translation attended to",
) -> Path:
    """Draw attention weights as a heat map: a row a word of the translation, a column a word of the
    source.

    Args:
        attention: (T, S) weights, each row summing to 1. T is the number of target pieces, or
            one more, the row that ended the sentence.
        source_pieces: S subwords, as a tokenizer writes them.
        target_pieces: the subwords of the translation.
        path: the picture to write: .png, .svg or .pdf.
        words: the pieces of a word are joined: the weights on its pieces in the source are added,
            the rows of its pieces in the translation averaged. Without it there is a row and a
            column for each subword.
        title: above the picture.

    Raises:
        UsageError: no pieces, or a shape that does not fit them; matplotlib is missing.
        RunError: the file cannot be written.
    """
    import numpy

    check_truth(words=words)
    weights = numpy.asarray(attention, dtype=float)  # (T, S)
    targets = [*target_pieces]
    if weights.shape == (len(targets) + 1, len(source_pieces)):
        targets.append(END)
    if weights.shape != (len(targets), len(source_pieces)) or weights.size == 0:
        raise UsageError(
            f"attention has shape {weights.shape}; expected ({len(target_pieces)} or "
            f"{len(target_pieces) + 1} target pieces, {len(source_pieces)} source pieces), none of "
            "them 0"
        )
    if words:
        weights, rows, columns = join_words(weights, targets, source_pieces)
    else:
        rows, columns = [*map(_label, targets)], [*map(_label, source_pieces)]
    figure = _heat_map(weights, rows, columns)
    figure.suptitle(title, parse_math=False)
    return save_figure(figure, path)


def join_words(
    weights: numpy.ndarray, target_pieces: Sequence[str], source_pieces: Sequence[str]
) -> tuple[numpy.ndarray, list[str], list[str]]:
    """Weights (T, S) of subwords as weights of words, and the words of both sides; rows that sum to
    1 still do."""
    import numpy

    rows, targets = _words(target_pieces)
    columns, sources = _words(source_pieces)
    summed = numpy.zeros((len(weights), len(sources)))
    # numpy's annotation of ``at`` knows no slices
    numpy.add.at(summed, (slice(None), columns), weights)  # type: ignore[arg-type]  # (T, words)
    joined = numpy.zeros((len(targets), len(sources)))
    numpy.add.at(joined, rows, summed)
    return joined / numpy.bincount(rows)[:, None], targets, sources


def _words(pieces: Sequence[str]) -> tuple[list[int], list[str]]:
    """The word that each piece belongs to, and the words. A word begins at a piece with a space
    before it; the end of the sentence is a word of its own."""
    numbers: list[int] = []
    words: list[str] = []
    for piece in pieces:
        if not words or piece.startswith("\u2581") or piece == END:
            words.append("")
        words[-1] += piece.removeprefix("\u2581")
        numbers.append(len(words) - 1)
    return numbers, [word or "\u2423" for word in words]


def _heat_map(weights: numpy.ndarray, rows: list[str], columns: list[str]) -> Figure:
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
    return figure


def _label(piece: str) -> str:
    """A piece as a label: the mark of a space is dropped, a piece inside a word is marked."""
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
