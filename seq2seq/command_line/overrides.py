"""Configuration keys as options of ``seq2seq train``: ``--training.max_steps 2000``."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from seq2seq.errors import UsageError


def split_overrides(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    """Part what argparse knows from the keys of the configuration.

    Done before argparse looks, which would take the value of an option it does not know for
    CONFIG.yaml.
    """
    from seq2seq import registry
    from seq2seq.config import config_to_dict

    # the keys of all tasks: CONFIG.yaml, which says which task it is, is not read yet
    defaults = [config_to_dict(registry.load(task.config)()) for task in registry.TASKS.values()]
    keys = list(dict.fromkeys("--" + key for values in defaults for key, _ in dotted(values)))
    flags = ["--resume", "--allow-changes", "--quiet", "--help"]
    rest: list[str] = []
    overrides: dict[str, str] = {}
    waiting = iter(arguments)
    for argument in waiting:
        name, equals, value = argument.partition("=")
        if not argument.startswith("--") or argument in flags:
            rest.append(argument)
        elif name in flags:
            raise UsageError(f"train: {name} takes no value; leave out {equals + value!r}")
        elif name not in keys:
            near = [key for key in keys if key.endswith("." + name[2:])]
            hint = f"unknown option {name}; did you mean {near[0]}?" if near else None
            raise UsageError(f"train: {hint or unknown_option(name, keys + flags)}")
        elif equals:
            overrides[name[2:]] = value
        else:
            following = next(waiting, None)
            if following is None or following.startswith("--"):
                raise UsageError(f"train: {name} needs a value: {name} VALUE")
            overrides[name[2:]] = following
    return rest, overrides


def dotted(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of every key of a configuration."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def unknown_option(given: str, known: list[str]) -> str:
    """The message for an argument that is not known, with the nearest one that is."""
    name = given.split("=")[0]
    if not name.startswith("-"):
        return f"unexpected argument {given!r}"
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "see --help"
    return f"unknown option {name}; {hint}"
