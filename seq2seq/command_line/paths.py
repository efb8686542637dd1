"""Options and arguments that name files and folders, known by their metavar."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from seq2seq.config.paths import normal_path
from seq2seq.errors import UsageError

FILES = {"FILE", "CONFIG.yaml", "MODEL", "IMAGE", "DATA", "PICTURE", "VOCABULARY"}
FOLDERS = {"DIR", "RUN_DIR"}


def normalise_paths(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """``~`` at the beginning of a path is the home folder, also in ``--output=~/a``, which
    shells leave alone. Raises UsageError for an empty one."""
    for action in parser._actions:
        if action.metavar in FILES | FOLDERS:
            value = getattr(options, action.dest)
            if "" in (value if isinstance(value, list) else [value]):
                name = action.option_strings[-1] if action.option_strings else action.metavar
                raise UsageError(f"{name} is empty; expected the name of a file or folder")
            setattr(options, action.dest, _normal(value))


def _normal(value: Any) -> Any:
    if isinstance(value, list):
        return [_normal(one) for one in value]
    if isinstance(value, Path):
        return Path(normal_path(str(value)))
    return normal_path(value) if isinstance(value, str) else value
