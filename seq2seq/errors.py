"""Errors that are the user's to mend: shown as one line, without a traceback."""

from __future__ import annotations


class UsageError(Exception):
    """Wrong use: a mistyped option or key, a missing file, malformed input. Exit status 2."""


class RunError(Exception):
    """The run could not go on: a NaN loss, a full disk, a damaged model. Exit status 1."""


class ToldElsewhere(RunError):
    """A failure that the main process of several tells: the others end without a word."""
