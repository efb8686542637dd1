"""The configuration of a run: dataclasses that mirror the YAML file, key by key.

``task`` says what is trained, and with it which keys there are: each task has a dataclass of its
own (``tasks/*/config.py``), built from the parts that tasks share (``training.py``, ``layers.py``,
``vocabulary.py``). A YAML file may leave out any key that has a default. Unknown keys and wrong
types are errors that name the key, what was found, what was expected and, for a misspelling, the
nearest name. Keys are overridden on the command line by their dotted names
(``--training.max_steps 2000``).

Torch is not imported here, so that ``seq2seq --help`` answers at once.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from seq2seq import registry
from seq2seq.arguments import check_path, check_text
from seq2seq.config.checks import MAX_THREADS
from seq2seq.config.layers import Attention, Cell, DecoderConfig, EncoderConfig
from seq2seq.config.paths import normal_path
from seq2seq.config.reading import as_written, build, read_yaml, set_dotted
from seq2seq.config.training import RunConfig, TrainingConfig
from seq2seq.config.vocabulary import VocabularyConfig
from seq2seq.errors import UsageError

__all__ = [
    "MAX_THREADS",
    "Attention",
    "Cell",
    "DecoderConfig",
    "EncoderConfig",
    "RunConfig",
    "TrainingConfig",
    "VocabularyConfig",
    "config_from_dict",
    "config_to_dict",
    "load_config",
]

_DEFAULT_TASK = "translation"


def load_config(path: str | Path, overrides: dict[str, str] | None = None) -> Any:
    """Read a YAML file; ``overrides`` maps dotted keys to what stands in place of their values:
    text as it is for a key that holds text, and what a number, a truth value or a list looks like
    in YAML for one of those; ``null`` and nothing at all unset a key.

    Returns the dataclass of its task, a ``RunConfig``. Raises UsageError for a missing or malformed
    file, an unknown key or a wrong type.
    """
    path = Path(normal_path(check_path("path", path)))
    overrides = _checked({} if overrides is None else overrides)
    values, written = read_yaml(path)
    task = overrides.get("task", values.get("task", _DEFAULT_TASK))
    cls = registry.load(registry.task(task, str(path)).config)
    values = as_written(cls, values, written)
    for key, text in overrides.items():
        set_dotted(cls, values, key, text)
    return config_from_dict(values, where=str(path))


def _checked(overrides: object) -> dict[str, str]:
    if not isinstance(overrides, dict):
        kind = type(overrides).__name__
        raise UsageError(f"overrides is a {kind}; expected a dict of keys and texts")
    for key, text in overrides.items():
        check_text(f"the key {key!r} of overrides", key)
        check_text(f"overrides: '{key}'", text)
    return overrides


def config_from_dict(values: dict[str, Any], where: str = "config") -> Any:
    """Build and check a configuration from plain dicts (as read from YAML or JSON)."""
    task = registry.task(values.get("task", _DEFAULT_TASK), where)
    config = build(registry.load(task.config), values, where, "")
    registry.load(task.check)(config, where)
    return config


def config_to_dict(config: Any) -> dict[str, Any]:
    """Plain dicts, as ``config_from_dict`` takes them."""
    return dataclasses.asdict(config)
