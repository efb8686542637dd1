"""Checks of values that have the right type and still make no sense."""

from __future__ import annotations

import dataclasses
from typing import Any

from seq2seq.errors import UsageError

MAX_THREADS = 1024  # far beyond any machine; torch crashes when it cannot start them

MAX_LAYERS = 1000  # far beyond any use; a mistyped or strangers' number must not fill the memory
MAX_SAMPLES = 1000  # of an input
MAX_MEMBERS = 100  # of a committee; each is a whole network
MAX_INIT_RANGE = 1e6  # of weights; torch draws no numbers beyond those of float32


def check_model_sizes(config: Any, where: str, prefix: str = "") -> None:
    """Raises UsageError for keys named ``layers``, ``members`` and ``init_range``, in any section,
    that are beyond any use."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            check_model_sizes(value, where, f"{prefix}{field.name}.")
        elif field.name == "layers" and value > MAX_LAYERS:
            raise UsageError(
                f"{where}: '{prefix}layers' is {value}; expected at most {MAX_LAYERS:,}"
            )
        elif field.name == "members" and value > MAX_MEMBERS:
            raise UsageError(
                f"{where}: '{prefix}members' is {value}; expected at most {MAX_MEMBERS}"
            )
        elif field.name == "init_range" and (value or 0) > MAX_INIT_RANGE:
            raise UsageError(
                f"{where}: '{prefix}init_range' is {value}; expected at most {MAX_INIT_RANGE:,.0f}"
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


def check_fractions(values: dict[str, float], where: str) -> None:
    for key, value in values.items():
        if not 0 <= value < 1:
            raise UsageError(f"{where}: '{key}' is {value}; expected 0 <= value < 1")
