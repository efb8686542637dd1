"""The model card of a language model."""

from __future__ import annotations

from typing import Any

from seq2seq.saved.card import check_card, table, usage, write_card
from seq2seq.tasks.generation.config import LanguageConfig

_USAGE = usage(
    "TextGenerator",
    "generator",
    'for text in generator.generate("Once", stream=True):\n    print(text, end="", flush=True)',
    'seq2seq generate MODEL --prompt "Once"',
)


def language_card(
    config: LanguageConfig, parameters: int, card: dict[str, Any] | None = None
) -> str:
    """Write the model card as Markdown with the YAML head that the hub reads.

    ``card`` is what the configuration does not know (keys: ``seq2seq.saved.card.CARD_KEYS``);
    ``scores`` are not used. Raises UsageError for an unknown key in it.
    """
    card, data, model = check_card(card), config.data, config.model
    head = {
        "pipeline_tag": "text-generation",
        "tags": ["text-generation", "recurrent", "language-model"],
    }
    rows = {
        "data": card.get("data") or data.hub or data.train or "not recorded",
        "model": f"{model.cell}, {model.layers} x {model.hidden_size}",
        "parameters": f"{parameters:,}",
        "units": config.units.kind,
        "seed": config.seed,
        "training": card.get("training"),
    }
    return write_card(
        head,
        "Text generation",
        card,
        "A recurrent language model: generates text unit by unit, and scores text.",
        table(rows),
        _USAGE,
        data=data,
    )
