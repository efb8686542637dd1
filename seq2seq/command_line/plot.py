"""``seq2seq plot``: the learning curve of a run of any task."""

from __future__ import annotations

import argparse
import os

from seq2seq.command_line.command import Command
from seq2seq.command_line.options import picture


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN_DIR", help="the 'output' of the configuration")
    parser.add_argument(
        "--output",
        type=picture,
        metavar="PICTURE",
        help="picture to write (default: RUN_DIR/learning_curve.png)",
    )


def _run(options: argparse.Namespace) -> int:
    from seq2seq.training.learning_curve import plot_learning_curve

    path = options.output or os.path.join(options.run, "learning_curve.png")
    plot_learning_curve(options.run, path)
    print(path)
    return 0


COMMAND = Command("plot", "draw the learning curve of a run", _add_options, _run)
