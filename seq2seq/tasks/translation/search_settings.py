"""The settings of a search, and what they may be."""

from __future__ import annotations

import dataclasses
from typing import Any

from seq2seq.decoding.search_options import check_settings
from seq2seq.tasks.translation.config import DecodingConfig, check_lengths

_LEAST: dict[str, float] = {
    "beam_size": 1,
    "batch_size": 1,
    "length_penalty": 0.0,
    "coverage_penalty": 0.0,
    "no_repeat_ngram": 0,
    "max_length_ratio": 0.0,
    "max_length_extra": 0,
    "min_length": 0,
    "beam_groups": 1,
    "diversity": 0.0,
}


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
    check_settings(settings, _LEAST)
    check_lengths(settings)
    return settings
