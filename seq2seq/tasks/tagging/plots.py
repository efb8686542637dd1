"""Pictures of labelled sentences: words with their spans in colour.

Drawn with matplotlib, which the ``plots`` extra installs, into PNG, SVG or PDF files.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.errors import UsageError
from seq2seq.plotting import new_figure, save_figure
from seq2seq.tasks.tagging.tagged import Tagged, TaggedSpan

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH = 8.0  # inches
_LINE, _GAP = 0.62, 0.18  # inches of a line of words, and between sentences
_SIZE = 12  # points of a word
_INK, _GREY = "#1a202c", "#4a5568"
_FILLS = ("#bee3f8", "#fed7aa", "#c6f6d5", "#e9d8fd", "#fefcbf", "#fed7d7", "#d1d5db", "#b2f5ea")


def plot_spans(
    sentences: Sequence[Tagged], path: str | os.PathLike[str], column: str | None = None
) -> Path:
    """Draw sentences with the spans of ``column`` (by default the first that writes spans) in
    colours, their types below; of a column of plain labels, each word's label below it.

    Raises:
        UsageError: no sentence with words, a column that there is not, matplotlib missing.
        RunError: the file cannot be written.
    """
    shown = [one for one in sentences if one.tokens]
    if not shown:
        raise UsageError("no sentence with words to draw")
    name = column or next(iter([*shown[0].spans, *shown[0].labels]))
    if name not in shown[0].labels:
        raise UsageError(f"no labels '{name}'; there are {', '.join(shown[0].labels)}")
    figure = new_figure()
    figure.set_layout_engine("none")
    measure = _Measure(figure)
    lines = [_lines(one, name, measure) for one in shown]
    height = sum(len(one) * _LINE + _GAP for one in lines) + 0.15
    figure.set_size_inches(_WIDTH, height)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, _WIDTH)
    axes.set_ylim(0, height)
    types = sorted({part.type for one in lines for line in one for part in line if part.type})
    fills = {kind: _FILLS[n % len(_FILLS)] for n, kind in enumerate(types)}
    top = height - 0.1
    for one, sentence in zip(lines, shown, strict=True):
        for line in one:
            _draw_line(axes, line, top, fills, coloured=name in sentence.spans)
            top -= _LINE
        top -= _GAP
    return save_figure(figure, path)


class _Part:
    """Words that are drawn together: a span, or one word."""

    def __init__(self, words: list[str], kind: str, width: float) -> None:
        self.text, self.type, self.width = " ".join(words), kind, width
        self.left = 0.0


class _Measure:
    """Inches that a text takes."""

    def __init__(self, figure: Any) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        self._renderer: Any = FigureCanvasAgg(figure).get_renderer()
        self._dpi = figure.dpi
        self._figure = figure

    def __call__(self, text: str, size: float) -> float:
        drawn = self._figure.text(0, 0, text, size=size, parse_math=False)
        with warnings.catch_warnings():  # save_figure tells of letters that the font lacks
            warnings.filterwarnings("ignore", ".*missing from font", UserWarning)
            width = drawn.get_window_extent(self._renderer).width / self._dpi
        drawn.remove()
        return float(width)


def _lines(sentence: Tagged, column: str, measure: _Measure) -> list[list[_Part]]:
    """The parts of each line of the picture."""
    starts: dict[int, TaggedSpan] = {s.words[0]: s for s in sentence.spans.get(column, [])}
    lines: list[list[_Part]] = [[]]
    place, left = 0, 0.15
    while place < len(sentence.tokens):
        span = starts.get(place)
        end = span.words[1] if span else place + 1
        words = [token.text for token in sentence.tokens[place:end]]
        kind = span.type if span else ""
        if column not in sentence.spans:
            kind = sentence.labels[column][place]
        width = max(measure(" ".join(words), _SIZE), measure(kind, _SIZE - 4) if kind else 0)
        part = _Part(words, kind, width)
        if left + width > _WIDTH - 0.15 and lines[-1]:
            lines.append([])
            left = 0.15
        part.left = left
        left += width + 0.12
        lines[-1].append(part)
        place = end
    return lines


def _draw_line(
    axes: Axes, parts: list[_Part], top: float, fills: dict[str, str], coloured: bool
) -> None:
    from matplotlib.patches import FancyBboxPatch

    for part in parts:
        middle = part.left + part.width / 2
        if part.type and coloured:
            box = FancyBboxPatch(
                (part.left - 0.02, top - 0.27),
                part.width + 0.04,
                0.25,
                boxstyle="round,pad=0.02,rounding_size=0.05",
                facecolor=fills[part.type],
                edgecolor="none",
            )
            axes.add_patch(box)
        axes.text(
            middle,
            top - 0.15,
            part.text,
            size=_SIZE,
            color=_INK,
            ha="center",
            va="center",
            parse_math=False,
        )
        if part.type:
            axes.text(
                middle,
                top - 0.39,
                part.type,
                size=_SIZE - 4,
                color=_GREY,
                ha="center",
                va="center",
                parse_math=False,
            )
