"""Options and arguments that name files and folders, known by their metavar."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from seq2seq.config.paths import normal_path

FILES = {"FILE", "CONFIG.yaml", "MODEL", "IMAGE", "DATA", "PICTURE", "VOCABULARY"}
FOLDERS = {"DIR", "RUN_DIR"}


def normalise_paths(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """``~`` at the beginning of a path is the home folder, also in ``--output=~/a``, which
    shells leave alone."""
    for action in parser._actions:
        if action.metavar in FILES | FOLDERS:
            setattr(options, action.dest, _normal(getattr(options, action.dest)))


def _normal(value: Any) -> Any:
    if isinstance(value, list):
        return [_normal(one) for one in value]
    if isinstance(value, Path):
        return Path(normal_path(str(value)))
    return normal_path(value) if isinstance(value, str) else value
