"""Texts with their targets, from files in the forms that people have.

CSV, or TSV with a header     columns named in data.text and data.label
label<TAB>text                without a header
__label__a __label__b text    fastText; labels first
label text                    the first word is the label (data.format: first_word)
JSON lines                    objects with the keys data.text and data.label
trees                         (3 (2 word) (4 ...)): a label for each phrase, as the Stanford
                              Sentiment Treebank has them
"""

from __future__ import annotations

import codecs
import csv
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seq2seq.array_files import LARGEST
from seq2seq.errors import UsageError
from seq2seq.json_files import parse_json
from seq2seq.public_data import missing_hint
from seq2seq.tasks.classification.config import ClassDataConfig
from seq2seq.tasks.classification.trees import phrases_of, read_tree
from seq2seq.text.files import check_unicode, csv_rows, is_stream, open_binary, read_lines

_FASTTEXT = "__label__"


@dataclass(frozen=True)
class Columns:
    """Names of what a series holds, where its file has them."""

    features: tuple[str, ...]
    static: tuple[str, ...] = ()


@dataclass
class Labelled:
    """Inputs and, where there are any, their targets as the file has them: names of labels, lists
    of them, or numbers. ``places`` says where each stands: a line, or the name of a series."""

    name: str  # of the file
    inputs: Any = field(default_factory=list)
    targets: list[Any] = field(default_factory=list)
    places: list[Any] = field(default_factory=list)
    place: str = "line"
    columns: Columns | None = None  # of series whose file names them
    unused: list[str] = field(default_factory=list)  # names in ``data.rename`` that no label has

    def __len__(self) -> int:
        return len(self.inputs)

    def where(self, row: int) -> str:
        return f"{self.name}, {self.place} {self.places[row]}"

    def add(self, text: Any, target: Any, place: Any) -> None:
        self.inputs.append(text)
        self.targets.append(target)
        self.places.append(place)

    def select(self, rows: Iterable[int]) -> Labelled:
        """The examples of these rows."""
        rows = list(rows)
        inputs = self.inputs
        chosen = [inputs[r] for r in rows] if isinstance(inputs, list) else inputs[rows]
        places = [self.places[r] for r in rows]
        targets = [self.targets[r] for r in rows]
        return Labelled(self.name, chosen, targets, places, self.place, self.columns)


class Renaming:
    """The rules of ``data.rename``; which of them were of use."""

    def __init__(self, rules: Sequence[str]) -> None:
        self._names = dict(rule.split("=", 1) for rule in rules)
        self._used = set[str]()

    def __call__(self, name: str) -> str:
        if name in self._names:
            self._used.add(name)
        return self._names.get(name, name)

    @property
    def unused(self) -> list[str]:
        return [name for name in self._names if name not in self._used]


def read_texts(path: str, config: ClassDataConfig, phrases: bool = False) -> Labelled:
    """Read the texts and targets of a file (.gz, .xz too); ``phrases``: of trees every different
    phrase.

    Raises UsageError with file and line for a text without target or a target without text, for
    columns that are not there, and for what is not the format.
    """
    if not Path(path).exists():
        raise UsageError(f"{path}: no such file{missing_hint(Path(path))}")
    lines = _lines(path, config.encoding)
    form = _form(path, lines, config)
    found = Labelled(path)
    rename = Renaming(config.rename)
    seen = set[tuple[str, Any]]()  # phrases: the same one with the same label counts once
    for number, text, target in _READERS[form](path, lines, config, phrases):
        if phrases:
            if (text, target) in seen:
                continue
            seen.add((text, target))
        where = f"{path}, line {number}"
        blank = target is None or (isinstance(target, str) and not target.strip())
        if blank and (target is None or config.target != "labels"):  # of labels there may be none
            raise UsageError(f"{where}: a text without label: {text[:60]!r}")
        if not text.strip():
            raise UsageError(f"{where}: a label ({target!r}) without text")
        kept = parse_target(target, config, rename, where)
        if kept is not None:
            found.add(text, kept, number)
    if not len(found):
        raise UsageError(f"{path}: no example is left; 'data.rename' leaves all out")
    found.unused = rename.unused
    return found


def texts_of(path: str, lines: list[str], config: ClassDataConfig, form: str) -> list[str]:
    """The texts of a table ("csv", "tsv") or of JSON lines ("jsonl"), with labels or without.
    Raises UsageError as ``read_texts`` does."""
    if form == "jsonl":
        return [text for _, text, _ in _jsonl(path, lines, config, False)]
    rows = csv_rows(lines) if form == "csv" else (line.split("\t") for line in lines)
    texts: list[str] = []
    header: list[str] = []
    try:
        for row in rows:
            if not any(row):
                continue
            if not header:
                header = row
                place = _column(path, header, "text", config.text)
            elif len(row) != len(header):
                raise UsageError(
                    f"{path}, text {len(texts) + 1}: {len(row)} columns; the header has "
                    f"{len(header)}"
                )
            else:
                texts.append(row[place])
    except csv.Error as error:
        raise UsageError(f"{path}: not CSV ({error})") from None
    return texts


def parse_target(target: Any, config: ClassDataConfig, rename: Renaming, where: str) -> Any:
    """The target as ``data.target`` has it: a name, a list of names, a number; None for an example
    that ``rename`` leaves out."""
    if config.target == "number":
        try:
            value = float(target)
        except (TypeError, ValueError):
            value = float("nan")
        if not abs(value) <= float(LARGEST):  # NaN, too
            raise UsageError(
                f"{where}: the target is {target!r}; expected a number of at most {LARGEST:.2g}"
            )
        return value
    if config.target == "label":
        if isinstance(target, (list, dict)):
            raise UsageError(
                f"{where}: several labels, {target!r}; expected one, or set 'data.target: labels'"
            )
        return rename(str(target).strip()) or None
    names = target if isinstance(target, list) else str(target).split(config.separator)
    stripped = (str(name).strip() for name in names)
    renamed = [rename(name) for name in stripped]
    return list(dict.fromkeys(name for name in renamed if name))


def _lines(path: str, encoding: str) -> list[str]:
    """Lines of a text file of any encoding."""
    if codecs.lookup(encoding).name == "utf-8":
        try:
            return read_lines(path)
        except UsageError as error:
            hint = "; or set 'data.encoding'" if "UTF-8" in str(error) else ""
            raise UsageError(f"{error}{hint}") from None
    with open_binary(path) as stream:
        raw = stream.read()
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path}: not {encoding} text (byte {error.start}); set 'data.encoding'"
        ) from None
    lines = [line.removesuffix("\r").replace("\0", " ") for line in text.split("\n")]
    if not lines[-1]:
        lines.pop()
    if not lines:
        raise UsageError(f"{path}: the file is empty; expected at least one line of text")
    return lines


def _form(path: str, lines: list[str], config: ClassDataConfig) -> str:
    if config.format != "auto":
        return config.format
    name = path.lower().removesuffix(".gz").removesuffix(".xz")
    for ending, form in ((".jsonl", "jsonl"), (".json", "jsonl"), (".csv", "csv")):
        if name.endswith(ending):
            return form
    first = next((line for line in lines if line.strip()), "")
    if is_stream(path) and first.startswith("{"):
        return "jsonl"
    if is_stream(path) and {config.text, config.label} <= set(first.split(",")):
        return "csv"
    if first.startswith(_FASTTEXT):
        return "fasttext"
    if "\t" in first or name.endswith(".tsv"):
        return "tsv"
    if first.startswith("(") and first.endswith(")"):
        return "trees"
    return "first_word"


Rows = Iterator[tuple[int, str, Any]]  # line, text, target


def _csv(path: str, lines: list[str], config: ClassDataConfig, phrases: bool) -> Rows:
    rows = csv_rows(lines)
    try:
        header = first_row(rows, path)
        text, label = _columns(path, header, config)
        for row in rows:
            if not row:
                continue
            if len(row) != len(header):
                raise UsageError(
                    f"{path}, line {rows.line_num}: {len(row)} columns; the header has "
                    f"{len(header)}"
                )
            yield rows.line_num, row[text], row[label]
    except csv.Error as error:
        raise UsageError(f"{path}, line {rows.line_num}: not CSV ({error})") from None


def first_row(rows: Iterable[list[str]], path: str) -> list[str]:
    """The first row of a table that has anything in it: its header."""
    for row in rows:
        if any(row):
            return row
    raise UsageError(f"{path}: every line is blank; expected a header, and rows below it")


def _columns(path: str, header: list[str], config: ClassDataConfig) -> tuple[int, int]:
    text, label = ("text", config.text), ("label", config.label)
    return _column(path, header, *text), _column(path, header, *label)


def _column(path: str, header: list[str], key: str, name: str) -> int:
    if name not in header:
        raise UsageError(
            f"{path}, line 1: no column {name!r} ('data.{key}'); there are: "
            f"{', '.join(header[:20])}"
        )
    return header.index(name)


def _tsv(path: str, lines: list[str], config: ClassDataConfig, phrases: bool) -> Rows:
    start = 1 + len(list(itertools.takewhile(lambda line: not line.strip(), lines)))
    header = first_row((line.split("\t") for line in lines[start - 1 :]), path)
    named = {config.text, config.label} <= set(header)
    if not named and len(header) != 2:
        raise UsageError(
            f"{path}, line {start}: {len(header)} columns; expected label, a tab and the text, or "
            f"a header with the columns {config.label!r} and {config.text!r}"
        )
    text, label = _columns(path, header, config) if named else (1, 0)
    for number, line in enumerate(lines, 1):
        if (named and number == start) or not line.strip():
            continue
        row = line.split("\t")
        if len(row) != len(header):
            raise UsageError(f"{path}, line {number}: {len(row)} columns; expected {len(header)}")
        yield number, row[text], row[label]


def _jsonl(path: str, lines: list[str], config: ClassDataConfig, phrases: bool) -> Rows:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            values = parse_json(line)
        except ValueError as error:
            raise UsageError(f"{where}: not JSON ({error})") from None
        if not isinstance(values, dict) or not isinstance(values.get(config.text), str):
            raise UsageError(f"{where}: expected an object with a text {config.text!r}")
        text, label = values[config.text], values.get(config.label)
        for one in (text, *(label if isinstance(label, list) else [label])):
            check_unicode(str(one), where)
        yield number, text, label


def _fasttext(path: str, lines: list[str], config: ClassDataConfig, phrases: bool) -> Rows:
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        names: list[str] = []
        while len(names) < len(words) and words[len(names)].startswith(_FASTTEXT):
            names.append(words[len(names)].removeprefix(_FASTTEXT))
        text = " ".join(words[len(names) :])
        several = len(names) > 1 or config.target == "labels"
        yield number, text, names if several else next(iter(names), None)


def _first_word(path: str, lines: list[str], config: ClassDataConfig, phrases: bool) -> Rows:
    for number, line in enumerate(lines, 1):
        label, _, text = line.strip().partition(" ")
        if label:
            yield number, text, label


def _trees(path: str, lines: list[str], config: ClassDataConfig, phrases: bool) -> Rows:
    for number, line in enumerate(lines, 1):
        if line.strip():
            tree = read_tree(line, f"{path}, line {number}")
            for label, words in phrases_of(tree) if phrases else [tree.labelled()]:
                yield number, " ".join(words), label


_READERS = {
    "csv": _csv,
    "tsv": _tsv,
    "jsonl": _jsonl,
    "fasttext": _fasttext,
    "first_word": _first_word,
    "trees": _trees,
}
