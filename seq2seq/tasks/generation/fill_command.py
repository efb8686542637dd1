"""The command ``fill``: the missing word of each line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from seq2seq.command_line.command import Command
from seq2seq.command_line.files import check_input, chunks, open_input, write_utf8
from seq2seq.command_line.options import (
    add_machine,
    add_model,
    input_file,
    load_model,
    whole,
)
from seq2seq.errors import UsageError
from seq2seq.json_files import to_json

if TYPE_CHECKING:
    from seq2seq.tasks.generation.blanks import Blanked
    from seq2seq.tasks.generation.filler import Filling

_LINES = 500  # read and scored at a time
_JSON_WORDS = 10  # written as JSON where any word may fill the blank and there is no --top

_EXAMPLES = """\
Reads sentences with a blank, ___, and writes the best word for each, and its probability:

  echo "Let us eat at the ___ ." | seq2seq fill MODEL --candidates bank restaurant tree
  echo "Let us eat at the [bank|restaurant|tree] ." | seq2seq fill MODEL
  seq2seq fill MODEL < table.tsv                  sentence TAB candidate TAB candidate ...
  seq2seq fill MODEL --json-input < lines.jsonl   {"text": "... ___ .", "candidates": ["a", "b"]}
  seq2seq fill MODEL --top 5 < lines.txt          any word of a vocabulary of words
  seq2seq fill MODEL --backward MODEL2 < ...      with a model trained by model.direction: backward

Several blanks are filled together; write " / " between the words for each: "bank / money".
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument(
        "--backward",
        metavar="MODEL",
        help="a model that reads from the end, whose scores are added",
    )
    parser.add_argument(
        "--candidates",
        nargs="+",
        metavar="TEXT",
        help="what may fill the blank of lines that bring no candidates",
    )
    parser.add_argument(
        "--input", type=input_file, metavar="FILE", help="read this file, not standard input"
    )
    parser.add_argument("--json-input", action="store_true", help="lines are JSON objects")
    parser.add_argument(
        "--top",
        type=whole(1),
        metavar="N",
        help="words for each line (default: 1; with --json all candidates)",
    )
    parser.add_argument(
        "--sentence", action="store_true", help="write the sentence with its best word"
    )
    parser.add_argument("--json", action="store_true", help="write a JSON object a line")
    add_machine(parser, "fp32", auto=True)


def _run(options: argparse.Namespace) -> int:
    check_input(options.input, "--input")
    if options.sentence and (options.json or (options.top or 1) > 1):
        raise UsageError("--sentence writes the sentence alone; leave out --json and --top")
    first = load_model(options, "generation")
    from seq2seq.tasks.generation.filler import BlankFiller
    from seq2seq.tasks.generation.generator import TextGenerator

    second = None
    if options.backward is not None:
        second = TextGenerator.from_pretrained(options.backward, device=options.device)
    filler = BlankFiller(first, second)
    write_utf8(sys.stdout)
    name = options.input or "standard input"
    with open_input(options.input) as stream:
        size = 1 if stream.isatty() else _LINES
        for number, lines in chunks(stream, name, size):
            sentences, wrong = _read_all(lines, name, number, options)
            fillings = filler.fill_batch(sentences, precision=options.precision)
            for sentence, filling in zip(sentences, fillings, strict=True):
                _write(filling, _count(options, sentence), options)
            sys.stdout.flush()
            if wrong is not None:
                raise wrong
    return 0


def _count(options: argparse.Namespace, sentence: Blanked) -> int | None:
    """How many words are written; None: all."""
    if options.top is not None or not options.json:
        return options.top or 1
    return None if sentence.candidates else _JSON_WORDS


def _read_all(
    lines: Sequence[str], name: str, first: int, options: argparse.Namespace
) -> tuple[list[Blanked], UsageError | None]:
    """The sentences up to the first line that is wrong, and its error: they are answered first."""
    found: list[Blanked] = []
    try:
        for number, line in enumerate(lines, first):
            found.append(_read(line, f"{name}, line {number}", options))
    except UsageError as error:
        return found, error
    return found, None


def _read(line: str, where: str, options: argparse.Namespace) -> Blanked:
    from seq2seq.tasks.generation.blanks import has_choice, make_blanked, parse_json, parse_line

    text, candidates = parse_json(line, where) if options.json_input else parse_line(line)
    if candidates is None and not has_choice(text):
        candidates = options.candidates
    return make_blanked(text, candidates, where)


def _write(filling: Filling, top: int | None, options: argparse.Namespace) -> None:
    best = filling.candidates[:top]
    if options.json:
        row: dict[str, Any] = {"text": filling.text}
        row["candidates"] = [
            {"text": one.text, "score": round(one.score, 4), "probability": _share(one.probability)}
            for one in best
        ]
        print(to_json(row))
    elif options.sentence:
        print(" ".join(filling.text.splitlines()))  # a line for each line that was read
    else:
        print("\t".join(f"{one.text}\t{one.probability:.4f}" for one in best))


def _share(probability: float) -> float:
    return float(f"{probability:.6g}")


COMMAND = Command("fill", "the missing word of each line", _add_options, _run, _EXAMPLES)
