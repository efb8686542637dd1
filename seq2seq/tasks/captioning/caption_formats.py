"""The formats in which data sets name their images and captions, read row by row.

.jsonl        {"file_name": "dog.jpg", "captions": ["A dog runs ."]}, as `datasets` has it
.json         a list of the same objects, or Karpathy's splits (dataset_flickr8k.json)
.csv          a table with file_name and caption
.csv, .txt    a table with image and caption (captions.txt of Flickr8k)
.txt, .token  dog.jpg#0, a tab and a caption (Flickr8k.token.txt)
"""

from __future__ import annotations

import csv
import itertools
import logging
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from seq2seq.errors import UsageError
from seq2seq.json_files import parse_json, read_json
from seq2seq.text.files import csv_rows, decode_lines

Split = Literal["train", "validation", "test"]
FORMATS = (".jsonl", ".json", ".csv", ".txt", ".token")
# The names of splits in Karpathy's files; MS COCO's "restval" is training data, too.
KARPATHY = {"train": ("train", "restval"), "validation": ("val",), "test": ("test",)}
_log = logging.getLogger("seq2seq")
_NUMBERED = re.compile(r"(.+)#(\d+)")  # dog.jpg#0

Row = tuple[str, dict[str, Any]]  # its place in the file, such as "line 3", and its fields


def read_rows(path: Path, split: Split | None) -> Iterator[Row]:
    """The rows of a file, each with ``file_name`` and ``captions`` (a list), ``caption`` or
    ``text`` (one caption). ``split``: of a file that names splits, those rows alone.

    Raises UsageError, naming file and place, for what is not in the file's format, and for a split
    that the file has no image of.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(
            f"{path}: unknown format '{suffix}'; expected a folder of images with metadata.jsonl, "
            f"or a file that names images: {', '.join(FORMATS)}"
        )
    try:
        with open(path, "rb") as stream:
            lines = decode_lines(stream, str(path))
            if suffix == ".json":
                yield from _json_rows(path, "\n".join(lines), split)
            elif suffix == ".jsonl":
                yield from _json_lines(path, lines)
            elif suffix == ".csv":
                yield from _csv_rows(path, lines)
            else:
                first = next(lines, "")
                lines = itertools.chain([first], lines)
                if [name.strip().lower() for name in first.split(",")] == ["image", "caption"]:
                    yield from _csv_rows(path, lines)
                else:
                    yield from _token_rows(path, lines)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from None


def names_splits(path: Path) -> bool:
    """Whether a file says of each image which split it is in; True, too, for what cannot be read,
    which ``read_rows`` complains of."""
    if path.suffix.lower() != ".json":
        return not path.exists()
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return True
    return isinstance(content, dict) and isinstance(content.get("images"), list)


def _json_rows(path: Path, text: str, split: Split | None) -> Iterator[Row]:
    content = _parse(text, str(path))
    if isinstance(content, dict) and isinstance(content.get("images"), list):
        yield from _karpathy_rows(path, content["images"], split)
    elif isinstance(content, list):
        for number, row in enumerate(content, 1):
            yield f"line {number}", _object(row, f"{path}, item {number}")
    else:
        raise UsageError(
            f"{path}: expected a JSON list of objects, or an object with a list of 'images' as "
            "Karpathy's splits have it"
        )


def _json_lines(path: Path, lines: Iterator[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            where = f"{path}, line {number}"
            yield f"line {number}", _object(_parse(line, where), where)


def _karpathy_rows(path: Path, images: list[Any], split: Split | None) -> Iterator[Row]:
    """Karpathy & Fei-Fei 2015: {"filename", "split", "sentences": [{"raw", "tokens"}]}, and in
    MS COCO's file "filepath", the folder of the image."""
    names = None if split is None else KARPATHY[split]
    there: Counter[str] = Counter()
    for number, image in enumerate(images, 1):
        where = f"{path}, image {number}"
        if not isinstance(image, dict) or not isinstance(image.get("filename"), str):
            raise UsageError(f"{where}: no 'filename'; expected an object with a file's name")
        found = image.get("split")
        if not isinstance(found, str):
            raise UsageError(
                f"{where}: 'split' is {found!r}; expected one of train, restval, val, test"
            )
        there[found] += 1
        if names is not None and found not in names:
            continue
        sentences = image.get("sentences")
        if not isinstance(sentences, list):
            raise UsageError(f"{where}: 'sentences' is no list; expected the captions")
        captions = [_sentence(s, n, where) for n, s in enumerate(sentences, 1)]
        folder = image.get("filepath") or ""
        if not isinstance(folder, str):
            raise UsageError(f"{where}: 'filepath' is {folder!r}; expected a folder's name")
        name = f"{folder}/{image['filename']}" if folder else image["filename"]
        yield f"image {number}", {"file_name": name, "captions": captions}
    known = {name for group in KARPATHY.values() for name in group}
    others = {name: count for name, count in there.items() if name not in known}
    if others and split is not None:
        told = ", ".join(f"{name!r} {count:,}" for name, count in sorted(others.items()))
        _log.warning("%s: images of unknown splits are left out: %s", path, told)
    if names is not None and not any(there[name] for name in names):
        sizes = ", ".join(f"{name} {count:,}" for name, count in sorted(there.items()))
        raise UsageError(f"{path}: no image of split '{names[0]}'; it has: {sizes or 'no images'}")


def _sentence(sentence: Any, number: int, where: str) -> str:
    """The caption as it was written, or else its words."""
    if isinstance(sentence, dict):
        raw, tokens = sentence.get("raw"), sentence.get("tokens")
        if isinstance(raw, str):
            return raw
        if isinstance(tokens, list) and all(isinstance(token, str) for token in tokens):
            return " ".join(tokens)
    raise UsageError(f"{where}: sentence {number} has neither 'raw', a text, nor 'tokens', a list")


def _csv_rows(path: Path, lines: Iterator[str]) -> Iterator[Row]:
    """A table with a line of names; ``image`` stands for ``file_name``, too."""
    reader = csv_rows(lines)
    names = None
    try:
        for row in reader:
            if names is None:
                names = [name.strip() for name in row]
                if "file_name" not in names:
                    names = ["file_name" if name.lower() == "image" else name for name in names]
                names = ["caption" if name.lower() == "caption" else name for name in names]
                twice = next((name for name in names if names.count(name) > 1), None)
                if twice is not None:
                    raise UsageError(
                        f"{path}, line {reader.line_num}: two columns are named {twice!r}; put "
                        "further captions on lines of their own"
                    )
            elif row and len(row) != len(names):
                raise UsageError(
                    f"{path}, line {reader.line_num}: {len(row)} fields; expected {len(names)} "
                    f"({', '.join(names)}); put captions with commas in quotes"
                )
            elif row:
                yield f"line {reader.line_num}", dict(zip(names, row, strict=True))
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num}: not valid CSV: {error}") from None


def _token_rows(path: Path, lines: Iterator[str]) -> Iterator[Row]:
    """dog.jpg#0, a tab, and a caption."""
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        label, tab, caption = line.partition("\t")
        match = _NUMBERED.fullmatch(label.strip())
        if not tab or match is None:
            raise UsageError(
                f"{path}, line {number}: found {line[:60]!r}; expected NAME#NUMBER, a tab and a "
                "caption, or 'image,caption' as the file's first line"
            )
        if label.strip() in seen:
            raise UsageError(
                f"{path}, line {number}: {label.strip()} has a caption on line "
                f"{seen[label.strip()]} already"
            )
        seen[label.strip()] = number
        yield f"line {number}", {"file_name": match[1], "caption": caption}


def _parse(text: str, where: str) -> object:
    try:
        return parse_json(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: not valid JSON: {error}") from None


def _object(row: object, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise UsageError(f"{where}: expected a JSON object with 'file_name' and 'captions'")
    return row
