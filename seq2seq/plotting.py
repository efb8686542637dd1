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
    _tell(path, told)
    return path


_SENTENCES = {  # for what matplotlib warns of
    "missing from font": "the font lacks some of the letters; boxes stand for them",
    "constrained_layout not applied": "too much for one picture; parts may lie over each other",
}


def _tell(path: Path, told: Sequence[warnings.WarningMessage]) -> None:
    """Say once in a sentence what is known of matplotlib's warnings, and pass on the others."""
    found = set()
    for one in told:
        known = [what for what in _SENTENCES if what in str(one.message)]
        found.update(known)
        if not known:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    for what, sentence in _SENTENCES.items():
        if what in found:
            _log.warning("%s: %s", path, sentence)
