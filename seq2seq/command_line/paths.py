"""Options and arguments that name files and folders, known by their metavar."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seq2seq.config.paths import STANDARD_INPUT, normal_path
from seq2seq.errors import UsageError

FILES = {"FILE", "CONFIG.yaml", "MODEL", "IMAGE", "DATA", "PICTURE", "VOCABULARY", "FEATURES"}
FOLDERS = {"DIR", "RUN_DIR"}


def normalise_paths(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """``~`` at the beginning of a path is the home folder, also in ``--output=~/a``, which
    shells leave alone. Raises UsageError for an empty one, and for standard input that two are to
    read."""
    streams: list[str] = []
    for name, _, dest in path_options(parser):
        value = getattr(options, dest)
        values = value if isinstance(value, list) else [value]
        streams += [name] * values.count(STANDARD_INPUT)
        if "" in values:
            raise UsageError(f"{name} is empty; expected the name of a file or folder")
        setattr(options, dest, _normal(value))
    if len(streams) > 1:
        raise UsageError(
            f"{options.command}: {' and '.join(dict.fromkeys(streams))}: '-' (standard input) "
            f"stands there {len(streams)} times, and can be read once; expected other files"
        )


def path_options(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str, str]]:
    """The options that name files and folders: as they are written (arguments go by their metavar),
    metavar, and where the parser puts their values."""
    for action in parser._actions:
        metavar = action.metavar
        if isinstance(metavar, str) and metavar in FILES | FOLDERS:
            yield (action.option_strings or [metavar])[-1], metavar, action.dest


def _normal(value: Any) -> Any:
    if isinstance(value, list):
        return [_normal(one) for one in value]
    if isinstance(value, Path):
        return Path(normal_path(str(value)))
    return normal_path(value) if isinstance(value, str) else value
