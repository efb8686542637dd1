"""``seq2seq completion``: a script that lets a shell complete commands, options and files."""

from __future__ import annotations

import argparse

from seq2seq.command_line.command import Command
from seq2seq.command_line.paths import FILES, FOLDERS

_EXAMPLES = """\
  seq2seq completion bash > ~/.local/share/bash-completion/completions/seq2seq
  seq2seq completion zsh > ~/.zfunc/_seq2seq         with ~/.zfunc in $fpath before compinit
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "shell", metavar="SHELL", choices=["bash", "zsh", "tcsh"], help="%(choices)s"
    )


def _run(options: argparse.Namespace) -> int:
    import shtab

    from seq2seq.cli import all_commands, build_parser

    parser, commands = build_parser(all_commands())
    for command in commands.values():
        for action in command._actions:
            if action.metavar in FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]  # where shtab looks for it
            elif action.metavar in FOLDERS:
                action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]  # as above
    print(shtab.complete(parser, shell=options.shell))
    return 0


COMMAND = Command("completion", "print completions for a shell", _add_options, _run, _EXAMPLES)
