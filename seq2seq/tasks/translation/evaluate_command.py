"""The command ``evaluate``."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import secrets
import sys
import time
from typing import TYPE_CHECKING

from seq2seq.command_line.command import Command
from seq2seq.command_line.drawing import DRAWN, check_drawing, drawing_options
from seq2seq.command_line.files import open_output, progress
from seq2seq.command_line.options import (
    add_model,
    further_file,
    input_file,
    whole,
)
from seq2seq.command_line.rules import Excludes, Needs
from seq2seq.errors import UsageError
from seq2seq.json_files import to_json
from seq2seq.tasks.translation.inputs import Given
from seq2seq.tasks.translation.scores import BLEU_TOKENIZERS
from seq2seq.tasks.translation.translate_command import WINDOW, translate_lines
from seq2seq.tasks.translation.translate_options import (
    DECODING,
    DECODING_RULES,
    decoding_options,
    load_translator,
    models,
    search_settings,
    searched_options,
)

if TYPE_CHECKING:
    from seq2seq.tasks.translation.scores import BleuTokenizer
    from seq2seq.tasks.translation.translator import Translator

_log = logging.getLogger("seq2seq")

_EXAMPLES = """\
  seq2seq evaluate MODEL --source test.en --reference test.de --output test.out
  seq2seq evaluate --hypotheses test.out --reference test.de
  seq2seq evaluate --hypotheses test.out --reference test.zh --tokenize zh
Several references: --reference a.de b.de
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_model(parser, nargs="?")
    parser.add_argument(
        "--source", type=input_file, metavar="FILE", help="text to translate with MODEL"
    )
    parser.add_argument(
        "--hypotheses", type=input_file, metavar="FILE", help="translations made before"
    )
    parser.add_argument(
        "--reference",
        type=input_file,
        metavar="FILE",
        nargs="+",
        required=True,
        help="good translations",
    )
    parser.add_argument(
        "--output", type=further_file, metavar="FILE", help="write the translations here"
    )
    parser.add_argument("--json", action="store_true", help="print the scores as JSON")
    parser.add_argument(
        "--metrics", nargs="+", default=["bleu", "chrf", "ter"], choices=["bleu", "chrf", "ter"]
    )
    parser.add_argument(
        "--bootstrap",
        type=whole(0),
        default=1000,
        metavar="N",
        help="resamples for the 95%% interval (default: 1000; 0: no interval)",
    )
    parser.add_argument(
        "--tokenize",
        choices=("auto", *BLEU_TOKENIZERS),
        default="auto",
        help="what BLEU counts, as sacreBLEU has it: words and marks (13a, intl), Chinese "
        "characters (zh), all characters (char), what stands between spaces (none); auto: by "
        "MODEL's target language, or 13a",
    )
    parser.add_argument("--lowercase", action="store_true", help="BLEU and chrF without case")
    decoding_options(parser)
    drawing_options(parser.add_argument_group("sampling", "Goes with --mbr."))
    parser.set_defaults(samples=None, n_best=1, alignments=None)


def _evaluate(options: argparse.Namespace) -> int:
    from seq2seq.tasks.translation.scores import (
        bleu_tokenizer,
        format_scores,
        has_few_spaces,
        score,
    )
    from seq2seq.text.files import read_lines

    _check_evaluate(options)
    path = options.source or options.hypotheses
    texts = read_lines(path)
    references = [read_lines(name) for name in options.reference]
    for name, lines in zip(options.reference, references, strict=True):
        if len(lines) != len(texts):
            raise UsageError(
                f"{path} has {len(texts)} lines, {name} has {len(lines)}; expected as many: "
                "line by line, one is the translation of the other"
            )
    counted: BleuTokenizer = "13a" if options.tokenize == "auto" else options.tokenize
    if models(options):
        translator = load_translator(options)
        if options.tokenize == "auto":
            counted = bleu_tokenizer(translator.config.data.target)
        texts = _translate_all(translator, texts, options)
    if options.tokenize == "auto" and counted == "13a" and has_few_spaces(references[0]):
        _log.warning(
            "%s: most lines hold no space, and BLEU counts words; --tokenize zh (Chinese) or char "
            "counts characters",
            options.reference[0],
        )
    scores = score(
        texts,
        references,
        metrics=options.metrics,
        bootstrap=options.bootstrap,
        tokenize=counted,
        lowercase=options.lowercase,
    )
    if options.json:
        values = {name: dataclasses.asdict(one) for name, one in scores.items()}
        print(to_json({"sentences": len(texts), "scores": values}, indent=2, ascii_only=True))
    else:
        print(format_scores(scores))
    return 0


def _check_evaluate(options: argparse.Namespace) -> None:
    by_model = bool(models(options))
    if not by_model and options.hypotheses is None:
        raise UsageError(
            "evaluate: nothing to score; give MODEL (first) with --source, or --hypotheses"
        )
    if by_model and options.hypotheses is not None:
        raise UsageError("evaluate: --hypotheses are translations already; leave out MODEL")
    if by_model and options.source is None:
        raise UsageError("evaluate: --source is missing: the text that MODEL is to translate")
    if options.hypotheses is not None and (options.source or options.output):
        raise UsageError("evaluate: --source and --output go with MODEL, not with --hypotheses")
    check_drawing(options, searched_options(options))


def _translate_all(
    translator: Translator, texts: list[str], options: argparse.Namespace
) -> list[str]:
    settings = search_settings(options, translator)
    started = time.perf_counter()
    best: list[str] = []
    size = WINDOW * settings.batch_size
    seed = secrets.randbits(32) if options.seed is None else options.seed
    with progress(len(texts), True) as advance:
        for first in range(0, len(texts), size):
            part = texts[first : first + size]
            translated = translate_lines(
                translator, Given(part), first + 1, settings, options, seed
            )
            best += [translations[0].text for translations in translated]
            advance(len(part))
    seconds = time.perf_counter() - started
    print(
        f"seq2seq: {len(texts)} sentences in {seconds:.1f} s "
        f"({len(texts) / seconds:.1f} sentences/s)",
        file=sys.stderr,
    )
    if options.output:
        with open_output(options.output) as sink:
            sink.write("".join(f"{text}\n" for text in best).encode("utf-8", "replace"))
    return best


COMMAND = Command(
    "evaluate",
    "score translations",
    _add_options,
    _evaluate,
    _EXAMPLES,
    rules=(
        Excludes((*DECODING, *DRAWN), ("--hypotheses",)),
        *DECODING_RULES,
        Needs(DRAWN, ("--mbr N over samples",)),
    ),
)
