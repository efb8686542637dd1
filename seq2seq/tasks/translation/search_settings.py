"""The settings of a search, and what they may be."""

from __future__ import annotations

import dataclasses
from typing import Any

from seq2seq.decoding import Sampling
from seq2seq.errors import UsageError
from seq2seq.tasks.translation.config import DecodingConfig

MAX_BEAM_SIZE = 1000  # beyond, nothing is found that would be worth the memory


def search_settings(
    decoding: DecodingConfig,
    beam_size: int | None,
    batch_size: int | None,
    length_penalty: float | None,
) -> DecodingConfig:
    """``decoding`` with the arguments that are not None in place of its own.

    Raises UsageError for a value out of range.
    """
    given: dict[str, Any] = {
        "beam_size": beam_size,
        "batch_size": batch_size,
        "length_penalty": length_penalty,
    }
    changed = {key: value for key, value in given.items() if value is not None}
    settings = dataclasses.replace(decoding, **changed)
    for key in ("beam_size", "batch_size", "beam_groups"):
        if not isinstance(getattr(settings, key), int):
            raise UsageError(f"{key} is {getattr(settings, key)!r}; expected a whole number")
    if settings.beam_size > MAX_BEAM_SIZE:
        raise UsageError(f"beam_size is {settings.beam_size}; expected at most {MAX_BEAM_SIZE}")
    least = {
        "beam_size": 1,
        "batch_size": 1,
        "length_penalty": 0,
        "coverage_penalty": 0,
        "no_repeat_ngram": 0,
        "max_length_ratio": 0,
        "max_length_extra": 0,
        "min_length": 0,
        "beam_groups": 1,
        "diversity": 0,
    }
    for key, lowest in least.items():
        value = getattr(settings, key)
        if not lowest <= value < float("inf"):
            raise UsageError(f"{key} is {value}; expected a number of at least {lowest}")
    return settings


def check_sampling(samples: int, sampling: Sampling, min_length: int) -> None:
    """Raises UsageError for a value out of range, and for a minimum length: sampling has none."""
    if not isinstance(samples, int) or not 1 <= samples <= MAX_BEAM_SIZE:
        raise UsageError(f"samples is {samples}; expected a whole number, 1 to {MAX_BEAM_SIZE}")
    if not isinstance(sampling.top_k, int) or sampling.top_k < 0:
        raise UsageError(f"top_k is {sampling.top_k}; expected a whole number of at least 0")
    temperature = sampling.temperature  # 0: the likeliest; smaller than 0.001, logits overflow
    if temperature != 0 and not 0.001 <= temperature <= 1000:
        raise UsageError(f"temperature is {temperature}; expected 0, or 0.001 to 1000")
    if not 0 < sampling.top_p <= 1:
        raise UsageError(f"top_p is {sampling.top_p}; expected more than 0, at most 1")
    if not 0 <= sampling.min_p <= 1:
        raise UsageError(f"min_p is {sampling.min_p}; expected 0 to 1")
    if min_length:
        raise UsageError(f"min_length is {min_length}; sampling has no minimum length: set it to 0")
