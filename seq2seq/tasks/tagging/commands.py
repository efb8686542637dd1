"""The commands of tagging: tag, evaluate-tags. ``seq2seq.cli`` runs them."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, Literal

from seq2seq.command_line.command import Command
from seq2seq.command_line.files import check_input, chunks, open_input, open_output, progress
from seq2seq.command_line.options import (
    add_machine,
    add_model,
    further_file,
    input_file,
    load_model,
    output_file,
    picture,
    whole,
)
from seq2seq.command_line.rules import Excludes, Needs
from seq2seq.errors import UsageError
from seq2seq.json_files import to_json

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
  seq2seq tag MODEL --columns --features pos=1 --input test.conll      a model that reads pos, too
  seq2seq tag MODEL --input notes.txt --plot first.png                 draw the first sentence
"""

_EVALUATE_EXAMPLES = """\
Labels the sentences of DATA, and scores the labels against those there: F1 of spans as conlleval
counts them, else accuracy. DATA is a file as the model was trained on; of standard input (-) the
first line tells whether it is columns, CoNLL-U or JSON lines.

  seq2seq evaluate-tags MODEL test.conll
  seq2seq evaluate-tags MODEL other.conll --labels ner=3 --output labels.conll
"""

_SENTENCES = 1024  # read, labelled and written at a time


def _add_tag(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument(
        "--input", type=input_file, metavar="FILE", help="read this file, not standard input"
    )
    parser.add_argument(
        "--output", type=output_file, metavar="FILE", help="write this file, not standard output"
    )
    parser.add_argument(
        "--split",
        choices=["spaces", "words"],
        default="spaces",
        help="words: split running text into words and marks (default: at its spaces)",
    )
    parser.add_argument(
        "--columns",
        action="store_true",
        help="the input is in columns, which are kept; words and features stand where the model's "
        "data had them, but for --words and --features; CoNLL-U is known by its ending .conllu, or "
        "by its first line",
    )
    _add_places(parser)
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
    parser.add_argument("data", type=input_file, metavar="DATA", help="sentences with labels")
    parser.add_argument(
        "--output",
        type=further_file,
        metavar="FILE",
        help="write words, labels and those found here",
    )
    parser.add_argument("--json", action="store_true", help="print the scores as JSON")
    _add_places(parser)
    parser.add_argument(
        "--labels", nargs="+", metavar="NAME=WHERE", help="where labels stand: as in data.labels"
    )
    _add_common(parser)


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--words", type=int, metavar="N", help="column of the words, from 0")
    parser.add_argument(
        "--features",
        nargs="+",
        metavar="NAME=WHERE",
        help="where features stand that the model reads: as in data.features",
    )


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--batch-size", type=whole(1), default=64, metavar="N", help="sentences (default: 64)"
    )
    add_machine(parser)


def _tag(options: argparse.Namespace) -> int:
    check_input(options.input, "--input")
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
        for sentences, given, beside in _sentences(source, options, tagger):
            found = tagger.tag(
                sentences,
                split=options.split,
                probabilities=options.probabilities,
                batch_size=options.batch_size,
                precision=options.precision,
                features=beside,
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
) -> Iterator[tuple[list[Any], list[Block] | None, list[dict[str, list[str]]] | None]]:
    """Sentences of a part of the input; with --columns the blocks they stand in, and the features
    beside the words."""
    name = options.input or "standard input"
    size = 1 if source.isatty() else _SENTENCES
    if not options.columns:
        _check_words_alone(options, tagger)
        for _, texts in chunks(source, name, size):
            yield texts, None, None
        return
    from seq2seq.tasks.tagging.columns import (
        blocks,
        check_rows,
        columns_of,
        feature_columns,
        word_column,
    )
    from seq2seq.tasks.tagging.config import feature_sources
    from seq2seq.text.files import decode_lines

    data = _data(options, tagger, name)
    features = feature_sources(data)
    form, lines = _columns(decode_lines(source, name), name, data)
    _check_words_column(options, "tag", name, form)
    rest = blocks(lines, name, form, wordless=not options.json)
    place, beside = 0, [0] * len(features)
    while part := list(islice(rest, size)):
        for block in part:
            if block.rows:
                place = word_column(block, form, data.words, name)
                beside = feature_columns(block, form, features, name)
                needed = dict(zip(beside, (f"feature '{x}'" for x in features), strict=True))
                check_rows(block, name, {place: "word", **needed})
        words = [columns_of(block, [place])[0] for block in part]
        given = [dict(zip(features, columns_of(block, beside), strict=True)) for block in part]
        yield words, part, given if features else None


def _columns(
    lines: Iterable[str], name: str, data: TaggingDataConfig
) -> tuple[Literal["columns", "conllu"], Iterator[str]]:
    """Which kind of columns the input has, and its lines."""
    from seq2seq.tasks.tagging.formats import find_format

    if data.format == "json":  # which the training data was, and this is not
        data = dataclasses.replace(data, format="auto")
    form, rest = find_format(lines, name, data)
    if form == "json":
        raise UsageError(f"{name}: JSON lines; --columns expects a word a line, or CoNLL-U")
    return form, rest


def _check_words_column(options: argparse.Namespace, command: str, name: str, form: str) -> None:
    """Columns alone have a column of words that may be told."""
    if options.words is not None and form != "columns":
        raise UsageError(
            f"{command}: --words goes with columns, and {name} is {form}: there it does nothing"
        )


def _check_words_alone(options: argparse.Namespace, tagger: Tagger) -> None:
    """Sentences without columns hold no features."""
    names = [feature.name for feature in tagger.vocabulary.features]
    if names:
        listed, first = ", ".join(f"'{name}'" for name in names), names[0]
        raise UsageError(
            f"{options.model}: the model reads {listed} beside each word, and lines of text have "
            f"words alone; give --columns and a file with a column for it, and --features "
            f"{first}=N if that is not where 'data.features' has it "
            f"({' '.join(tagger.config.data.features)}, counted from 0)"
        )


def _coloured(options: argparse.Namespace) -> bool:
    if options.colour != "auto":
        return bool(options.colour == "always")
    return options.output is None and sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _evaluate(options: argparse.Namespace) -> int:
    from seq2seq.tasks.tagging.formats import format_of
    from seq2seq.tasks.tagging.scores import score_labels, score_sentences
    from seq2seq.tasks.tagging.sentences import load_sentences

    tagger: Tagger = load_model(options, "tagging")
    data = _data(options, tagger, options.data)
    form = format_of(options.data, data.format)
    _check_words_column(options, "evaluate-tags", options.data, form)
    sentences = load_sentences(options.data, data, tagger.vocabulary.combining)
    names = [feature.name for feature in tagger.vocabulary.features]
    started = time.perf_counter()
    found = tagger.tag(
        [one.words for one in sentences],
        batch_size=options.batch_size,
        precision=options.precision,
        features=[dict(zip(names, one.features, strict=True)) for one in sentences],
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
    print(to_json(values, indent=2, ascii_only=True) if options.json else "\n".join(told))
    return 0


def _data(options: argparse.Namespace, tagger: Tagger, path: str) -> TaggingDataConfig:
    """How the data of ``path`` is read: as the model's own, but for what the options say."""
    from seq2seq.tasks.tagging.config import feature_sources, label_sources
    from seq2seq.tasks.tagging.formats import told_format

    data = tagger.config.data
    given = {name: getattr(options, name, None) for name in ("words", "labels", "features")}
    data = dataclasses.replace(data, **{k: v for k, v in given.items() if v is not None})
    if options.words is not None and told_format(path, data.format) is None:
        data = dataclasses.replace(data, format="columns")  # they alone have a column of words
    for key, verb, of, known in (
        ("labels", "labels", label_sources, tagger.vocabulary.columns),
        ("features", "reads", feature_sources, tagger.vocabulary.features),
    ):
        names = [column.name for column in known]
        if list(of(data)) != names:
            raise UsageError(
                f"--{key} {' '.join(given[key] or ())}: the model {verb} "
                f"{', '.join(names) or 'words alone'}; expected NAME=WHERE for each, in this order"
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
            Needs(("--words", "--features"), ("--columns",)),
            Excludes(("--split",), ("--columns",)),
            Excludes(("--colour",), ("--json",)),
        ),
    ),
    Command("evaluate-tags", "score labels", _add_evaluate, _evaluate, _EVALUATE_EXAMPLES),
)
