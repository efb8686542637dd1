"""One command of ``seq2seq``, as the command line lists and runs it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from seq2seq.command_line.rules import Rule


@dataclass(frozen=True)
class Command:
    """``run`` gets the parsed options and returns the exit status; nothing heavy is imported
    before it is called."""

    name: str
    summary: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    examples: str = ""  # shown below the options in --help
    details: Callable[[], str] | None = None  # shown below them, made for --help
    rules: tuple[Rule, ...] = ()  # options that do nothing without, or beside, others
