"""Options of commands whose outputs can be drawn from a model in place of searched."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from seq2seq.command_line.options import MOST_SEED, given, number, whole
from seq2seq.errors import UsageError

DRAWN = ("--temperature", "--top-k", "--top-p", "--min-p", "--seed")
_BEAM = ("beam_size", "length_penalty", "beam_groups", "diversity")


def sampling_options(parser: argparse.ArgumentParser, outputs: str) -> None:
    """--samples, and what is drawn from; ``outputs`` such as "translations of each line"."""
    what = outputs.partition(" ")[0]
    group = parser.add_argument_group("sampling", f"Draws {what}; there is no beam then.")
    group.add_argument("--samples", type=whole(1), metavar="N", help=f"draw so many {outputs}")
    drawing_options(group)


def drawing_options(group: argparse._ActionsContainer) -> None:
    group.add_argument("--temperature", type=number, metavar="X", help="0: always the likeliest")
    group.add_argument("--top-k", type=whole(0), metavar="K", help="of the K likeliest; 0: off")
    group.add_argument("--top-p", type=number, metavar="X", help="of the likeliest X; 1: off")
    group.add_argument("--min-p", type=number, metavar="X", help="X times the likeliest; 0: off")
    group.add_argument(
        "--seed", type=whole(0, MOST_SEED), metavar="N", help="the same seed, the same text"
    )


def given_drawing(options: argparse.Namespace) -> dict[str, Any]:
    """What is drawn from, as ``sample`` and ``minimum_bayes_risk`` take it, but for the seed."""
    return given(options, ("temperature", "top_k", "top_p", "min_p"))


def check_drawing(options: argparse.Namespace, searched: Iterable[str]) -> None:
    """Raises UsageError for options of drawing where nothing is drawn, and for those of a search
    where it is: beam_size, length_penalty, beam_groups, diversity, and ``searched``, which were
    given."""
    samples = getattr(options, "samples", None)
    over = getattr(options, "mbr_over", "samples")
    draws = samples is not None or (options.mbr is not None and over != "beam")
    drawn = list(given(options, (name.lstrip("-").replace("-", "_") for name in DRAWN)))
    if not draws and drawn:
        raise UsageError(f"{_option(drawn[0])} goes with --samples N, or --mbr N over samples")
    searched = [*given(options, _BEAM), *searched]
    if draws and searched:
        option = "--samples" if samples is not None else "--mbr"
        raise UsageError(f"{_option(searched[0])} does not go with {option}")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
