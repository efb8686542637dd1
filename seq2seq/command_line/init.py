"""``seq2seq init``: a configuration to begin with, with every key explained."""

from __future__ import annotations

import argparse
from pathlib import Path

from seq2seq import registry
from seq2seq.command_line.command import Command
from seq2seq.command_line.options import folder
from seq2seq.errors import RunError, UsageError

_EXAMPLES = """\
Copies the recipe of a task that explains every key, and what to do with it, into this folder:

  seq2seq init translation      multi30k.yaml, translation.md
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", choices=list(registry.TASKS), help="%(choices)s")
    parser.add_argument(
        "--output", metavar="DIR", type=folder, default=Path("."), help="(default: this folder)"
    )


def _run(options: argparse.Namespace) -> int:
    from seq2seq.recipes_folder import recipes_folder

    folder = recipes_folder() / options.task
    recipe = f"{registry.TASKS[options.task].recipe}.yaml"
    copies = {
        options.output / recipe: (folder / recipe).read_text(encoding="utf-8"),
        options.output / f"{options.task}.md": (folder / "start.md").read_text(encoding="utf-8"),
    }
    if options.output.exists() and not options.output.is_dir():
        raise UsageError(f"init: {options.output} is a file; expected a folder: give --output DIR")
    for path in copies:
        if path.exists():
            raise UsageError(f"init: {path} is there already; move it away, or give --output DIR")
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        for path, text in copies.items():
            # there is no recipes/ beside a file that was copied out of it
            path.write_text(text.replace(f"recipes/{options.task}/{recipe}", recipe), "utf-8")
            print(path)
    except OSError as error:
        raise RunError(f"init: {options.output}: cannot be written ({error.strerror})") from None
    return 0


COMMAND = Command(
    "init", "copy a configuration with every key explained", _add_options, _run, _EXAMPLES
)
