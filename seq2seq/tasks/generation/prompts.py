"""Prompts and other texts as ids, and what is done about characters the model has never seen."""

from __future__ import annotations

import logging
from typing import Literal

from seq2seq.arguments import check_text
from seq2seq.errors import UsageError
from seq2seq.text.vocabulary import END, UNK, Units

_log = logging.getLogger("seq2seq")


def prompt_units(
    prompt: str,
    units: Units,
    unknown: Literal["replace", "refuse"],
    *,
    begins: bool,
    has_end: bool,
) -> list[int]:
    """The ids that the model reads for a prompt, at least one where a text ``begins`` with it: the
    document's beginning (with ``has_end``) or a line's end stands before it.

    What the model has never seen is left out, or read as <unk> where the model knows that, with a
    warning; or raises UsageError where ``unknown`` is "refuse".
    """
    check_text("prompt", prompt)
    unseen = units.unknown(prompt)
    ids = units.encode(prompt).tolist()
    if unseen:
        if unknown == "refuse":
            raise UsageError(
                f"the prompt holds what the model has never seen: {_names(unseen)}; leave it out, "
                "or set 'units.unknown: replace'"
            )
        fate = "read as <unk>" if units.knows_unknown else "left out"
        _log.warning("the prompt holds what the model has never seen; %s: %s", fate, _names(unseen))
        if not units.knows_unknown:
            ids = [unit for unit in ids if unit != UNK]
    if begins:
        ids = [END, *ids] if has_end else ids or _line_end(units)
    return ids


def stood_before(ids: list[int]) -> list[int]:
    """What of a prompt's ids was written before: not the document's beginning, which the model
    reads as an end."""
    return ids[1:] if ids[:1] == [END] else ids


def warn_unknown(unseen: list[str], units: Units) -> None:
    """Say what of a text that is scored the model has never seen."""
    if unseen and not units.knows_unknown:
        _log.warning(
            "the text holds what the model has never seen; scored as <unk>, which it never saw "
            "either: %s",
            _names(list(dict.fromkeys(unseen))),
        )


def _line_end(units: Units) -> list[int]:
    """Where nothing is given, write as after a line's end."""
    line_end = units.encode("\n").tolist()
    return line_end if line_end and line_end[-1] != UNK else [END]


def _names(unseen: list[str]) -> str:
    return ", ".join(map(repr, unseen[:10])) + (", ..." if len(unseen) > 10 else "")
