"""Errors that are the user's to mend: shown as one line, without a traceback."""

from __future__ import annotations

import reprlib
from typing import Any


class UsageError(Exception):
    """Wrong use: a mistyped option or key, a missing file, malformed input. Exit status 2."""


class RunError(Exception):
    """The run could not go on: a NaN loss, a full disk, a damaged model. Exit status 1."""


class ToldElsewhere(RunError):
    """A failure that the main process of several tells: the others end without a word."""


def shown(value: Any) -> str:
    """A value for a message: aliases of YAML can make one of a few lines billions of items long."""
    return _REPR.repr(value)


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 200
_REPR.maxlevel = 2  # of lists in lists
