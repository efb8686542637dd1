"""What a model can do, by the direction in which it reads."""

from __future__ import annotations

from seq2seq.errors import UsageError
from seq2seq.tasks.generation.config import LanguageConfig


def check_writes(config: LanguageConfig) -> None:
    """Raises UsageError for a model that does not read forward."""
    direction = config.model.direction
    if direction == "backward":
        raise UsageError(
            "the model reads texts from their end ('model.direction: backward') and cannot write; "
            "it scores texts, and fills blanks beside a forward model"
        )
    if direction == "both":
        raise UsageError(
            "the model tells each unit from both sides ('model.direction: both') and cannot write; "
            "it fills blanks: seq2seq fill"
        )


def check_scores(config: LanguageConfig, context: str = "") -> None:
    """Raises UsageError for a model that knows no probability of a text, or none after a
    context."""
    direction = config.model.direction
    if direction == "both":
        raise UsageError(
            "the model tells each unit from both sides ('model.direction: both'): it has no "
            "probability of a text; use seq2seq fill"
        )
    if context and direction == "backward":
        raise UsageError("the model reads backward: it cannot score what follows a context")
