"""``seq2seq train``: train a model of any task as a YAML file says."""

from __future__ import annotations

import argparse
from typing import Any

from seq2seq.command_line.command import Command
from seq2seq.command_line.rules import Needs
from seq2seq.environment import process_rank

_EXAMPLES = """\
Any key of the configuration can be given as an option by its dotted name:
  seq2seq train recipes/translation/multi30k.yaml --training.max_steps 2000 --seed=2

A run that was stopped (Ctrl-C, kill, power) goes on where it was with --resume; on other
data, libraries, precision, backend or search only with --allow-changes, too.
"""


def _keys() -> str:
    """Every key of every task with its default; those that all tasks have stand once."""
    from seq2seq import registry
    from seq2seq.command_line.overrides import dotted
    from seq2seq.config import config_to_dict

    defaults = {
        name: dict(dotted(config_to_dict(registry.load(task.config)())))
        for name, task in registry.TASKS.items()
    }
    first, *others = defaults.values()
    shared = [key for key in first if all(first[key] == other.get(key, ()) for other in others)]
    lines = ["keys of the configuration, and their defaults; the recipes explain each:"]
    lines += ["", "  every task", *_table(first, shared)]
    for name, values in defaults.items():
        own = [key for key in values if key not in shared]
        recipe = f"recipes/{name}/{registry.TASKS[name].recipe}.yaml"
        lines += ["", f"  task: {name}  (seq2seq init {name}, or {recipe})", *_table(values, own)]
    return "\n".join(lines) + "\n"


def _table(values: dict[str, Any], keys: list[str]) -> list[str]:
    return [f"    --{key:44} {_shown(values[key])}" for key in keys if key != "task"]


def _shown(value: Any) -> str:
    """As YAML has it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG.yaml", help="the configuration of the run")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    parser.add_argument(
        "--allow-changes",
        action="store_true",
        help="with --resume: go on though data, libraries, precision, backend or search changed",
    )
    parser.add_argument("--quiet", action="store_true", help="plain lines, no progress bar")


def _run(options: argparse.Namespace) -> int:
    from seq2seq.config import load_config

    config = load_config(options.config, options.overrides)  # before torch: mistakes answer at once

    from seq2seq.training.loop import train

    directory = train(
        config,
        quiet=options.quiet,
        resume=options.resume,
        allow_changes=options.allow_changes,
    )
    if process_rank() == 0:  # of several processes one speaks
        print(f"model saved: {directory}")
    return 0


COMMAND = Command(
    "train",
    "train a model from a YAML file",
    _add_options,
    _run,
    _EXAMPLES,
    details=_keys,
    rules=(Needs(("--allow-changes",), ("--resume",)),),
)
