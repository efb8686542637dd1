"""The command ``score-translations``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING

from seq2seq.command_line.command import Command
from seq2seq.command_line.files import check_input, chunks, open_input, open_output, progress
from seq2seq.command_line.options import (
    add_ensemble,
    add_machine,
    add_model,
    input_file,
    output_file,
    whole,
)
from seq2seq.command_line.rules import Excludes
from seq2seq.errors import UsageError
from seq2seq.json_files import to_json
from seq2seq.tasks.translation.outputs import alignment_file
from seq2seq.tasks.translation.translate_command import WINDOW
from seq2seq.tasks.translation.translate_options import alignments_option, load_translator

if TYPE_CHECKING:
    from seq2seq.tasks.translation.translations import Translation

_EXAMPLES = """\
Reads texts and translations of them, line by line, and writes for each pair the log probability
(natural logarithm) that the model gives the translation, its end included: one number a line.
To rank translations made elsewhere, to find bad pairs in a corpus, to align words.

  seq2seq score-translations MODEL --source test.en --target test.de
  seq2seq score-translations MODEL --source test.en --target test.de --mean     long or short alike
  seq2seq score-translations MODEL --source test.en --target test.de --alignments test.align
  seq2seq score-translations --ensemble A B --source test.en --target test.de --json

Lines written:
  plain     log probability
  --mean    the same for each subword: divided by their number, the end among them
  --json    one object: line, source, translation, log_probability, tokens, token_scores (log
            probability of each token, and of the end)

A blank text has the empty translation, with log probability 0, and no other: -inf (JSON: null).
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_model(parser, nargs="?")
    parser.add_argument(
        "--source", type=input_file, metavar="FILE", required=True, help="texts; .gz, .xz too"
    )
    parser.add_argument(
        "--target", type=input_file, metavar="FILE", required=True, help="their translations"
    )
    parser.add_argument(
        "--output", type=output_file, metavar="FILE", help="write this file, not standard output"
    )
    parser.add_argument("--mean", action="store_true", help="per subword of the translation")
    parser.add_argument("--json", action="store_true", help="JSON lines, with scores of each token")
    alignments_option(parser, "pair")
    add_ensemble(parser)
    parser.add_argument("--batch-size", type=whole(1), metavar="N", help="sentences at a time")
    add_machine(parser, int8=True)
    parser.set_defaults(shortlist=False, copy_unknown=False)  # as translate has them


def _score(options: argparse.Namespace) -> int:
    check_input(options.source, "--source")
    check_input(options.target, "--target")
    translator = load_translator(options)
    batch_size = options.batch_size or translator.config.decoding.batch_size
    with (
        open_output(options.output) as sink,
        alignment_file(options.alignments) as align,
        progress(None, options.output is not None) as advance,
    ):
        for first, texts, translations in _windows(
            options.source, options.target, WINDOW * batch_size
        ):
            scored = translator.score(
                texts,
                translations,
                batch_size=batch_size,
                precision=options.precision,
                attention=options.alignments is not None,
                first_line=first,
            )
            align([[one] for one in scored])
            for number, (text, one) in enumerate(zip(texts, scored, strict=True), first):
                sink.write(_line(number, text, one, options).encode("utf-8", "replace"))
            sink.flush()
            advance(len(texts))
    return 0


def _windows(source: str, target: str, size: int) -> Iterator[tuple[int, list[str], list[str]]]:
    """(number of the first line, texts, translations), ``size`` at a time."""
    with open_input(source) as texts, open_input(target) as translations:
        both = zip_longest(chunks(texts, source, size), chunks(translations, target, size))
        for one, other in both:
            first, left = one or (other[0], [])
            right = other[1] if other else []
            if len(left) != len(right):
                raise UsageError(_unequal(source, target, first, len(left), len(right)))
            yield first, left, right


def _unequal(source: str, target: str, first: int, texts: int, translations: int) -> str:
    short, lines = (source, texts) if texts < translations else (target, translations)
    longer = target if texts < translations else source
    return (
        f"{short} has {first + lines - 1} lines, {longer} has more; expected as many: "
        "line by line, one is the translation of the other"
    )


def _line(number: int, text: str, scored: Translation, options: argparse.Namespace) -> str:
    total = scored.log_probability
    if options.json:
        values = {
            "line": number,
            "source": text,
            "translation": scored.text,
            "log_probability": total,
            "tokens": scored.tokens,
            "token_scores": scored.token_scores,
        }
        return to_json(values) + "\n"
    return f"{total / (len(scored.tokens) + 1) if options.mean else total:.4f}\n"


COMMAND = Command(
    "score-translations",
    "log probability of given translations",
    _add_options,
    _score,
    _EXAMPLES,
    rules=(Excludes(("--mean",), ("--json",)),),
)
