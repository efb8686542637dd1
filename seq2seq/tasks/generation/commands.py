"""The commands of text generation: score and perplexity; generate, fill and suggest have files of
their own. ``seq2seq.cli`` runs them."""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.command_line.command import Command
from seq2seq.command_line.files import chunks
from seq2seq.command_line.options import (
    add_machine,
    add_model,
    input_file,
    load_model,
    option_name,
)
from seq2seq.command_line.rules import Needs
from seq2seq.errors import UsageError
from seq2seq.json_files import to_json
from seq2seq.tasks.generation import fill_command, generate_command, suggest_command

if TYPE_CHECKING:
    from seq2seq.tasks.generation.config import LanguageConfig
    from seq2seq.tasks.generation.mapped import LargeText
    from seq2seq.tasks.generation.perplexity import TextScore
    from seq2seq.tasks.generation.text import Text

_SCORE_EXAMPLES = """\
Reads lines and writes the log probability (natural logarithm) of each, one number a line.
Bytes that are not UTF-8 are replaced, with a warning that names the line.

  seq2seq score MODEL < lines.txt
  seq2seq score MODEL --context "The cat sat on the" < endings.txt     which ending is likeliest
  seq2seq score MODEL --mean < lines.txt                               per unit: long or short alike
"""

_PERPLEXITY_EXAMPLES = """\
How well the model predicts a text; without --text, the validation text of its own training.

  seq2seq perplexity MODEL --text test.txt
  seq2seq perplexity MODEL --cold-window 256
  seq2seq perplexity MODEL --text test.txt --dynamic --cache
"""

_SCORED_AT_ONCE = 1000  # lines: memory does not grow with their number


def _add_score(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument(
        "--context", default="", metavar="TEXT", help="what stands before each line"
    )
    parser.add_argument("--mean", action="store_true", help="per unit of the line")
    add_machine(parser, "fp32", auto=True)


def _add_perplexity(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("--text", type=input_file, metavar="FILE", help="the text to predict")
    parser.add_argument(
        "--cold-window", type=int, metavar="N", help="windows of N units, each from an empty state"
    )
    parser.add_argument(
        "--rows",
        type=int,
        default=1,
        metavar="N",
        help="stretches read side by side, each after 1,000 units unscored; at most one for each "
        "1,000 units of the text; 1: exact (default: 1)",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    group = parser.add_argument_group("neural cache (Grave et al. 2017)")
    group.add_argument("--cache", action="store_true", help="mix with what stood before")
    group.add_argument("--cache-size", type=int, default=2000, metavar="N", help="(2000)")
    group.add_argument("--cache-weight", type=float, default=0.1, metavar="X", help="(0.1)")
    group.add_argument("--cache-flatness", type=float, default=0.3, metavar="X", help="(0.3)")
    group = parser.add_argument_group("dynamic evaluation (Krause et al. 2018)")
    group.add_argument(
        "--dynamic", action="store_true", help="learn from what was scored: one stretch at a time"
    )
    group.add_argument("--dynamic-rate", type=float, default=0.1, metavar="X", help="(0.1)")
    group.add_argument("--dynamic-decay", type=float, default=0.001, metavar="X", help="(0.001)")
    group.add_argument("--dynamic-steps", type=int, default=20, metavar="N", help="(20)")
    add_machine(parser, "fp32", auto=True)


def _score(options: argparse.Namespace) -> int:
    generator = load_model(options, "generation")
    from seq2seq.text.files import check_is_text

    source, name = sys.stdin.buffer, "standard input"
    size = 1 if source.isatty() else _SCORED_AT_ONCE
    begins = source.readline()
    check_is_text(begins[:256], name)
    for _, lines in chunks(itertools.chain([begins] if begins else [], source), name, size):
        scores = generator.score(lines, context=options.context, precision=options.precision)
        for one in scores:
            total = one.log_probability
            print(f"{total / max(1, one.tokens) if options.mean else total:.4f}")
        sys.stdout.flush()
    return 0


def _perplexity(options: argparse.Namespace) -> int:
    from seq2seq.tasks.generation.perplexity import Cache, Dynamic

    for name in ("cold_window", "rows"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UsageError(f"{option_name(name)} is {value}; expected at least 1")
    try:
        cache = Cache(options.cache_size, options.cache_weight, options.cache_flatness)
        dynamic = Dynamic(options.dynamic_rate, options.dynamic_decay, options.dynamic_steps)
    except UsageError as error:  # "cache size is ...": the option of that name
        raise UsageError("--" + str(error).replace(" ", "-", 1)) from None
    generator = load_model(options, "generation")
    result = generator.perplexity(
        _text(generator.config, options.text, options.model),
        cold_window=options.cold_window,
        rows=options.rows,
        cache=cache if options.cache else None,
        dynamic=dynamic if options.dynamic else None,
        precision=options.precision,
    )
    print(to_json(_figures(result), indent=1, ascii_only=True) if options.json else result)
    return 0


def _text(config: LanguageConfig, path: str | None, model: str) -> Text | LargeText:
    from seq2seq.tasks.generation.text import as_documents, read
    from seq2seq.tasks.generation.training_text import validation_text

    if path is None:
        return validation_text(config, model)
    content = read(Path(path), config.units.kind == "bytes", hint="")
    return as_documents([content], config.data.documents, path)


def _figures(result: TextScore) -> dict[str, float]:
    return {
        "nats": result.nats,
        "perplexity": result.perplexity,
        "bits_per_character": result.bits_per_character,
        "word_perplexity": result.word_perplexity,
        "units": result.tokens,
        "characters": result.characters,
        "words": result.words,
    }


COMMANDS = (
    generate_command.COMMAND,
    Command("score", "log probability of each line", _add_score, _score, _SCORE_EXAMPLES),
    Command(
        "perplexity",
        "how well a text is predicted",
        _add_perplexity,
        _perplexity,
        _PERPLEXITY_EXAMPLES,
        rules=(
            Needs(("--cache-size", "--cache-weight", "--cache-flatness"), ("--cache",)),
            Needs(("--dynamic-rate", "--dynamic-decay", "--dynamic-steps"), ("--dynamic",)),
        ),
    ),
    fill_command.COMMAND,
    suggest_command.COMMAND,
)
