"""``seq2seq demo``: the demo of a task, which makes its own data."""

from __future__ import annotations

import argparse
import runpy
import sys

from seq2seq import registry
from seq2seq.command_line.command import Command
from seq2seq.errors import RunError

_EXAMPLES = """\
Makes up data, trains on it, and shows what was learned; nothing is downloaded. Everything is
written under runs/, or --output DIR. What follows TASK goes to the demo:

  seq2seq demo translation                  five minutes on two CPU cores
  seq2seq demo translation --no-attention   the same with a decoder that has no attention
  seq2seq demo forecasting                  a minute: where do thrown balls go next?
  seq2seq demo generation --help
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", choices=list(registry.TASKS), help="%(choices)s")
    parser.add_argument("rest", metavar="...", nargs=argparse.REMAINDER, help="options of the demo")


def _run(options: argparse.Namespace) -> int:
    from seq2seq.recipes_folder import recipes_folder

    folder = recipes_folder() / options.task
    script = next(folder.glob("demo*.py"), None)
    if script is None:
        raise RunError(f"demo {options.task}: {folder} has none")
    held, sys.argv = sys.argv, [f"seq2seq demo {options.task}", *options.rest]
    sys.path.insert(0, str(folder))  # its modules lie beside it
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else 1 if ending.code else 0
    finally:
        sys.path.remove(str(folder))
        sys.argv = held
    return 0


COMMAND = Command("demo", "train and show a small model", _add_options, _run, _EXAMPLES)
