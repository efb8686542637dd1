"""Options that do nothing without others, or beside others: every rule of every command."""

from __future__ import annotations

import argparse
import itertools
import re

import pytest

from seq2seq.cli import all_commands, build_parser
from seq2seq.command_line.rules import Excludes, Needs, given_names

COMMANDS = all_commands()
PARSERS = build_parser(COMMANDS)[1]
RULES = [(name, rule) for name, command in COMMANDS.items() for rule in command.rules]


def name_of(told: str) -> str:
    return told.split()[0]


def value_for(action: argparse.Action) -> list[str]:
    """A value that the parser takes."""
    if action.nargs == 0:
        return []
    if action.choices:
        return [str(next(iter(action.choices)))]
    for value in ("2", "x.png", "x", "1,2", "text"):
        try:
            PARSERS["plot"]._get_value(action, value)
        except argparse.ArgumentError:
            continue
        return [value]
    raise AssertionError(action)


def argv(command: str, *names: str) -> list[str]:
    """A call with the options ``names`` and all that is required."""
    parser = PARSERS[command]
    words: list[str] = []
    for action in parser._actions:
        optional = action.nargs in ("?", "*")
        if not action.option_strings and (action.metavar in names or not optional):
            words += value_for(action)
    for action in parser._actions:
        if (action.required and action.option_strings) or {*action.option_strings} & {*names}:
            words += [action.option_strings[-1], *value_for(action)]
    return [command, *words]


def broken() -> list:
    cases: list = []
    for command, rule in RULES:
        if isinstance(rule, Needs):
            cases += [(command, rule, option, name_of(rule.others[0])) for option in rule.options]
        else:
            pairs = itertools.product(rule.options, rule.others)
            cases += [(command, rule, option, name_of(other)) for option, other in pairs]
    return cases


@pytest.mark.parametrize(("command", "rule", "option", "other"), broken())
def test_what_would_do_nothing_is_refused(run, command, rule, option, other):
    names = (option,) if isinstance(rule, Needs) else (option, other)
    status, out, err = run(*argv(command, *names))
    assert (status, out) == (2, "")
    assert option in err and other in err and "nothing" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(("command", "rule"), RULES)
def test_what_does_something_is_not(command, rule):
    """With any of those that it needs; and without any of those that leave it nothing to do."""
    parser = PARSERS[command]
    for option in rule.options:
        for other in rule.others if isinstance(rule, Needs) else ("",):
            words = argv(command, option, name_of(other) if other else option)[1:]
            options = parser.parse_args(words)
            assert rule.broken(given_names(parser, options, words)) is None


@pytest.mark.parametrize(("command", "rule"), RULES)
def test_rules_name_what_there_is(command, rule):
    there = {name for action in PARSERS[command]._actions for name in action.option_strings}
    there |= {str(a.metavar) for a in PARSERS[command]._actions if not a.option_strings}
    assert {*rule.options, *map(name_of, rule.others)} <= there


def test_an_option_whose_help_says_with_what_it_goes_has_a_rule():
    for command, parser in PARSERS.items():
        needs = [rule for rule in COMMANDS[command].rules if isinstance(rule, Needs)]
        for action in parser._actions:
            if found := re.match(r"with (--[\w-]+):", action.help or ""):
                assert any(
                    {*action.option_strings} & {*rule.options}
                    and found[1] in map(name_of, rule.others)
                    for rule in needs
                ), (command, action.option_strings)


def test_a_value_given_is_given_even_where_it_is_the_default():
    parser = PARSERS["perplexity"]
    words = ["m", "--cache-size=2000", "--", "--cache"]
    options = parser.parse_args(words[:2])
    assert given_names(parser, options, words) == {"MODEL", "--cache-size"}
    excluded = Excludes(("--cache-size",), ("--cache",))
    assert excluded.broken({"--cache-size"}) is None
