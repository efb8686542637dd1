"""What a command writes: checked for all commands before anything is loaded.

A file that cannot be written is told before the work that it is for, and a file that is read is
never written over. Options are known by their names and metavars, as in ``paths``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

from seq2seq.command_line.files import same_file
from seq2seq.command_line.paths import FOLDERS, path_options
from seq2seq.errors import UsageError

WRITTEN = ("--output", "--plot", "--attention-plot", "--alignments")
_INSIDE = {"MODEL", "DATA", "IMAGE", "DIR"}  # where these are folders, files in them are read
_READ_NAMES = {"config.json", "metadata.jsonl", "metadata.csv"}
_READ_ENDINGS = (".safetensors", ".model", ".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")


def check_outputs(
    command: str, parser: argparse.ArgumentParser, options: argparse.Namespace
) -> None:
    """Raises UsageError for an output that is an input or another output, or cannot be written."""
    given = list(_given(parser, options))
    written = [one for one in given if _is_written(one[0], one[1])]
    read = [(metavar, path) for name, metavar, path in given if not _is_written(name, metavar)]
    for number, (name, kind, path) in enumerate(written):
        told = f"{command}: {name} {path}"
        for metavar, other in read:
            if _regular(path) and (same_file(path, other) or _reads(metavar, other, path)):
                raise UsageError(f"{told}: is an input, and would be overwritten")
        for before, _, other in written[:number]:
            alike = os.path.abspath(path) == os.path.abspath(other)
            if alike or (_regular(path) and same_file(path, other)):
                raise UsageError(f"{told}: {before} is written there; give each a file of its own")
        _check_writable(told, path, makes_folder=kind == "PICTURE")


def _given(
    parser: argparse.ArgumentParser, options: argparse.Namespace
) -> Iterator[tuple[str, str, str]]:
    """Name, metavar and value of each file or folder that was given."""
    for name, metavar, dest in path_options(parser):
        value = getattr(options, dest)
        for one in value if isinstance(value, list) else [value]:
            if one is not None:
                yield name, metavar, str(one)


def _is_written(name: str, metavar: str) -> bool:
    return name in WRITTEN and metavar not in FOLDERS


def _regular(path: str) -> bool:
    """Neither a terminal nor /dev/null, which may be read and written at once."""
    return os.path.isfile(path)


def _reads(metavar: str, folder: str, path: str) -> bool:
    """Whether a command that is given ``folder`` reads the file ``path`` there."""
    if metavar not in _INSIDE or not os.path.isdir(folder):
        return False
    inside = Path(os.path.realpath(path))
    name = inside.name.lower()
    known = name in _READ_NAMES or name.endswith(_READ_ENDINGS)
    return known and Path(os.path.realpath(folder)) in inside.parents


def _check_writable(told: str, path: str, makes_folder: bool) -> None:
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path):
        reason = "it is a folder; expected the name of a file"
    elif not os.path.isdir(folder):
        if makes_folder:
            return
        reason = "No such file or directory"
    elif not os.access(path if os.path.exists(path) else folder, os.W_OK):
        reason = "Permission denied"
    else:
        return
    raise UsageError(f"{told}: cannot be written ({reason})")
