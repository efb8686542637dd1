"""What all pictures have in common: colours, figures, files.

Drawn with matplotlib, which the ``plots`` extra installs; no display is needed and matplotlib's
global state is left alone.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.config.paths import normal_path
from seq2seq.errors import RunError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_log = logging.getLogger(__name__)

END = "</s>"
PICTURES = (".png", ".svg", ".pdf")  # what the name of a picture may end in

BLUE, ORANGE, GREEN, GREY = "#2b6cb0", "#dd6b20", "#2f855a", "#718096"


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


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
    """Write a picture, and the folders it needs: PNG, SVG or PDF, as the name ends.

    Raises UsageError for another ending, RunError where it cannot be written.
    """
    path = Path(normal_path(os.fspath(path)))
    kind = path.suffix.lower()
    if kind not in PICTURES:
        raise UsageError(f"{path}: expected a name that ends in one of: {', '.join(PICTURES)}")
    from matplotlib.text import Text

    for text in figure.findobj(Text):  # fonts know no lone surrogates, as in names not UTF-8
        text.set_text(text.get_text().encode("utf-8", "replace").decode("utf-8"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            figure.savefig(path, format=kind[1:], dpi=150)
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror})") from None
    for sentence in _complaints([str(one.message) for one in told]):
        _log.warning("%s: %s", path, sentence)
    return path


def _complaints(messages: Sequence[str]) -> list[str]:
    """What matplotlib warns of, each once and without a line of source: letters that the font
    lacks, and pictures too crowded to be laid out."""
    found = []
    if any("missing from font" in message for message in messages):
        found.append("the font lacks some of the letters; boxes stand for them")
    if any("constrained_layout not applied" in message for message in messages):
        found.append("too much for one picture; parts of it may lie over each other")
    return found
