"""The commands of tagging: tag, evaluate-tags. ``seq2seq.cli`` runs them."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from seq2seq.command_line.command import Command
from seq2seq.command_line.files import chunks, open_input, open_output, progress, same_file
from seq2seq.command_line.options import add_machine, add_model, load_model, picture, whole
from seq2seq.command_line.rules import Excludes
from seq2seq.errors import UsageError

if TYPE_CHECKING:
    from seq2seq.tasks.tagging.columns import Block
    from seq2seq.tasks.tagging.config import TaggingDataConfig
    from seq2seq.tasks.tagging.tagged import Tagged
    from seq2seq.tasks.tagging.tagger import Tagger

_TAG_EXAMPLES = """\
Reads a sentence a line. Writes columns: a word a line with its labels, an empty line after each
sentence; spans are in BIO. A label of the whole sentence stands above it: # intent = flight

  echo "Phil Simmons took four ." | seq2seq tag MODEL
  seq2seq tag MODEL --split words --json < notes.txt > spans.jsonl     running text, character spans
  seq2seq tag MODEL --columns --input test.conll                       add columns to columns
  seq2seq tag MODEL --input notes.txt --plot first.png                 draw the first sentence
"""

_EVALUATE_EXAMPLES = """\
Labels the sentences of DATA, and scores the labels against those there: F1 of spans as conlleval
counts them, else accuracy. DATA is a file as the model was trained on.

  seq2seq evaluate-tags MODEL test.conll
  seq2seq evaluate-tags MODEL other.conll --labels ner=3 --output labels.conll
"""

_SENTENCES = 1024  # read, labelled and written at a time


def _add_tag(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("--input", metavar="FILE", help="read this file, not standard input")
    parser.add_argument("--output", metavar="FILE", help="write this file, not standard output")
    parser.add_argument(
        "--split",
        choices=["spaces", "words"],
        default="spaces",
        help="words: split running text into words and marks (default: at its spaces)",
    )
    parser.add_argument(
        "--columns",
        action="store_true",
        help="the input is in columns, which are kept; words stand where the model's data had them",
    )
    parser.add_argument("--json", action="store_true", help="JSON lines, spans by character")
    parser.add_argument(
        "--probabilities", action="store_true", help="of each label; with --json of spans, too"
    )
    parser.add_argument(
        "--colour",
        choices=["auto", "always", "never"],
        default="auto",
        help="of spans in columns (default: in a terminal)",
    )
    parser.add_argument("--plot", type=picture, metavar="PICTURE", help="draw the first sentence")
    _add_common(parser)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("data", metavar="DATA", help="sentences with labels")
    parser.add_argument("--output", metavar="FILE", help="write words, labels and those found here")
    parser.add_argument("--json", action="store_true", help="print the scores as JSON")
    parser.add_argument("--words", type=int, metavar="N", help="column of the words, from 0")
    parser.add_argument(
        "--labels", nargs="+", metavar="NAME=WHERE", help="where labels stand: as in data.labels"
    )
    _add_common(parser)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--batch-size", type=whole(1), default=64, metavar="N", help="sentences (default: 64)"
    )
    add_machine(parser)


def _tag(options: argparse.Namespace) -> int:
    if options.input and not Path(options.input).is_file():
        raise UsageError(f"--input {options.input}: no such file")
    if same_file(options.input, options.output):
        raise UsageError(f"--output {options.output}: is the input, and would be overwritten")
    tagger: Tagger = load_model(options, "tagging")
    from seq2seq.tasks.tagging.writing import ColumnWriter, json_line

    name = tagger.config.data.sentence_label
    columns = ColumnWriter(name, options.probabilities, _coloured(options))
    drawn: Tagged | None = None
    shown = options.output is not None or not sys.stdout.isatty()
    with (
        open_input(options.input) as source,
        open_output(options.output) as sink,
        progress(None, shown and not source.isatty()) as advance,
    ):
        for sentences, given in _sentences(source, options, tagger):
            found = tagger.tag(
                sentences,
                split=options.split,
                probabilities=options.probabilities,
                batch_size=options.batch_size,
                precision=options.precision,
            )
            for number, one in enumerate(found):
                block = given[number] if given else None
                text = json_line(one) if options.json else columns.write(one, block)
                sink.write(text.encode("utf-8", "replace"))
                if drawn is None and one.tokens:
                    drawn = one
            sink.flush()
            advance(len(found))
    if options.plot:  # last: a picture that cannot be written loses no label
        if drawn is None:
            raise UsageError(f"--plot {options.plot}: no sentence was labelled")
        from seq2seq.tasks.tagging.plots import plot_spans

        plot_spans([drawn], options.plot)
    return 0


def _sentences(
    source: Any, options: argparse.Namespace, tagger: Tagger
) -> Iterator[tuple[list[Any], list[Block] | None]]:
    """Sentences of a part of the input; with --columns the blocks they stand in."""
    name = options.input or "standard input"
    size = 1 if source.isatty() else _SENTENCES
    if not options.columns:
        for _, texts in chunks(source, name, size):
            yield texts, None
        return
    from seq2seq.tasks.tagging.columns import blocks, word_column
    from seq2seq.tasks.tagging.sentences import format_of
    from seq2seq.text.files import decode_lines

    form: Literal["columns", "conllu"] = "columns"
    if format_of(name, tagger.config.data.format) == "conllu":
        form = "conllu"
    rest = blocks(decode_lines(source, name), name, form)
    while part := list(islice(rest, size)):
        place = word_column(part[0], form, tagger.config.data.words, name)
        yield [[row[place] for row in block.rows] for block in part], part


def _coloured(options: argparse.Namespace) -> bool:
    if options.colour != "auto":
        return bool(options.colour == "always")
    return options.output is None and sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _evaluate(options: argparse.Namespace) -> int:
    from seq2seq.tasks.tagging.scores import score_labels, score_sentences
    from seq2seq.tasks.tagging.sentences import load_sentences

    tagger: Tagger = load_model(options, "tagging")
    data = _data(options, tagger)
    sentences = load_sentences(options.data, data)
    started = time.perf_counter()
    found = tagger.tag(
        [one.words for one in sentences],
        batch_size=options.batch_size,
        precision=options.precision,
    )
    seconds = time.perf_counter() - started
    words = sum(len(one.words) for one in sentences)
    print(
        f"seq2seq: {len(found):,} sentences, {words:,} words in {seconds:.1f} s "
        f"({words / seconds:,.0f} words/s)",
        file=sys.stderr,
    )
    values: dict[str, Any] = {"sentences": len(found), "words": words}
    told = []
    for number, column in enumerate(tagger.vocabulary.columns):
        gold = [one.labels[number] for one in sentences]
        scores = score_labels(gold, [one.labels[column.name] for one in found], column.spans)
        values[column.name] = dataclasses.asdict(scores)
        told += [f"{column.name}: {scores}", *_indented(scores.table())]
    if data.sentence_label is not None:
        gold_whole = [str(one.sentence_label) for one in sentences]
        accuracy = score_sentences(gold_whole, [str(one.sentence_label) for one in found])
        values[data.sentence_label] = {"accuracy": accuracy}
        told.append(f"{data.sentence_label}: accuracy {accuracy:.2f}")
    if options.output:
        from seq2seq.tasks.tagging.columns import write_pairs

        with open_output(options.output) as sink:
            _write(sink, write_pairs(sentences, [list(one.labels.values()) for one in found]))
    print(json.dumps(values, indent=2) if options.json else "\n".join(told))
    return 0


def _data(options: argparse.Namespace, tagger: Tagger) -> TaggingDataConfig:
    """How the data is read: as the model's own, but for what the options say."""
    from seq2seq.tasks.tagging.config import label_sources
    from seq2seq.tasks.tagging.sentences import format_of

    data = tagger.config.data
    if options.words is not None:
        if (form := format_of(options.data, data.format)) != "columns":
            raise UsageError(
                f"evaluate-tags: --words goes with DATA in columns, and {options.data} is "
                f"{form}: there it does nothing"
            )
        data = dataclasses.replace(data, words=options.words)
    if options.labels is not None:
        data = dataclasses.replace(data, labels=options.labels)
    names = [column.name for column in tagger.vocabulary.columns]
    if list(label_sources(data)) != names:
        raise UsageError(
            f"--labels {' '.join(options.labels)}: the model labels {', '.join(names)}; expected "
            "NAME=WHERE for each, in this order"
        )
    return data


def _indented(table: str) -> list[str]:
    return [f"  {line}" for line in table.splitlines()]


def _write(sink: IO[bytes], text: str) -> None:
    sink.write(text.encode("utf-8", "replace"))


COMMANDS = (
    Command(
        "tag",
        "label the words of sentences",
        _add_tag,
        _tag,
        _TAG_EXAMPLES,
        rules=(
            Excludes(("--split",), ("--columns",)),
            Excludes(("--colour",), ("--json",)),
        ),
    ),
    Command("evaluate-tags", "score labels", _add_evaluate, _evaluate, _EVALUATE_EXAMPLES),
)
