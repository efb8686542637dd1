"""Options that do nothing without others, or beside others: refused, with both named.

A command lists its rules (``Command.rules``), and ``seq2seq.cli`` checks them before the command
runs. What depends on values, or on the model, the command checks itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from seq2seq.errors import UsageError


@dataclass(frozen=True)
class Needs:
    """Each of ``options`` does nothing unless one of ``others`` is given.

    Names are written as on the command line, "--seed"; of ``others`` they may go on as they are
    to be told, "--samples N". A positional argument goes by its metavar.
    """

    options: tuple[str, ...]
    others: tuple[str, ...]

    def broken(self, given: set[str]) -> str | None:
        """What is wrong, None where nothing is; ``given`` are the names that were given."""
        if {_name(other) for other in self.others} & given:
            return None
        found = [option for option in self.options if option in given]
        told = ", or ".join(self.others)
        return f"{found[0]} goes with {told}; without it does nothing" if found else None


@dataclass(frozen=True)
class Excludes:
    """Each of ``options`` does nothing where one of ``others`` is given; names as in ``Needs``."""

    options: tuple[str, ...]
    others: tuple[str, ...]

    def broken(self, given: set[str]) -> str | None:
        found = [option for option in self.options if option in given]
        beside = [other for other in self.others if _name(other) in given]
        if not found or not beside:
            return None
        return f"{found[0]} does not go with {beside[0]}, beside which it does nothing"


Rule = Needs | Excludes


def check_rules(
    command: str,
    rules: Iterable[Rule],
    parser: argparse.ArgumentParser,
    options: argparse.Namespace,
    arguments: Sequence[str],
) -> None:
    """Raises UsageError for the first rule that ``arguments`` break; ``options`` are what the
    parser made of them."""
    given = given_names(parser, options, arguments)
    for rule in rules:
        if wrong := rule.broken(given):
            raise UsageError(f"{command}: {wrong}")


def given_names(
    parser: argparse.ArgumentParser, options: argparse.Namespace, arguments: Sequence[str]
) -> set[str]:
    """The options and arguments that were given, also those given the value of their default."""
    known = parser._option_string_actions
    before = arguments[: arguments.index("--")] if "--" in arguments else arguments
    names = {word.partition("=")[0] for word in before} & known.keys()
    given = {name for word in names for name in known[word].option_strings}
    for action in parser._actions:
        if not action.option_strings and getattr(options, action.dest, None) not in (None, []):
            given.add(str(action.metavar))
    return given


def _name(told: str) -> str:
    return told.split()[0]
