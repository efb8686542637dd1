"""Checks of values that have the right type and still make no sense."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from seq2seq.errors import UsageError

MAX_THREADS = 1024  # far beyond any machine; torch crashes when it cannot start them

MAX_LAYERS = 1000  # far beyond any use; a mistyped or strangers' number must not fill the memory
MAX_SAMPLES = 1000  # of an input
MAX_MEMBERS = 100  # of a committee; each is a whole network
MAX_INIT_RANGE = 1e6  # of weights; torch draws no numbers beyond those of float32
MAX_SIZE = 2**31 - 1  # units, steps; sizes of arrays overflow beyond


_MOST = {
    **{"layers": MAX_LAYERS, "members": MAX_MEMBERS, "init_range": MAX_INIT_RANGE},
    **dict.fromkeys(("hidden_size", "embedding_size", "attention_size"), MAX_SIZE),
    **dict.fromkeys(("context", "horizon", "season", "segment"), MAX_SIZE),
}


def check_model_sizes(config: Any, where: str, prefix: str = "") -> None:
    """Raises UsageError for keys of these names, in any section, that are beyond any use."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            check_model_sizes(value, where, f"{prefix}{field.name}.")
        elif field.name in _MOST and (value or 0) > _MOST[field.name]:
            raise UsageError(
                f"{where}: '{prefix}{field.name}' is {value}; expected at most "
                f"{_MOST[field.name]:,.0f}"
            )


def check_positive(values: dict[str, float | None], where: str) -> None:
    """None: not set."""
    for key, value in values.items():
        if value is not None and not value > 0:
            raise UsageError(f"{where}: '{key}' is {value}; expected a number above 0")


def check_not_negative(values: dict[str, float], where: str) -> None:
    for key, value in values.items():
        if not value >= 0:
            raise UsageError(f"{where}: '{key}' is {value}; expected 0 or more")


def check_at_most(values: dict[str, float], most: float, where: str) -> None:
    for key, value in values.items():
        if not value <= most:
            raise UsageError(f"{where}: '{key}' is {value}; expected at most {most:,}")


def check_order(
    settings: Any, least: str, most: str, name: Callable[[str], str] = str, where: str = ""
) -> None:
    """Raises UsageError where the setting ``least`` is above the setting ``most``; ``name`` gives
    a setting the name by which the user knows it."""
    low, high = getattr(settings, least), getattr(settings, most)
    if low > high:
        raise UsageError(
            f"{where}{name(least)} is {low} and {name(most)} is {high}; expected {name(least)} to "
            f"be at most {name(most)}: lower the one, or raise the other"
        )


def check_fractions(values: dict[str, float], where: str) -> None:
    for key, value in values.items():
        if not 0 <= value < 1:
            raise UsageError(f"{where}: '{key}' is {value}; expected 0 <= value < 1")
