"""Translation, text generation and captioning with recurrent networks.

The public names are loaded when first used, so that ``import seq2seq`` (and with it the
command line's ``--help``) does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seq2seq.captioner import Caption, Captioned, Captioner
    from seq2seq.config import Config, load_config
    from seq2seq.errors import RunError, UsageError
    from seq2seq.evaluation import Score, score
    from seq2seq.generator import Generated, TextGenerator
    from seq2seq.translator import Translation, Translator

__all__ = [
    "Caption",
    "Captioned",
    "Captioner",
    "Config",
    "Generated",
    "RunError",
    "Score",
    "TextGenerator",
    "Translation",
    "Translator",
    "UsageError",
    "load_config",
    "score",
]

_HOME = {
    "Caption": "seq2seq.captioner",
    "Captioned": "seq2seq.captioner",
    "Captioner": "seq2seq.captioner",
    "Config": "seq2seq.config",
    "Generated": "seq2seq.generator",
    "RunError": "seq2seq.errors",
    "Score": "seq2seq.evaluation",
    "TextGenerator": "seq2seq.generator",
    "Translation": "seq2seq.translator",
    "Translator": "seq2seq.translator",
    "UsageError": "seq2seq.errors",
    "load_config": "seq2seq.config",
    "score": "seq2seq.evaluation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'seq2seq' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
