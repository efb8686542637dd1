"""The command of the toy task."""

from __future__ import annotations

import argparse

from seq2seq.command_line.command import Command
from seq2seq.command_line.options import add_machine, add_model, load_model


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("value", type=float)
    add_machine(parser)


def _foretell(options: argparse.Namespace) -> int:
    print(f"{load_model(options, 'toy').foretell(options.value):.1f}")
    return 0


COMMANDS = (Command("foretell", "say what comes next", _add_options, _foretell),)
