"""Labelled sentences from files: columns, CoNLL-U and JSON lines."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from seq2seq.config.paths import normal_path
from seq2seq.errors import UsageError
from seq2seq.public_data import missing_hint
from seq2seq.tasks.tagging.config import TaggingDataConfig, feature_sources, label_sources
from seq2seq.tasks.tagging.formats import find_format
from seq2seq.tasks.tagging.formats import format_of as format_of  # older code asks for it here
from seq2seq.tasks.tagging.schemes import are_spans, convert, is_valid
from seq2seq.text.files import decode_lines, is_stream, open_binary

_log = logging.getLogger("seq2seq")


@dataclass(frozen=True)
class Sentence:
    """Words, their labels in each column (names as in ``data.labels``), and the label of the
    whole; ``line`` is where it begins in its file; ``features`` are what stands beside the words in
    each column of ``data.features``."""

    words: list[str]
    labels: list[list[str]]
    sentence_label: str | None
    line: int
    features: list[list[str]] = field(default_factory=list)


def load_sentences(
    path: str | Path, data: TaggingDataConfig, combining: bool = True
) -> list[Sentence]:
    """All labelled sentences of a file; spans in every scheme become BIO. ``combining``: how
    running text is split (``split_words``); a model's vocabulary says it.

    Columns: a word a line with its labels, between tabs or, where a line has none, white space;
    blank lines between sentences; ``-DOCSTART-`` lines are left out; lines ``# NAME = VALUE`` above
    a sentence are about it. CoNLL-U: the same with ten columns; words of several tokens (1-2) and
    left out ones (1.1) are skipped. JSON lines: see ``json_lines``. Which of them a file is:
    ``find_format``.

    Raises UsageError, naming file and line: a file that is missing, empty or not UTF-8, a line with
    more or fewer columns than the first, without a word, a label or a feature, a sentence without
    the label of the whole. A sequence that BIO forbids is repaired as conlleval reads it, with one
    warning a file.
    """
    path = Path(normal_path(str(path)))
    if not path.is_file() and not is_stream(path):
        raise UsageError(f"{path}: no such file{missing_hint(path)}")
    with open_binary(path) as stream:
        lines = decode_lines(stream, str(path))
        sentences = list(_read(lines, path, data, combining))
    if not sentences:
        raise UsageError(f"{path}: no sentence in it; expected words with labels")
    return _in_bio(sentences, str(path), list(label_sources(data)))


def _read(
    lines: Iterator[str], path: Path, data: TaggingDataConfig, combining: bool
) -> Iterator[Sentence]:
    form, lines = find_format(lines, path, data)
    labels, features = label_sources(data), feature_sources(data)
    if form == "json":
        from seq2seq.tasks.tagging.json_lines import read_json

        return read_json(lines, str(path), labels, data.sentence_label, features, combining)
    from seq2seq.tasks.tagging.columns import read_columns

    return read_columns(lines, str(path), form, data.words, labels, data.sentence_label, features)


def _in_bio(sentences: list[Sentence], path: str, names: list[str]) -> list[Sentence]:
    """Columns of spans in BIO, repaired where needed."""
    for number, name in enumerate(names):
        if not are_spans({label for one in sentences for label in one.labels[number]}):
            continue
        wrong = [one for one in sentences if not is_valid(one.labels[number])]
        if wrong:
            _log.warning(
                "%s, line %d: %s: %s is no sequence of BIO, BIOES or IOB1; such spans begin where "
                "conlleval has them begin (%d of %d sentences)",
                path,
                wrong[0].line,
                name,
                " ".join(wrong[0].labels[number][:12]),
                len(wrong),
                len(sentences),
            )
        for one in sentences:
            one.labels[number][:] = convert(one.labels[number], "bio")
    return sentences
