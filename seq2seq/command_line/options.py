"""Types of command-line options, and the options that every command on a model has."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from seq2seq.config.checks import MAX_THREADS
from seq2seq.config.paths import STANDARD_INPUT
from seq2seq.errors import UsageError
from seq2seq.plotting import PICTURES

MOST = 10**9  # of numbers that are given as options; larger ones overflow somewhere
MOST_SEED = 2**63 - 1  # what torch takes


def whole(least: int, most: int = MOST) -> Callable[[str], int]:
    """The type of an option: a whole number, ``least`` to ``most``."""

    def convert(text: str) -> int:
        # Python reads numbers of at most 4,300 digits
        value = int(text) if text.isdecimal() and len(text) < 100 else -1
        if not least <= value <= most:
            told = f"at least {least}" if value < least and len(text) < 100 else f"at most {most:,}"
            raise argparse.ArgumentTypeError(f"{text[:60]!r} is no whole number of {told}")
        return value

    return convert


def number(text: str) -> float:
    """The type of an option: a number, 0 to MOST."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= MOST:
        told = f"at most {MOST:,}" if value > MOST else "at least 0"
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is no number of {told}")
    return value


def picture(text: str) -> str:
    """The type of an option: a file to draw into, whose name says as what."""
    if not text.lower().endswith(PICTURES):
        endings = ", ".join(PICTURES)
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name of a picture that ends in one of: {endings}"
        )
    return text


def input_file(text: str) -> str:
    """The type of an option: a file to read, - for standard input."""
    return STANDARD_INPUT if text == "-" else text


def output_file(text: str) -> str | None:
    """The type of an option: a file to write in the place of standard output, which - stands for,
    too."""
    return None if text == "-" else text


def further_file(text: str) -> str:
    """The type of an option: a file to write beside what goes to standard output."""
    if text == "-":
        raise argparse.ArgumentTypeError(
            "'-' is standard output, which has other lines; expected the name of a file"
        )
    return text


def folder(text: str) -> Path:
    """The type of an option: a folder to write into."""
    if not text:
        raise argparse.ArgumentTypeError("empty; expected the name of a folder")
    return Path(text)


def add_model(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    """MODEL, a saved model."""
    parser.add_argument("model", metavar="MODEL", nargs=nargs, help="directory, or name on the hub")


def add_machine(
    parser: argparse.ArgumentParser,
    precision: str = "fp32",
    auto: bool = False,
    int8: bool = False,
) -> None:
    """--precision (by default ``precision``; with ``auto`` it may be left to the machine, with
    ``int8`` it may be that), --threads, --device"""
    group = parser.add_argument_group("machine")
    told = "auto: bf16 where the machine has it in hardware; " if auto else ""
    also = "; int8: products in 8 bits, on a CPU" if int8 else ""
    group.add_argument(
        "--precision",
        choices=[*(["auto"] if auto else []), "fp32", "bf16", *(["int8"] if int8 else [])],
        default=precision,
        help=f"{told}bf16: products in half precision{also} (default: {precision})",
    )
    group.add_argument("--threads", type=whole(1), metavar="N", help="CPU threads")
    group.add_argument(
        "--device", default="auto", metavar="NAME", help="auto, cpu, cuda or mps (default: auto)"
    )


def option_name(name: str) -> str:
    """An option as it is written, of its name in a namespace: beam_size is --beam-size."""
    return f"--{name.replace('_', '-')}"


def given(options: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """The options ``names`` that were given, by name."""
    values = {name: getattr(options, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def check_beam(options: argparse.Namespace, beam_size: int, groups: int) -> None:
    """Raises UsageError for given options of a beam that do nothing in a search of this beam size
    and so many groups, as the options or the model's configuration say, and for a beam that the
    groups cannot share."""
    from seq2seq.decoding.search_options import check_groups

    if options.diversity is not None and groups == 1:
        raise UsageError(
            f"{options.command}: --diversity goes with --beam-groups N of at least 2; without it "
            "does nothing"
        )
    if beam_size > 1:
        check_groups(beam_size, groups, option_name)
        return
    for name, off in (("length_penalty", 0), ("beam_groups", 1)):
        if (getattr(options, name) or off) != off:
            raise UsageError(
                f"{options.command}: {option_name(name)} goes with --beam-size K of at "
                "least 2; in greedy search it does nothing"
            )


def add_ensemble(
    parser: argparse.ArgumentParser,
    told: str = "models of one vocabulary as one: the mean of their probabilities",
) -> None:
    parser.add_argument(
        "--ensemble",
        metavar="MODEL",
        nargs="+",
        default=[],
        help=f"{told} (and of MODEL's)",
    )


def load_model(options: argparse.Namespace, task: str) -> Any:
    """The model that the options of ``add_model`` and ``add_machine`` name, as a user of this task
    holds it."""
    return load_models(options, task, [options.model])[0]


def load_models(options: argparse.Namespace, task: str, names: Iterable[str]) -> list[Any]:
    """The same for the models ``names``."""
    if (options.threads or 1) > MAX_THREADS:
        raise UsageError(f"--threads is {options.threads}; expected at most {MAX_THREADS}")
    import torch

    from seq2seq import registry

    if options.threads:
        torch.set_num_threads(options.threads)
    user = registry.load(registry.TASKS[task].user)
    return [user.from_pretrained(name, device=options.device) for name in names]
