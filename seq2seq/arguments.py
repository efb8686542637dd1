"""Checks of what a caller of Python gave, whatever the annotations say.

Each raises UsageError, which names the argument, what was found and what was expected. Numbers of
numpy count as numbers, its truth values as truth values; truth values are no numbers, as which they
would pass for 0 and 1, and nothing else is a truth value: "no" would pass for True.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any, TypeVar

from seq2seq.errors import UsageError

Kind = TypeVar("Kind")


def check_text(name: str, text: object) -> None:
    if not isinstance(text, str):
        raise UsageError(f"{name} is a {type(text).__name__}; expected str")


def listed(name: str, values: object, items: str = "str") -> list[Any]:
    """``values`` as a list, of whatever it holds; a generator is read once. One text is refused,
    which would be taken letter by letter."""
    if isinstance(values, (str, bytes, bytearray)):
        raise UsageError(f"{name} is one text; expected a list of {items}")
    if isinstance(values, Mapping) or not isinstance(values, Iterable):
        raise UsageError(f"{name} is a {type(values).__name__}; expected a list of {items}")
    try:
        return list(values)
    except TypeError:  # such as an array of no dimension, which says that it can be gone through
        raise UsageError(
            f"{name} is a {type(values).__name__}; expected a list of {items}"
        ) from None


def listed_texts(name: str, values: object, one: str = "text", first: int = 1) -> list[str]:
    """A list of texts; ``one`` is what each is called, counted from ``first``."""
    texts = listed(name, values)
    for number, text in enumerate(texts, start=first):
        check_text(f"{one} {number}", text)
    return texts


def check_whole(name: str, value: object, least: int | None = None, most: int | None = None) -> int:
    """The value as Python's own int."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or not _within(value, least, most):
        raise UsageError(f"{name} is {value!r}; expected a whole number{_range(least, most)}")
    return int(value)  # type: ignore[call-overload]  # it is Integral


def check_number(
    name: str, value: object, least: float | None = None, most: float | None = None
) -> None:
    """NaN and infinite numbers are refused, too."""
    finite = is_number(value) and value not in (float("inf"), -float("inf"))
    if not finite or not _within(value, least, most):
        raise UsageError(f"{name} is {value!r}; expected a number{_range(least, most)}")


def is_number(value: object) -> bool:
    """Whether it is a number and not NaN."""
    return not isinstance(value, bool) and isinstance(value, Real) and value == value


def check_truth(**values: object) -> None:
    """Each value, by its name, is True or False."""
    for name, value in values.items():
        of_numpy = str(getattr(value, "dtype", "")) == "bool" and not getattr(value, "shape", ())
        if not isinstance(value, bool) and not of_numpy:
            raise UsageError(f"{name} is {value!r}; expected True or False")


def given_or(name: str, given: Any, default: Kind) -> Kind:
    """``given``, of the kind of ``default``, which stands where it is None."""
    return default if given is None else check_kind(name, given, type(default))


def check_kind(name: str, given: Any, kind: type[Kind]) -> Kind:
    if not isinstance(given, kind):
        raise UsageError(f"{name} is a {type(given).__name__}; expected a {kind.__name__}")
    return given


def check_path(name: str, path: object) -> str:
    """The path as text. What no name of a file can hold is refused: a null character, and half a
    character (a lone surrogate)."""
    if not isinstance(path, (str, os.PathLike)):
        raise UsageError(
            f"{name} is a {type(path).__name__}; expected the path of a file or folder"
        )
    text = os.fspath(path)
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise UsageError(f"{name} is {text!a}: half a character; expected Unicode") from None
    if "\0" in os.fsdecode(text):
        raise UsageError(
            f"{name} is {text!a}: a null character; expected the path of a file or folder"
        )
    return os.fsdecode(text)


def _within(value: Any, least: float | None, most: float | None) -> bool:
    return (least is None or value >= least) and (most is None or value <= most)


def _range(least: float | None, most: float | None) -> str:
    if least is None:
        return ""
    return f" of at least {least:,}" if most is None else f" from {least:,} to {most:,}"
