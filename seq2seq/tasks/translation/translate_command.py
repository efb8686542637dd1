"""The command ``translate``."""

from __future__ import annotations

import argparse
import secrets
import sys
from typing import TYPE_CHECKING, Any

from seq2seq.command_line.command import Command
from seq2seq.command_line.drawing import DRAWN, given_drawing, sampling_options
from seq2seq.command_line.files import check_input, chunks, open_input, open_output, progress
from seq2seq.command_line.options import (
    add_model,
    input_file,
    output_file,
    picture,
    whole,
)
from seq2seq.command_line.rules import Needs
from seq2seq.errors import UsageError
from seq2seq.tasks.translation.inputs import Given, read_given
from seq2seq.tasks.translation.outputs import alignment_file, output_lines, warn_of_missing
from seq2seq.tasks.translation.translate_options import (
    DECODING_RULES,
    alignments_option,
    check_options,
    condition_options,
    decoding_options,
    load_translator,
    search_settings,
)
from seq2seq.text.characters import is_blank

if TYPE_CHECKING:
    from seq2seq.tasks.translation.config import DecodingConfig
    from seq2seq.tasks.translation.translator import Translation, Translator

# Lines that are sorted by length and translated together, in batches: the more, the less padding.
WINDOW = 16

_EXAMPLES = """\
Reads lines of UTF-8 text and writes one line of text for each, always: an empty line for an
empty one. Bytes that are not UTF-8 are replaced, with a warning that names the line.

Lines written, columns separated by a tab:
  plain                 text
  --scores              score, text
  --samples N (N > 1)   as --n-best, but drawn, in the order drawn
  --n-best N (N > 1)    line number, score, text; up to N lines for each line read, best first
  --json                one object: line, source, translations (up to N, best first); each has text,
                        score, log_probability, finished, tokens, token_scores (log probability
                        of each token, and of the end where finished), and missing where a phrase
                        was required and is not there

  seq2seq translate MODEL < input.txt > output.txt
  seq2seq translate MODEL --input in.txt.gz --output out.txt --beam-size 1
  seq2seq translate MODEL --split-sentences < document.txt      lines of many sentences
  seq2seq translate MODEL --prefix-column < text-and-beginning.tsv > output.txt
  seq2seq translate MODEL --require Hund --forbid "im Schnee" < input.txt
  seq2seq translate MODEL --columns text,require,forbid < terms.tsv      phrases separated by |
  seq2seq translate MODEL --beam-size 6 --beam-groups 3 --n-best 3 < input.txt
  seq2seq translate MODEL --samples 5 --temperature 0.7 --seed 1 < input.txt
  seq2seq translate MODEL --mbr 32 --seed 1 < input.txt
  seq2seq translate --ensemble MODEL-A MODEL-B MODEL-C < input.txt > output.txt
  echo "A dog runs." | seq2seq translate MODEL --attention-plot attention.png
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_model(parser, nargs="?")
    parser.add_argument(
        "--input", type=input_file, metavar="FILE", help="read this file, not standard input"
    )
    parser.add_argument(
        "--output", type=output_file, metavar="FILE", help="write this file, not standard output"
    )
    parser.add_argument(
        "--split-sentences",
        action="store_true",
        help="split each line into sentences and put their translations together again "
        "(extra 'sentences')",
    )
    decoding_options(parser)
    sampling_options(parser, "translations of each line")
    condition_options(parser)
    parser.add_argument(
        "--n-best", type=whole(1), default=1, metavar="N", help="translations of each line"
    )
    alignments_option(parser, "translation")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--scores", action="store_true", help="write the score before the text")
    shape.add_argument("--json", action="store_true", help="JSON lines, with scores of each token")
    parser.add_argument(
        "--attention-plot",
        type=picture,
        metavar="PICTURE",
        help="heat map of the first line that is not blank",
    )
    parser.add_argument(
        "--progress",
        action="store_true",
        help="lines and lines/s on standard error, even where it is no terminal: every 10 s",
    )


def _translate(options: argparse.Namespace) -> int:
    _check_files(options)
    check_options(options)
    translator = load_translator(options)
    settings = search_settings(options, translator)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    plot = options.attention_plot
    shown = options.output is not None or not sys.stdout.isatty()
    with (
        open_input(options.input) as source,
        open_output(options.output) as sink,
        alignment_file(options.alignments) as align,
        progress(None, shown and not source.isatty(), options.progress) as advance,
    ):
        size = 1 if source.isatty() or settings.batch_size == 1 else WINDOW * settings.batch_size
        for first, lines in chunks(source, options.input or "standard input", size):
            texts = read_given(lines, first, options)
            if plot and any(not is_blank(text) for text in texts.texts):
                _plot_attention(translator, texts, first, settings, options.precision, plot)
                plot = None
            if options.split_sentences:
                sink.write(_documents(translator, lines, first, settings, options, seed))
            else:
                translated = translate_lines(translator, texts, first, settings, options, seed)
                align(translated)
                for number, (text, found) in enumerate(
                    zip(texts.texts, translated, strict=True), first
                ):
                    warn_of_missing(number, text, found)
                    line = output_lines(number, text, found, options)
                    sink.write(line.encode("utf-8", "replace"))
            sink.flush()
            advance(len(lines))
    if plot:
        raise UsageError(f"--attention-plot {plot}: every line of the input is blank")
    return 0


def _check_files(options: argparse.Namespace) -> None:
    check_input(options.input, "--input")


def translate_lines(
    translator: Translator,
    texts: Given,
    first: int,
    settings: DecodingConfig,
    options: argparse.Namespace,
    seed: int,
) -> list[list[Translation]]:
    """The translations of a window of lines, in their order: searched, drawn, or of minimum
    risk."""
    common: dict[str, Any] = {
        "decoding": settings,
        "precision": options.precision,
        "first_line": first,
    }
    drawing = given_drawing(options)
    if options.samples is not None:
        return translator.sample(
            texts.texts, samples=options.samples, **drawing, seed=seed, **common
        )
    conditions: dict[str, Any] = {
        "prefixes": texts.prefixes,
        "require": texts.require,
        "forbid": texts.forbid,
        "copy_unknown": options.copy_unknown,
    }
    if options.mbr is not None and options.mbr_over == "samples":
        return translator.minimum_bayes_risk(
            texts.texts, samples=options.mbr, **drawing, seed=seed, **common
        )
    found = translator.translate_nbest(
        texts.texts,
        n_best=options.n_best if options.mbr is None else options.mbr,
        attention=options.alignments is not None,
        **conditions,
        **common,
    )
    if options.mbr is None:
        return found
    from seq2seq.tasks.translation.mbr import by_expected_utility

    ranked = [by_expected_utility(one, by_probability=True) for one in found]
    return [one[: options.n_best] for one in ranked] if options.n_best > 1 else ranked


def _documents(
    translator: Translator,
    lines: list[str],
    first: int,
    settings: DecodingConfig,
    options: argparse.Namespace,
    seed: int,
) -> bytes:
    """Lines of many sentences, each translated into one line."""
    from seq2seq.tasks.translation.documents import by_sentences
    from seq2seq.tasks.translation.translations import one_line

    def translate(sentences: list[str]) -> list[str]:
        found = translate_lines(translator, Given(sentences), first, settings, options, seed)
        return [translations[0].text for translations in found]

    data = translator.config.data
    joined = by_sentences(lines, translate, data.source, data.target)
    written = [one_line(text) for text in joined]
    return "".join(f"{text}\n" for text in written).encode("utf-8", "replace")


def _plot_attention(
    translator: Translator,
    texts: Given,
    first: int,
    settings: DecodingConfig,
    precision: Any,
    path: str,
) -> None:
    """Draws the first text that is not blank, with what its translation begins with and holds."""
    from seq2seq.tasks.translation.plots import plot_attention

    at = next(i for i, text in enumerate(texts.texts) if not is_blank(text))
    translation = translator.translate_nbest(
        [texts.texts[at]],
        n_best=1,
        decoding=settings,
        precision=precision,
        attention=True,
        first_line=first + at,
        prefixes=None if texts.prefixes is None else texts.prefixes[at],
        require=None if texts.require is None else texts.require[at],
        forbid=None if texts.forbid is None else texts.forbid[at],
    )[0][0]
    if translation.attention is None:
        raise UsageError("--attention-plot: this model has no attention to draw")
    plot_attention(translation.attention, translation.source_tokens, translation.tokens, path)


COMMAND = Command(
    "translate",
    "translate lines of text",
    _add_options,
    _translate,
    _EXAMPLES,
    rules=(*DECODING_RULES, Needs(DRAWN, ("--samples N", "--mbr N over samples"))),
)
