"""Options of ``translate`` beside those of the search: sampling, and given beginnings."""

from __future__ import annotations

import argparse

from seq2seq.command_line.options import given, number, whole
from seq2seq.errors import UsageError


def sampling_options(parser: argparse.ArgumentParser) -> None:
    """--samples, and what is drawn from."""
    group = parser.add_argument_group("sampling", "Draws translations; there is no beam then.")
    group.add_argument(
        "--samples", type=whole(1), metavar="N", help="draw so many translations of each line"
    )
    group.add_argument("--temperature", type=number, metavar="X", help="0: always the likeliest")
    group.add_argument("--top-k", type=whole(0), metavar="K", help="of the K likeliest; 0: off")
    group.add_argument("--top-p", type=number, metavar="X", help="of the likeliest X; 1: off")
    group.add_argument("--min-p", type=number, metavar="X", help="X times the likeliest; 0: off")
    group.add_argument("--seed", type=whole(0), metavar="N", help="the same seed, the same text")


def check_sampling(options: argparse.Namespace) -> None:
    """Raises UsageError for options of sampling without it, and of a search with it."""
    drawn = list(given(options, ("temperature", "top_k", "top_p", "min_p", "seed")))
    if options.samples is None and drawn:
        raise UsageError(f"--{drawn[0].replace('_', '-')} goes with --samples N")
    searched = list(given(options, ("beam_size", "length_penalty", "coverage_penalty", "prefix")))
    searched += ["n_best"] * (options.n_best > 1) + ["prefix_column"] * options.prefix_column
    searched += list(given(options, ("attention_plot", "alignments")))
    if options.samples is not None and searched:
        raise UsageError(f"--{searched[0].replace('_', '-')} does not go with --samples")


def columns(
    lines: list[str], first: int, options: argparse.Namespace
) -> tuple[list[str], list[str] | None]:
    """The texts of lines, and their prefixes. Raises UsageError for lines of other columns."""
    if not options.prefix_column:
        return lines, None if options.prefix is None else [options.prefix] * len(lines)
    texts, prefixes = [], []
    for at, line in enumerate(lines, start=first):
        text, *others = line.split("\t")
        if len(others) > 1:
            raise UsageError(
                f"line {at} has {1 + len(others)} columns; --prefix-column expects two: text, "
                "tab, what its translation begins with"
            )
        texts.append(text)
        prefixes += others or [""]
    return texts, prefixes
