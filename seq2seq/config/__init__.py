"""The configuration of a run: dataclasses that mirror the YAML file, key by key.

``task`` says what is trained, and with it which keys there are (``translation.py``,
``generation.py``, ``captioning.py``). A YAML file may leave out any key that has a default. Unknown
keys and wrong types are errors that name the key, what was found, what was expected and, for a
misspelling, the nearest name. Keys are overridden on the command line by their dotted names
(``--training.max_steps 2000``).

Torch is not imported here, so that ``seq2seq --help`` answers at once.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from seq2seq.config import captioning, generation, translation
from seq2seq.config.captioning import (
    AugmentationConfig,
    CaptionDataConfig,
    CaptionDecoderConfig,
    CaptionDecodingConfig,
    CaptioningConfig,
    CaptionModelConfig,
    CaptionTrainingConfig,
    CaptionUnitsConfig,
    ImageEncoderConfig,
)
from seq2seq.config.checks import MAX_THREADS, Cell
from seq2seq.config.generation import (
    GenerationConfig,
    LanguageConfig,
    LanguageModelConfig,
    LanguageTrainingConfig,
    TextConfig,
    UnitsConfig,
)
from seq2seq.config.reading import build, read_yaml, set_dotted
from seq2seq.config.translation import (
    Attention,
    Config,
    DataConfig,
    DecoderConfig,
    DecodingConfig,
    EncoderConfig,
    FilterConfig,
    ModelConfig,
    TokenizerConfig,
    TrainingConfig,
)
from seq2seq.errors import UsageError

__all__ = [
    "MAX_THREADS",
    "TASKS",
    "AnyConfig",
    "Attention",
    "AugmentationConfig",
    "CaptionDataConfig",
    "CaptionDecoderConfig",
    "CaptionDecodingConfig",
    "CaptionModelConfig",
    "CaptionTrainingConfig",
    "CaptionUnitsConfig",
    "CaptioningConfig",
    "Cell",
    "Config",
    "DataConfig",
    "DecoderConfig",
    "DecodingConfig",
    "EncoderConfig",
    "FilterConfig",
    "GenerationConfig",
    "ImageEncoderConfig",
    "LanguageConfig",
    "LanguageModelConfig",
    "LanguageTrainingConfig",
    "ModelConfig",
    "TextConfig",
    "TokenizerConfig",
    "TrainingConfig",
    "UnitsConfig",
    "config_from_dict",
    "config_to_dict",
    "load_config",
]

AnyConfig = Config | LanguageConfig | CaptioningConfig

# task -> its keys, and the check of their values
TASKS = {
    "translation": (Config, translation.check),
    "generation": (LanguageConfig, generation.check),
    "captioning": (CaptioningConfig, captioning.check),
}


def load_config(path: str | Path, overrides: dict[str, str] | None = None) -> AnyConfig:
    """Read a YAML file; ``overrides`` maps dotted keys to values as YAML text.

    Raises UsageError for a missing or malformed file, an unknown key or a wrong type.
    """
    path = Path(path)
    values = read_yaml(path)
    for key, text in (overrides or {}).items():
        set_dotted(values, key, text)
    return config_from_dict(values, where=str(path))


def config_from_dict(values: dict[str, Any], where: str = "config") -> AnyConfig:
    """Build and check a configuration from plain dicts (as read from YAML or JSON)."""
    task = values.get("task", "translation")
    if not isinstance(task, str) or task not in TASKS:
        raise UsageError(f"{where}: 'task' is {task!r}; expected one of: {', '.join(TASKS)}")
    kind, check = TASKS[task]
    config = build(kind, values, where, "")
    check(config, where)
    return config


def config_to_dict(config: AnyConfig) -> dict[str, Any]:
    return dataclasses.asdict(config)
