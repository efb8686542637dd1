"""Options of ``translate`` and ``evaluate``: models, search, sampling, conditions."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

from seq2seq.command_line.drawing import check_drawing, check_settings
from seq2seq.command_line.options import (
    add_ensemble,
    add_machine,
    check_beam,
    further_file,
    given,
    load_models,
    number,
    option_name,
    whole,
)
from seq2seq.command_line.rules import Needs, Rule
from seq2seq.config.checks import MAX_SAMPLES
from seq2seq.errors import UsageError
from seq2seq.tasks.translation.inputs import column_names

if TYPE_CHECKING:
    from seq2seq.tasks.translation.config import DecodingConfig
    from seq2seq.tasks.translation.translator import Translator

_SEARCH = (
    "beam_size",
    "batch_size",
    "length_penalty",
    "coverage_penalty",
    "no_repeat_ngram",
    "max_length_ratio",
    "max_length_extra",
    "min_length",
    "beam_groups",
    "diversity",
)


def decoding_options(parser: argparse.ArgumentParser) -> None:
    """--ensemble, the search, minimum Bayes risk, the machine."""
    add_ensemble(parser)
    group = parser.add_argument_group("search", "Left out: as in the model's configuration.")
    group.add_argument("--beam-size", type=whole(1), metavar="K", help="1: greedy search")
    group.add_argument("--batch-size", type=whole(1), metavar="N", help="sentences at a time")
    group.add_argument("--length-penalty", type=number, metavar="X", help="0: none")
    group.add_argument("--coverage-penalty", type=number, metavar="X", help="0: none")
    group.add_argument(
        "--no-repeat-ngram", type=whole(0), metavar="N", help="no N-gram twice; 0: off"
    )
    group.add_argument(
        "--max-length-ratio", type=number, metavar="X", help="longest target / source, in subwords"
    )
    group.add_argument(
        "--max-length-extra", type=whole(0), metavar="N", help="and so many subwords more"
    )
    group.add_argument(
        "--min-length", type=whole(0), metavar="N", help="shortest translation, in subwords"
    )
    group.add_argument(
        "--beam-groups",
        type=whole(1),
        metavar="N",
        help="diverse beam search: the beam in N groups that avoid each other's words",
    )
    group.add_argument(
        "--diversity", type=number, metavar="X", help="how much they do (default: 0.5)"
    )
    group.add_argument(
        "--copy-unknown",
        action="store_true",
        help="where the vocabulary has no word, the source word that attention points to",
    )
    group.add_argument(
        "--shortlist",
        action="store_true",
        help="choose among the words that translate those of the line, and frequent ones: faster, "
        "other translations as good; learn them first: seq2seq shortlist",
    )
    risk = parser.add_argument_group("minimum Bayes risk")
    risk.add_argument(
        "--mbr",
        type=whole(2, MAX_SAMPLES),
        metavar="N",
        help="of N drawn translations the one with the best expected chrF against all of them",
    )
    risk.add_argument(
        "--mbr-over",
        choices=["samples", "beam"],
        default="samples",
        help="with --mbr: beam: of the N best instead, weighted by probability (default: samples)",
    )
    add_machine(parser, int8=True)


def alignments_option(parser: argparse.ArgumentParser, each: str) -> None:
    """--alignments; ``each``: what has a line."""
    parser.add_argument(
        "--alignments",
        type=further_file,
        metavar="FILE",
        help=f"word alignments from attention: a line for each {each}, such as 0-0 1-2 2-1 "
        "(Pharaoh format, source-target)",
    )


def condition_options(parser: argparse.ArgumentParser) -> None:
    """What translations begin with, must hold, must not hold; and the form of the input."""
    group = parser.add_argument_group(
        "conditions", "What translations begin with, must hold and must not; phrases are words."
    )
    first = group.add_mutually_exclusive_group()
    first.add_argument("--prefix", metavar="TEXT", help="every translation begins with this text")
    group.add_argument(
        "--require", metavar="PHRASE", action="append", help="must be in every translation"
    )
    group.add_argument("--forbid", metavar="PHRASE", action="append", help="must be in none")
    first.add_argument(
        "--prefix-column",
        action="store_true",
        help="lines are TSV: text, tab, what its translation begins with (may be left out)",
    )
    first.add_argument(
        "--columns",
        type=column_names,
        metavar="NAMES",
        help="lines are TSV with these columns, such as text,require,forbid or text,prefix; "
        "phrases are separated by |",
    )
    first.add_argument(
        "--json-lines",
        action="store_true",
        help='lines are JSON: {"text": ..., "prefix": ..., "require": [...], "forbid": [...]}; '
        "a blank line is a blank text",
    )


# Options of ``decoding_options`` that say something about others of them.
DECODING_RULES: tuple[Rule, ...] = (Needs(("--mbr-over",), ("--mbr N",)),)
# All that MODEL is to do, where translations are given instead.
DECODING = (
    *("--ensemble", *map(option_name, _SEARCH), "--copy-unknown", "--shortlist"),
    *("--mbr", "--mbr-over", "--precision", "--threads", "--device"),
)


def check_options(options: argparse.Namespace) -> None:
    """Raises UsageError for options of ``translate`` that do not go together."""
    searched = list(given(options, ("prefix", "columns", "require", "forbid")))
    searched += ["n_best"] * (options.n_best > 1)
    for name in ("prefix_column", "json_lines"):
        searched += [name] * getattr(options, name)
    searched += list(given(options, ("attention_plot", "alignments")))
    check_drawing(options, [*searched_options(options), *searched])
    if options.mbr is not None and (options.attention_plot or options.alignments):
        raise UsageError("--attention-plot and --alignments do not go with --mbr")
    if options.split_sentences:
        shaped = list(given(options, ("prefix", "columns", "samples", "alignments")))
        shaped += list(given(options, ("attention_plot", "require", "forbid")))
        shaped += ["n_best"] * (options.n_best > 1)
        for name in ("prefix_column", "json_lines", "json", "scores"):
            shaped += [name] * getattr(options, name)
        if shaped:
            raise UsageError(
                f"{option_name(shaped[0])} does not go with --split-sentences: it would be of "
                "sentences, not of lines"
            )


def searched_options(options: argparse.Namespace) -> list[str]:
    """Options of translation's search that were given and do nothing where it is drawn."""
    return [*given(options, ("coverage_penalty",)), *["copy_unknown"] * options.copy_unknown]


def models(options: argparse.Namespace) -> list[str]:
    """MODEL and those of --ensemble."""
    return [name for name in (options.model, *options.ensemble) if name is not None]


def load_translator(options: argparse.Namespace) -> Translator:
    """MODEL, or the ensemble of it and those of --ensemble."""
    from seq2seq.tasks.translation.translator import Translator

    names = models(options)
    if not names:
        raise UsageError(
            f"{options.command}: the following arguments are required: MODEL "
            "(or --ensemble A B ...)"
        )
    translators = load_models(options, "translation", names)
    translator = Translator.ensemble(translators) if options.ensemble else translators[0]
    if options.copy_unknown and translator.target_tokenizer.spells_all:
        raise UsageError(
            f"{options.command}: --copy-unknown does nothing here: the model's vocabulary spells "
            "every letter ('tokenizer.byte_fallback'), so no word is unknown; leave it out"
        )
    if options.shortlist:
        translator = translator.with_shortlist()
    return translator.in_int8() if options.precision == "int8" else translator


def search_settings(options: argparse.Namespace, translator: Translator) -> DecodingConfig:
    """The settings of the model's configuration, with those of the options in their place. Raises
    UsageError for options that do nothing in such a search."""
    from seq2seq.tasks.translation.config import check_lengths

    settings = dataclasses.replace(translator.config.decoding, **given(options, _SEARCH))
    if options.mbr is not None and options.mbr_over == "beam" and options.beam_size is None:
        settings = dataclasses.replace(settings, beam_size=max(settings.beam_size, options.mbr))
    check_lengths(settings, option_name)
    check_beam(options, settings.beam_size, settings.beam_groups)
    check_settings(options, settings.beam_size, settings.min_length)
    return settings
