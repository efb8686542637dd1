"""What all pictures have in common: colours, figures, files.

Drawn with matplotlib, which the ``plots`` extra installs; no display is needed and matplotlib's
global state is left alone.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.errors import RunError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

END = "</s>"

BLUE, ORANGE, GREEN, GREY = "#2b6cb0", "#dd6b20", "#2f855a", "#718096"


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
