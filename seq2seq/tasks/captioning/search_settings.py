"""The settings of a search for captions, and what they may be."""

from __future__ import annotations

import dataclasses
from typing import Any

from seq2seq.arguments import check_truth
from seq2seq.config.checks import check_order
from seq2seq.decoding.search_options import check_settings
from seq2seq.tasks.captioning.config import CaptionDecodingConfig

_LEAST: dict[str, float] = {
    "beam_size": 1,
    "batch_size": 1,
    "max_length": 0,
    "min_length": 0,
    "no_repeat_ngram": 0,
    "length_penalty": 0.0,
    "beam_groups": 1,
    "diversity": 0.0,
}


def search_settings(
    decoding: CaptionDecodingConfig, beam_size: int | None, batch_size: int | None
) -> CaptionDecodingConfig:
    """``decoding`` with the arguments that are not None in place of its own.

    Raises UsageError for a value out of range.
    """
    given = {"beam_size": beam_size, "batch_size": batch_size}
    changed: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    settings = dataclasses.replace(decoding, **changed)
    check_settings(settings, _LEAST)
    check_truth(mirror=settings.mirror)
    check_order(settings, "min_length", "max_length")
    return settings
