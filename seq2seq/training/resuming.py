"""Whether the configuration of a resumed run is the one that it was started with."""

from __future__ import annotations

import json
from pathlib import Path

from seq2seq.config import RunConfig, config_from_dict, config_to_dict
from seq2seq.errors import RunError, UsageError
from seq2seq.json_files import read_json
from seq2seq.training import checkpoints

_MAY_CHANGE = set("max_epochs max_steps patience log_every threads tensorboard trackers".split())
_MAY_CHANGE |= {"test", "cache_dir"}
_MAY_DIFFER = {"output", "decoding", "generation"}  # sections that do not affect training


def check_same_run(path: Path, config: RunConfig) -> None:
    """Write the configuration, or compare it with that of the run being resumed."""
    values = config_to_dict(config)
    if path.exists() and checkpoints.exists(path.parent / "checkpoints" / "last"):
        try:
            read = read_json(path)
        except ValueError as error:
            raise RunError(f"{path}: cannot be read ({error})") from None
        before = config_to_dict(config_from_dict(read, str(path)))
        # the task first: one that is another has other sections and keys
        sections = [name for name in before if name not in _MAY_DIFFER]
        for section in sorted(sections, key=lambda name: name != "task"):
            old, new = before[section], values.get(section)
            if not isinstance(old, dict) or not isinstance(new, dict):
                old, new = {section: old}, {section: new}
            for key in old:
                name = key if key == section else f"{section}.{key}"
                if old[key] != new[key] and key not in _MAY_CHANGE:
                    raise UsageError(
                        f"--resume: '{name}' is {new[key]!r}, the run in {path.parent} "
                        f"was started with {old[key]!r}; give it the same value or another --output"
                    )
    checkpoints.write_text(path, json.dumps(values, indent=1))
