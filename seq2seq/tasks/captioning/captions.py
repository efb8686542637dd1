"""Images and their captions as a `datasets.Dataset` of ``image`` (a path) and ``captions``.

On disk they are what `datasets` calls an image folder, one for each split, with a metadata file
inside it:

    train/metadata.jsonl      {"file_name": "dog.jpg", "captions": ["A dog runs .", ...]}
    train/dog.jpg

`datasets` itself drops captions in silence when the metadata file lies elsewhere; here that is
an error. Files in other formats, such as those of Flickr8k and Karpathy's splits, are read, too
(``caption_formats.py``). Images are not read here: their paths are checked, and ``images.py``
decodes them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import datasets

from seq2seq.config.paths import normal_path
from seq2seq.errors import UsageError
from seq2seq.images.files import SUFFIXES
from seq2seq.public_data import missing_hint
from seq2seq.tasks.captioning.caption_formats import Split, read_rows
from seq2seq.text.characters import is_blank
from seq2seq.text.files import check_unicode

METADATA = ("metadata.jsonl", "metadata.csv")
_LISTS = ("captions",)  # keys of a row that holds all captions of its image
_TEXTS = ("caption", "text")  # keys of a row that holds one of them
_FEATURES = datasets.Features(
    {"image": datasets.Value("string"), "captions": datasets.List(datasets.Value("string"))}
)
_logger = logging.getLogger("seq2seq")


@dataclass
class _Entry:
    """One image of the metadata file."""

    where: str  # where it stands first, such as "line 3"
    whole: bool  # its captions came as a list, all of them in one row
    captions: list[str] = field(default_factory=list)


def load_captions(
    path: str | Path, split: Split | None = None, images: str | Path | None = None
) -> datasets.Dataset:
    """Images with their captions, in the order of the metadata file.

    ``path`` is a folder with ``metadata.jsonl`` or ``metadata.csv`` in it, or a file of one of the
    formats of ``caption_formats.read_rows``. Each row has the image's path from the folder
    ``images``, by default that of the file (and where ``path`` is a folder with all of them,
    that), and all captions of the image or one of them. Rows of
    one caption add up: an image with five captions may stand on five lines. Two rows with lists
    for one image are an error, since nothing says which counts. Runs of white space, line breaks
    too, become one space. ``split`` picks those images of a file that names splits.

    Images in a folder that no row names are left out, with a warning.

    Returns:
        a dataset in memory: ``image``, an absolute path, and ``captions``, one or more texts.

    Raises:
        UsageError, naming file and line: no metadata file (and where one lies instead), two of
        them, a malformed row, an image without captions, a blank caption, an image that does not
        exist, given twice, or outside the folder.
    """
    path = Path(normal_path(str(path)))
    if path.is_dir():
        metadata = _find_metadata(path)
    elif path.is_file():
        metadata = path
    else:
        raise UsageError(
            f"{path}: no such file or folder; expected images with {METADATA[0]}"
            f"{missing_hint(path)}"
        )
    root = metadata.parent if images is None else Path(normal_path(str(images)))
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder; expected the images that {metadata} names")
    entries = _collect(metadata, split)
    if path.is_dir() and all(os.path.isfile(path / name) for name in entries):
        root = path  # a folder that has its images; others may bear the same names
    _check_images(metadata, root, entries)
    if path.is_dir():
        _warn_of_others(metadata, entries)
    root = root.resolve()
    columns = {
        "image": [str(root / name) for name in entries],
        "captions": [entry.captions for entry in entries.values()],
    }
    return datasets.Dataset.from_dict(columns, features=_FEATURES)


def names_of(images: Sequence[str]) -> list[str]:
    """The images' paths from the deepest folder that holds them all: file names, where they lie in
    one folder."""
    root = os.path.commonpath([os.path.dirname(path) for path in images]) if images else ""
    return [Path(os.path.relpath(path, root)).as_posix() for path in images]


def _find_metadata(folder: Path) -> Path:
    found = [folder / name for name in METADATA if (folder / name).is_file()]
    if len(found) > 1:
        raise UsageError(f"{folder}: both {' and '.join(METADATA)} are there; keep one of them")
    if found:
        return found[0]
    below = sorted(p for name in METADATA for p in folder.glob(f"*/{name}"))
    if below:
        raise UsageError(
            f"{folder}: no {METADATA[0]} in it, but {_some(below)}; give the folder of one split, "
            f"such as {below[0].parent}"
        )
    above = [folder.parent / name for name in METADATA if (folder.parent / name).is_file()]
    if above:
        raise UsageError(
            f"{folder}: no {METADATA[0]} in it, but there is {above[0]}; each split's folder needs "
            f"its own beside its images: move it to {folder / above[0].name}, with file names as "
            "seen from there, or give the file itself as the path"
        )
    files = [
        p for name in ("*.json*", "*.csv", "*.token", "*.txt") for p in sorted(folder.glob(name))
    ]
    instead = f"; there is {_some(files)}: give that file as the path" if files else ""
    raise UsageError(
        f"{folder}: no {METADATA[0]} in it{instead}; expected one line for each image: "
        '{"file_name": "dog.jpg", "captions": ["A dog runs ."]}'
    )


def _collect(path: Path, split: Split | None) -> dict[str, _Entry]:
    """File name -> captions, in the order of the file."""
    entries: dict[str, _Entry] = {}
    for place, row in read_rows(path, split):
        where = f"{path}, {place}"
        name = _file_name(row, where)
        captions, whole = _captions(row, name, where)
        entry = entries.setdefault(name, _Entry(place, whole))
        if entry.where != place and (whole or entry.whole):
            raise UsageError(
                f"{where}: '{name}' has captions on {entry.where} already; put all of them "
                "in one list, or one 'caption' on each line"
            )
        entry.captions += captions
    if not entries:
        raise UsageError(f"{path}: no images in it; expected one line for each image")
    return entries


def _file_name(row: dict[str, Any], where: str) -> str:
    """The image's path from the folder, spelled in one way."""
    name = row.get("file_name")
    if not isinstance(name, str) or not name.strip():
        raise UsageError(
            f"{where}: no 'file_name'; it has: {', '.join(map(str, row)) or 'nothing'}"
        )
    check_unicode(name, f"{where}: 'file_name'")
    relative = PurePosixPath(name)
    if relative.is_absolute() or Path(name).is_absolute() or ".." in relative.parts:
        raise UsageError(
            f"{where}: 'file_name' is {name}; expected a path below the metadata file's folder, "
            "neither absolute nor with '..'"
        )
    return str(relative)


def _captions(row: dict[str, Any], name: str, where: str) -> tuple[list[str], bool]:
    """The row's captions, and whether they came as a list."""
    keys = [key for key in (*_LISTS, *_TEXTS) if row.get(key) is not None]
    if len(keys) > 1:
        raise UsageError(f"{where}: both '{keys[0]}' and '{keys[1]}'; expected one of them")
    if not keys:
        known = ", ".join(str(key) for key in row if key != "file_name") or "nothing else"
        raise UsageError(
            f"{where}: no 'captions' (a list) or 'caption' (a text) for '{name}'; it has: {known}"
        )
    found = row[keys[0]]
    whole = keys[0] in _LISTS
    if whole and not isinstance(found, list):
        raise UsageError(
            f"{where}: 'captions' of '{name}' is no list; for one text write 'caption'"
        )
    texts = found if whole else [found]
    if not texts:
        raise UsageError(f"{where}: '{name}' has no captions; expected at least one")
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str):
            kind = type(text).__name__
            raise UsageError(f"{where}: caption {number} of '{name}' is {kind}; expected text")
        check_unicode(text, f"{where}: caption {number} of '{name}'")
        if is_blank(text.replace("\0", " ")):
            raise UsageError(f"{where}: caption {number} of '{name}' is blank; leave it out")
    return [" ".join(text.replace("\0", " ").split()) for text in texts], whole


def _check_images(metadata: Path, root: Path, entries: dict[str, _Entry]) -> None:
    missing = [name for name in entries if not os.path.isfile(root / name)]
    if missing:
        others = f" (and {len(missing) - 1:,} more are missing)" if len(missing) > 1 else ""
        raise UsageError(
            f"{metadata}, {entries[missing[0]].where}: a caption for '{missing[0]}', but "
            f"{root / missing[0]} is not there{others}"
        )


def _warn_of_others(metadata: Path, entries: dict[str, _Entry]) -> None:
    """Warn about images that no row names. Only part of a folder may be meant: no error."""
    root = metadata.parent
    others = []
    for folder, _, names in os.walk(root):
        for name in names:
            relative = (Path(folder) / name).relative_to(root).as_posix()
            if Path(name).suffix.lower() in SUFFIXES and relative not in entries:
                others.append(relative)
    if others:
        _logger.warning(
            "%s: %s images in the folder have no captions and are left out: %s",
            metadata,
            f"{len(others):,}",
            _some(sorted(others)),
        )


def _some(names: Sequence[object]) -> str:
    shown = ", ".join(str(name) for name in names[:3])
    return f"{shown} and {len(names) - 3:,} more" if len(names) > 3 else shown
