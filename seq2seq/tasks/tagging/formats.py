"""Which format a file of sentences has: as told, by its ending, or by its first line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Literal

from seq2seq.tasks.tagging.config import TaggingDataConfig, feature_sources, label_sources

Format = Literal["columns", "conllu", "json"]
CONLLU = {"form": 1, "lemma": 2, "upos": 3, "xpos": 4, "feats": 5, "head": 6, "deprel": 7}
CONLLU_WIDTH = 10
_PACKED = (".gz", ".xz")
_FIRST_NUMBER = re.compile(r"1|1-\d+|[01]\.\d+")  # of a sentence of CoNLL-U
_OBJECT = re.compile(r"""\s*\{\s*["']""")  # no word of a sentence in columns begins so


def format_of(path: str | Path, form: str = "auto") -> Format:
    """The format of a file: as told, or by its ending; columns where neither tells."""
    return told_format(path, form) or "columns"


def told_format(path: str | Path, form: str = "auto") -> Format | None:
    """The format of a file: as told, or by its ending; None where neither tells."""
    if form in ("columns", "conllu", "json"):
        return form  # type: ignore[return-value]
    name = str(path).lower()
    for ending in _PACKED:
        name = name.removesuffix(ending)
    if name.endswith((".jsonl", ".json")):
        return "json"
    return "conllu" if name.endswith((".conllu", ".conllup")) else None


def find_format(
    lines: Iterable[str], path: str | Path, data: TaggingDataConfig
) -> tuple[Format, Iterator[str]]:
    """The format of a file, and all its lines.

    Where neither ``data.format`` nor the ending tells (a stream has none), the first line does that
    is neither blank nor a comment: an object is JSON lines, ten columns between tabs that begin
    with the number 1 are CoNLL-U, all else is columns. No line is read behind that one.
    """
    lines = iter(lines)
    told = told_format(path, data.format)
    if told is not None:
        return told, lines
    read, first = [], ""
    for line in lines:
        read.append(line)
        if line.strip() and not line.startswith("#"):
            first = line
            break
    return _by_line(first, data), chain(read, lines)


def _by_line(line: str, data: TaggingDataConfig) -> Format:
    if _OBJECT.match(line):
        return "json"
    fields = line.split("\t")
    numbered = len(fields) == CONLLU_WIDTH and _FIRST_NUMBER.fullmatch(fields[0].strip())
    return "conllu" if numbered and _may_be_conllu(data) else "columns"


def _may_be_conllu(data: TaggingDataConfig) -> bool:
    """Whether ``data`` can be meant for CoNLL-U. In columns its numbers would be the words, unless
    ``data.words`` says where else they stand; then labels and features must be there, too."""
    sources = [*label_sources(data).items(), *feature_sources(data).items()]
    places = [place or name for name, place in sources]
    known = all(one in CONLLU or one.removeprefix("-").isdecimal() for one in places)
    return data.words == 0 or (data.words == CONLLU["form"] and known)
