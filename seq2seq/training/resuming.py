"""Whether the configuration of a resumed run is the one that it was started with."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from seq2seq.config import RunConfig, config_from_dict, config_to_dict
from seq2seq.errors import RunError, UsageError
from seq2seq.json_files import read_json
from seq2seq.training import checkpoints
from seq2seq.training.log import say

_MAY_CHANGE = set("max_epochs max_steps patience log_every threads tensorboard trackers".split())
_MAY_CHANGE |= {"test", "cache_dir"}
_MAY_DIFFER = {"output", "generation"}  # sections that do not affect training
_SEARCH = "decoding"  # validation reads it, which chooses what is kept, and rewards do; but for:
_NOT_VALIDATED = {"beam_size", "batch_size", "mirror"}


def check_same_run(path: Path, config: RunConfig, *, allow: bool = False) -> None:
    """Write the configuration, or compare it with that of the run being resumed. With ``allow``
    another search is told and taken. Raises UsageError, which names a key that differs."""
    values = config_to_dict(config)
    if path.exists() and checkpoints.exists(path.parent / "checkpoints" / "last"):
        try:
            read = read_json(path)
        except ValueError as error:
            raise RunError(f"{path}: cannot be read ({error})") from None
        before = config_to_dict(config_from_dict(read, str(path)))
        told = f"the run in {path.parent} was started with"
        # the task first: one that is another has other sections and keys
        for section in sorted(before, key=lambda name: name != "task"):
            if section in _MAY_DIFFER | {_SEARCH}:
                continue
            found = first_difference(section, before[section], values.get(section), _MAY_CHANGE)
            if found is not None:
                name, old, new = found
                raise UsageError(
                    f"--resume: '{name}' is {new!r}, {told} {old!r}; give it the same value or "
                    "another --output"
                )
        _check_search(before.get(_SEARCH, {}), values.get(_SEARCH, {}), told, allow)
    checkpoints.write_text(path, json.dumps(values, indent=1))


def _check_search(before: dict[str, Any], now: dict[str, Any], told: str, allow: bool) -> None:
    for key, old in before.items():
        if key in _NOT_VALIDATED or now.get(key) == old:
            continue
        differs = f"'{_SEARCH}.{key}' is {now.get(key)!r}, {told} {old!r}"
        if not allow:
            raise UsageError(
                f"--resume: {differs}; give it the same value or another --output, or go on all "
                "the same with --allow-changes: validation may then give other figures"
            )
        say(f"warning: {differs}; going on, as --allow-changes asks")


def first_difference(
    name: str, old: Any, new: Any, ignored: Collection[str]
) -> tuple[str, Any, Any] | None:
    """The first key of a section whose value is another, as the configuration orders them, but for
    the ``ignored`` ones: its dotted name, the value of before and the value now. ``name`` is the
    section's, "" that of a whole configuration."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return None if old == new else (name, old, new)
    for key in [*old, *(key for key in new if key not in old)]:
        if key not in ignored:
            dotted = f"{name}.{key}" if name else key
            found = first_difference(dotted, old.get(key), new.get(key), ignored)
            if found is not None:
                return found
    return None
