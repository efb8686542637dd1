"""Types of command-line options, and the options that every command on a model has."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def whole(least: int) -> Callable[[str], int]:
    """The type of an option: a whole number of at least ``least``."""

    def convert(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least {least}")
        return int(text)

    return convert


def number(text: str) -> float:
    """The type of an option: a number of at least 0."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 0")
    return value


def picture(text: str) -> str:
    """The type of an option: a file to draw into."""
    if not text.lower().endswith(".png"):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a picture that ends in .png")
    return text


def add_machine(parser: argparse.ArgumentParser) -> None:
    """--precision, --threads, --device"""
    group = parser.add_argument_group("machine")
    group.add_argument(
        "--precision",
        choices=["fp32", "bf16"],
        default="fp32",
        help="bf16: products in half precision (default: fp32)",
    )
    group.add_argument("--threads", type=whole(1), metavar="N", help="CPU threads")
    group.add_argument(
        "--device", default="auto", metavar="NAME", help="auto, cpu or cuda (default: auto)"
    )
