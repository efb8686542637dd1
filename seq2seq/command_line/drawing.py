"""Options of commands whose outputs can be drawn from a model in place of searched."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from seq2seq.command_line.options import MOST_SEED, given, number, option_name, whole
from seq2seq.config.checks import MAX_SAMPLES
from seq2seq.errors import UsageError

_DRAWING = ("temperature", "top_k", "top_p", "min_p")
DRAWN = tuple(map(option_name, (*_DRAWING, "seed")))
_BEAM = ("beam_size", "length_penalty", "beam_groups", "diversity")


def sampling_options(parser: argparse.ArgumentParser, outputs: str) -> None:
    """--samples, and what is drawn from; ``outputs`` such as "translations of each line"."""
    what = outputs.partition(" ")[0]
    told = f"Draws {what} in place of a beam search; goes with --samples or --mbr."
    group = parser.add_argument_group("sampling", told)
    group.add_argument(
        "--samples",
        type=whole(1, MAX_SAMPLES),
        metavar="N",
        help=f"draw so many {outputs}, {MAX_SAMPLES:,} at most",
    )
    drawing_options(group)


def drawing_options(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--temperature",
        type=number,
        metavar="X",
        help="0: always the likeliest (default: 1; see --mbr)",
    )
    group.add_argument("--top-k", type=whole(0), metavar="K", help="of the K likeliest; 0: off")
    group.add_argument("--top-p", type=number, metavar="X", help="of the likeliest X; 1: off")
    group.add_argument("--min-p", type=number, metavar="X", help="X times the likeliest; 0: off")
    group.add_argument(
        "--seed", type=whole(0, MOST_SEED), metavar="N", help="the same seed, the same text"
    )


def given_drawing(options: argparse.Namespace) -> dict[str, Any]:
    """What is drawn from, as ``sample`` and ``minimum_bayes_risk`` take it, but for the seed."""
    return given(options, _DRAWING)


def draws(options: argparse.Namespace) -> int | None:
    """How many outputs are drawn for each input; None where they are searched."""
    over_beam = getattr(options, "mbr_over", "samples") == "beam"  # translation has the choice
    return options.samples if options.mbr is None or over_beam else options.mbr


def check_drawing(options: argparse.Namespace, searched: Iterable[str]) -> None:
    """Raises UsageError for options of drawing where nothing is drawn, and for those of a search
    where it is: beam_size, length_penalty, beam_groups, diversity, and ``searched``, which were
    given."""
    if options.samples is not None and options.mbr is not None:
        raise UsageError("--samples does not go with --mbr, which draws samples of its own")
    number = draws(options)
    drawn = list(given(options, (*_DRAWING, "seed")))
    if number is None and drawn:
        raise UsageError(f"{option_name(drawn[0])} goes with --samples N, or --mbr N over samples")
    searched = [*given(options, _BEAM), *searched]
    if number is not None and searched:
        option = "--samples" if options.samples is not None else "--mbr"
        raise UsageError(f"{option_name(searched[0])} does not go with {option}")


def check_settings(options: argparse.Namespace, beam_size: int, min_length: int) -> None:
    """Raises UsageError for what a search or drawing would refuse, before an output is opened:
    ``min_length`` and ``beam_size`` are those of the options, or of the model's configuration."""
    from seq2seq.decoding import Sampling
    from seq2seq.decoding.drawing import check_sampling

    number = draws(options)
    if number is not None:
        check_sampling(number, Sampling(**given_drawing(options)), min_length, option_name)
    elif getattr(options, "n_best", 1) > beam_size:
        raise UsageError(f"--n-best is {options.n_best}; expected 1 to {beam_size} (--beam-size)")
