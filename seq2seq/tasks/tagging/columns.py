"""Sentences in columns, a word a line: as the CoNLL shared tasks have them, and CoNLL-U."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from seq2seq.errors import UsageError
from seq2seq.tasks.tagging.formats import CONLLU, CONLLU_WIDTH
from seq2seq.tasks.tagging.sentences import Sentence

DOCUMENT = "-DOCSTART-"
_COMMENT = re.compile(r"# ?([\w:-]+) = (.*)")


@dataclass
class Block:
    """The lines of one sentence: the fields of each word, and what comments say of the whole.

    ``others`` are all lines that are no word, each with the number of words above it: comments,
    ``-DOCSTART-``, and what CoNLL-U has beside the words.
    """

    line: int  # where it begins
    rows: list[list[str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)  # of each row
    comments: dict[str, str] = field(default_factory=dict)
    others: list[Other] = field(default_factory=list)


class Other(NamedTuple):
    """A line that is no word."""

    place: int  # words above it
    text: str
    fields: list[str]  # of a line in columns, none of a comment
    name: str | None = None  # NAME of a comment ``# NAME = VALUE``


def read_columns(
    lines: Iterable[str],
    path: str,
    form: Literal["columns", "conllu"],
    words: int,
    sources: Mapping[str, str],
    sentence_label: str | None,
    features: Mapping[str, str],
) -> Iterator[Sentence]:
    """The sentences of a file. ``sources``: name of a label column -> its place; ``features`` the
    same of what stands beside the words; see ``sentences.load_sentences`` for the rest and for
    the errors."""
    places: list[int] | None = None
    for block in blocks(lines, path, form):
        if places is None:
            word_place = word_column(block, form, words, path)
            places = [
                _within(block, name, _place(name, place, form, path, "labels"), path)
                for name, place in sources.items()
            ]
            beside = feature_columns(block, form, features, path)
            _check_different(word_place, [*places, *beside], f"{path}, line {block.lines[0]}")
            needed = {word_place: "word", **_named("label", sources, places)}
            needed |= _named("feature", features, beside)
        check_rows(block, path, needed)
        label = None
        if sentence_label is not None:
            label = block.comments.get(sentence_label)
            if not label:
                raise UsageError(
                    f"{path}, line {block.line}: a sentence without a label of the whole; expected "
                    f"a line '# {sentence_label} = LABEL' above it"
                )
        yield Sentence(
            [row[word_place] for row in block.rows],
            [[row[place] for row in block.rows] for place in places],
            label,
            block.line,
            columns_of(block, beside),
        )


def word_column(block: Block, form: Literal["columns", "conllu"], words: int, path: str) -> int:
    """The column of the words, counted from 0, of which ``words`` is the number as configured."""
    return _within(block, "words", CONLLU["form"] if form == "conllu" else words, path)


def feature_columns(
    block: Block, form: Literal["columns", "conllu"], features: Mapping[str, str], path: str
) -> list[int]:
    """The columns of what the model reads beside the words, counted from 0."""
    return [
        _within(block, name, _place(name, place, form, path, "features"), path)
        for name, place in features.items()
    ]


def columns_of(block: Block, places: Sequence[int]) -> list[list[str]]:
    """What stands in some columns, of all words."""
    return [[row[place] for row in block.rows] for place in places]


def write_pairs(sentences: Iterable[Sentence], found: Iterable[Sequence[Sequence[str]]]) -> str:
    """Sentences in columns: word, and for each label the right one and the one found, as conlleval
    reads them."""
    lines = []
    for one, columns in zip(sentences, found, strict=True):
        pairs = [x for gold, mine in zip(one.labels, columns, strict=True) for x in (gold, mine)]
        lines += [*("\t".join(row) for row in zip(one.words, *pairs, strict=True)), ""]
    return "".join(line + "\n" for line in lines)


def blocks(
    lines: Iterable[str],
    path: str,
    form: Literal["columns", "conllu"] = "columns",
    wordless: bool = False,
) -> Iterator[Block]:
    """Sentences as fields, all of as many as the file's first word has; ``wordless``: also what
    stands between blank lines and holds no word."""
    block: Block | None = None
    width = CONLLU_WIDTH if form == "conllu" else None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            if block is not None and (block.rows or wordless):
                yield block
            block = None
            continue
        block = block or Block(number)
        above = len(block.rows)
        comment = None if above else _COMMENT.fullmatch(line)
        if comment or (form == "conllu" and line.startswith("#")):
            if comment:
                block.comments[comment[1]] = comment[2].strip()
            block.others.append(Other(above, line, [], comment[1] if comment else None))
            continue
        fields = [f.strip() for f in line.split("\t")] if "\t" in line else line.split()
        if fields[0] == DOCUMENT:
            block.others.append(Other(above, line, fields))
            continue
        width = width or len(fields)
        if len(fields) != width:
            expected = "CoNLL-U has" if form == "conllu" else "the first line has"
            raise UsageError(
                f"{path}, line {number}: {len(fields)} columns ({line[:60]!r}); {expected} {width}"
            )
        if form == "conllu" and not fields[0].isdecimal():
            # 1-2: a word of several tokens; 1.1: one that was left out
            block.others.append(Other(above, line, fields))
            continue
        block.rows.append(fields)
        block.lines.append(number)
    if block is not None and (block.rows or wordless):
        yield block


def _place(name: str, place: str, form: str, path: str, key: Literal["labels", "features"]) -> int:
    """Where the column of a label or a feature stands."""
    if form == "conllu" and (place or name) in CONLLU:
        return CONLLU[place or name]
    if not place and form == "columns" and key == "labels":
        return -1
    try:
        return int(place)
    except ValueError:
        known = f", or one of {', '.join(CONLLU)}" if form == "conllu" else ""
        raise UsageError(
            f"{path}: 'data.{key}' has '{name}{'=' if place else ''}{place}'; expected "
            f"{name}=NUMBER, a column counted from 0{known}"
        ) from None


def _within(block: Block, name: str, place: int, path: str) -> int:
    width = len(block.rows[0])
    if not -width <= place < width:
        raise UsageError(
            f"{path}, line {block.lines[0]}: {width} columns, and {name} should stand in column "
            f"{place} (counted from 0); see 'data.words', 'data.labels' and 'data.features'"
        )
    return place % width


def _check_different(words: int, places: list[int], where: str) -> None:
    if len({words, *places}) < len(places) + 1:
        raise UsageError(
            f"{where}: words in column {words}, labels and features in {places}: two read the same "
            "column; see 'data.words', 'data.labels' and 'data.features'"
        )


def _named(kind: str, names: Iterable[str], places: Iterable[int]) -> dict[int, str]:
    return {place: f"{kind} '{name}'" for name, place in zip(names, places, strict=True)}


def check_rows(block: Block, path: str, columns: Mapping[int, str]) -> None:
    """Raise UsageError where a column is empty that must not be; ``columns``: what stands there."""
    for row, line in zip(block.rows, block.lines, strict=True):
        for place, name in columns.items():
            if not row[place]:
                raise UsageError(f"{path}, line {line}: no {name} in column {place}")
