"""The command ``suggest``: the next word of each line."""

from __future__ import annotations

import argparse
import logging
import sys
from typing import Any

from seq2seq.command_line.command import Command
from seq2seq.command_line.files import chunks, write_utf8
from seq2seq.command_line.options import add_machine, add_model, load_model, whole
from seq2seq.errors import UsageError
from seq2seq.json_files import to_json

_log = logging.getLogger(__name__)

_EXAMPLES = """\
Writes the likeliest next words of each text on a line, each with its probability:

  seq2seq suggest MODEL "It was "              the next word
  seq2seq suggest MODEL "It w"                 words that begin with "w"
  seq2seq suggest MODEL --top 3 --json < lines.txt
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument(
        "text", metavar="TEXT", nargs="?", help="the text so far (default: lines of standard input)"
    )
    parser.add_argument(
        "--top", type=whole(1), default=5, metavar="N", help="words for each text (default: 5)"
    )
    parser.add_argument("--json", action="store_true", help="write a JSON object a line")
    add_machine(parser, "fp32", auto=True)


def _run(options: argparse.Namespace) -> int:
    generator = load_model(options, "generation")
    write_utf8(sys.stdout)
    if options.text is not None:
        _write(generator, options.text, options)
        return 0
    for number, lines in chunks(sys.stdin.buffer, "standard input", 1):
        try:
            _write(generator, lines[0], options)
        except UsageError as error:
            raise UsageError(f"standard input, line {number}: {error}") from None
        sys.stdout.flush()
    return 0


def _write(generator: Any, text: str, options: argparse.Namespace) -> None:
    found = generator.suggest(text, options.top, precision=options.precision)
    if not found:
        _log.warning("no word fits after %r; its line stays empty", text)
    if options.json:
        words = [{"text": one.text, "probability": round(one.probability, 6)} for one in found]
        print(to_json({"text": text, "suggestions": words}))
    else:
        print("\t".join(f"{one.text}\t{one.probability:.4f}" for one in found))


COMMAND = Command("suggest", "the next word of each line", _add_options, _run, _EXAMPLES)
