"""``seq2seq data``: bring the data of a recipe into ``data/``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from seq2seq.command_line.command import Command
from seq2seq.command_line.options import folder
from seq2seq.command_line.rules import Needs

_EXAMPLES = """\
  seq2seq data                                   what there is
  seq2seq data multi30k                          into data/multi30k/
  SEQ2SEQ_DATA=FOLDER seq2seq data multi30k      from a folder, or the URL of a mirror

Each file is checked against its sha256 and written only when it is right. A folder or mirror may
hold SET/FILE, or files as in their repositories: OWNER/NAME/COMMIT/PATH, or OWNER/NAME/PATH. Sets
that are no public files as they stand say how to bring them.
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="SET", nargs="?", help="left out: lists the sets")
    parser.add_argument(
        "--output", metavar="DIR", type=folder, default=Path("data"), help="(default: data)"
    )


def _run(options: argparse.Namespace) -> int:
    from seq2seq.public_data import SETS, fetch

    if options.name is None:
        for name, one in SETS.items():
            brought = "" if one.files else " (to be brought by hand)"
            print(f"{name:16} {one.holds}{brought}")
        return 0
    folder = fetch(
        options.name, options.output, tell=lambda line: print(line, file=sys.stderr, flush=True)
    )
    print(folder)
    return 0


COMMAND = Command(
    "data",
    "bring the data of a recipe",
    _add_options,
    _run,
    _EXAMPLES,
    rules=(Needs(("--output",), ("SET",)),),
)
