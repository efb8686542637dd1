"""Checks of values that have the right type and still make no sense."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from seq2seq.errors import UsageError

if TYPE_CHECKING:
    from seq2seq.config.generation import LanguageConfig
    from seq2seq.config.translation import Config

MAX_THREADS = 1024  # far beyond any machine; torch crashes when it cannot start them

Cell = Literal["lstm", "gru", "tanh", "relu"]


def check_positive(values: dict[str, float | None], where: str) -> None:
    """None: not set."""
    for key, value in values.items():
        if value is not None and not value > 0:
            raise UsageError(f"{where}: '{key}' is {value}; expected a number above 0")


def check_not_negative(values: dict[str, float], where: str) -> None:
    for key, value in values.items():
        if not value >= 0:
            raise UsageError(f"{where}: '{key}' is {value}; expected 0 or more")


def check_fractions(values: dict[str, float], where: str) -> None:
    for key, value in values.items():
        if not 0 <= value < 1:
            raise UsageError(f"{where}: '{key}' is {value}; expected 0 <= value < 1")


def check_run(config: Config | LanguageConfig, where: str, has_validation: bool) -> None:
    """Seed, threads, and the keys of ``training`` that every task has."""
    training = config.training
    positive = "learning_rate accumulation keep_best max_epochs plateau_patience plateau_factor"
    positive += " log_every max_steps validate_every checkpoint_every patience threads"
    check_positive({f"training.{key}": getattr(training, key) for key in positive.split()}, where)
    not_negative = "clip_norm warmup_steps weight_decay final_learning_rate"
    check_not_negative(
        {f"training.{key}": getattr(training, key) for key in not_negative.split()}, where
    )
    check_fractions({"training.ema_decay": training.ema_decay}, where)
    if not 0 <= config.seed < 2**32:
        raise UsageError(f"{where}: 'seed' is {config.seed}; expected 0 to {2**32 - 1}")
    if (training.threads or 1) > MAX_THREADS:
        raise UsageError(
            f"{where}: 'training.threads' is {training.threads}; expected at most {MAX_THREADS}"
        )
    if len(training.betas) != 2 or not all(0 <= beta < 1 for beta in training.betas):
        raise UsageError(
            f"{where}: 'training.betas' is {training.betas}; expected two numbers, 0 <= number < 1"
        )
    if not has_validation and (training.patience or training.schedule == "plateau"):
        raise UsageError(
            f"{where}: 'training.patience' and 'training.schedule: plateau' go by validation; set "
            "'data.validation'"
        )
