"""The image files that a command line names: files, folders, and - for names on standard input."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from seq2seq.errors import UsageError


def given_names(arguments: Sequence[str]) -> list[str]:
    """The names, those on standard input in the place of a -. Raises UsageError for an address, and
    where standard input holds no names."""
    names = [one for name in arguments for one in (_standard_input() if name == "-" else [name])]
    for name in names:
        if "://" in name:
            raise UsageError(f"{name}: an address; images are read from files: fetch it first")
    return names


def files_named(names: Sequence[str], endings: Collection[str]) -> list[Path]:
    """The files, in the order given: a folder stands for those in it and below with one of the
    ``endings``, by name. Raises UsageError for a folder without any."""
    return [path for name in names for path in _files(Path(name), endings)]


def _standard_input() -> Iterator[str]:
    """The names on its lines, in whatever encoding names of files have."""
    lines = sys.stdin.buffer.read().split(b"\n")
    if any(b"\0" in line for line in lines):
        raise UsageError(
            "standard input: no text; expected names of images, one a line (an image itself is "
            "given by its file's name)"
        )
    names = [os.fsdecode(line.removesuffix(b"\r")) for line in lines if line.strip()]
    if not names:
        raise UsageError("standard input names no images; expected a name on each line")
    yield from names


def _files(path: Path, endings: Collection[str]) -> list[Path]:
    if not os.path.isdir(path):  # Path.is_dir raises for names that are too long
        return [path]  # whatever is wrong with it, reading it will say
    images = sorted(p for p in path.rglob("*") if p.suffix.lower() in endings and p.is_file())
    if not images:
        raise UsageError(f"{path}: no images in this folder ({', '.join(sorted(endings))})")
    return images
