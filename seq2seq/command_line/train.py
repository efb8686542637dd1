"""``seq2seq train``: train a model of any task as a YAML file says."""

from __future__ import annotations

import argparse

from seq2seq.command_line.command import Command

_EXAMPLES = """\
Any key of the configuration can be given as an option by its dotted name:
  seq2seq train recipes/translation/multi30k.yaml --training.max_steps 2000 --seed=2

A run that was stopped (Ctrl-C, kill, power) goes on where it was with --resume.
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG.yaml", help="the configuration of the run")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    parser.add_argument("--quiet", action="store_true", help="plain lines, no progress bar")


def _run(options: argparse.Namespace) -> int:
    from seq2seq.config import load_config

    config = load_config(options.config, options.overrides)  # before torch: mistakes answer at once

    from seq2seq.training.loop import train

    directory = train(config, quiet=options.quiet, resume=options.resume)
    print(f"model saved: {directory}")
    return 0


COMMAND = Command("train", "train a model from a YAML file", _add_options, _run, _EXAMPLES)
