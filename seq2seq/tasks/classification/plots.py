"""Which words decided: the attention of pooling, drawn as shades behind the words."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from seq2seq.errors import UsageError
from seq2seq.plotting import BLUE, new_figure, save_figure
from seq2seq.tasks.classification.classifier import Classified

_WIDTH = 84  # letters in a line
_MOST_STEPS = 60  # of one input; beyond that shades are drawn without words


def draw_attention(answers: Sequence[Classified], path: str | os.PathLike[str]) -> Path:
    """A row for each answer: its label, and its words, the darker the more attention.

    Raises UsageError for answers without explanation, for a missing matplotlib and for another
    ending than .png, .svg or .pdf; RunError where the picture cannot be written.
    """
    rows: list[tuple[str, list[list[tuple[str, float]]]]] = []
    for answer in answers:
        if answer.explanation is None:
            raise UsageError("draw_attention: an answer without explanation; ask for explain=True")
        title = f"{answer.label} ({answer.probability:.2f})"
        if answer.value is not None:
            title = f"{answer.value:.4g}"
        rows.append((title, _lines(answer.explanation)))
    count = sum(1 + len(lines) for _, lines in rows)
    figure = new_figure()
    figure.set_size_inches(9, 0.5 + 0.3 * count)
    axes = figure.subplots()
    axes.set_xlim(0, _WIDTH)
    axes.set_ylim(count + 0.3, -0.3)
    axes.axis("off")
    line = 0
    for title, lines in rows:
        axes.text(0, line + 0.5, title, va="center", weight="bold", size=9, parse_math=False)
        most = max((share for words in lines for _, share in words), default=1.0) or 1.0
        for words in lines:
            line += 1
            left = 1.0
            for word, share in words:
                axes.text(
                    left,
                    line + 0.5,
                    word,
                    va="center",
                    size=9,
                    family="monospace",
                    parse_math=False,
                    bbox={
                        "facecolor": BLUE,
                        "alpha": 0.75 * share / most,
                        "edgecolor": "none",
                        "boxstyle": "square,pad=0.15",
                    },
                )
                left += len(word) + 1
        line += 1
    return save_figure(figure, path)


def _lines(explanation: list[tuple[str, float]]) -> list[list[tuple[str, float]]]:
    """Words in lines of at most _WIDTH letters."""
    lines: list[list[tuple[str, float]]] = [[]]
    width = 1
    for word, share in explanation:
        shown = word if len(explanation) <= _MOST_STEPS * 4 else " "
        if width + len(shown) > _WIDTH and lines[-1]:
            lines.append([])
            width = 1
        lines[-1].append((shown, share))
        width += len(shown) + 1
    return lines
