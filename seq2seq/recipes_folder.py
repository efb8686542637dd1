"""Where the recipes lie: beside the package in a clone, inside it in an installed wheel."""

from __future__ import annotations

from pathlib import Path

from seq2seq.errors import RunError


def recipes_folder() -> Path:
    """The folder with a folder of recipes for each task; RunError where it is not there."""
    package = Path(__file__).parent
    folders = (package / "recipes", package.parent / "recipes")
    for folder in folders:
        if (folder / "README.md").is_file():
            return folder
    raise RunError(
        f"recipes: not found; looked in {' and '.join(map(str, folders))}; install the package "
        "again"
    )
