"""The model card of a language model."""

from __future__ import annotations

from typing import Any

from seq2seq.saved.card import check_card, table, usage, write_card
from seq2seq.tasks.generation.config import LanguageConfig

_WRITES = usage(
    "TextGenerator",
    "generator",
    'for text in generator.generate("Once", stream=True):\n    print(text, end="", flush=True)',
    'seq2seq generate MODEL --prompt "Once"',
)
_FILLS = usage(
    "BlankFiller",
    "filler",
    'filler.fill("Let us eat at the ___ .", ["bank", "restaurant"]).candidates[0].text',
    'echo "Let us eat at the [bank|restaurant] ." | seq2seq fill MODEL',
)
_USAGE = {"forward": _WRITES, "backward": _FILLS, "both": _FILLS}
_ABOUT = {
    "forward": "A recurrent language model: generates text unit by unit, and scores text.",
    "backward": "A recurrent language model that reads text from its end: scores text, and fills "
    "blanks beside a forward model. It cannot write.",
    "both": "A recurrent model that tells each unit from those before and after it (context2vec): "
    "fills blanks. It cannot write.",
}


def language_card(
    config: LanguageConfig, parameters: int, card: dict[str, Any] | None = None
) -> str:
    """Write the model card as Markdown with the YAML head that the hub reads.

    ``card`` is what the configuration does not know (keys: ``seq2seq.saved.card.CARD_KEYS``);
    ``scores`` are not used. Raises UsageError for an unknown key in it.
    """
    card, data, model = check_card(card), config.data, config.model
    kind = "text-generation" if model.direction == "forward" else "fill-mask"
    head = {"pipeline_tag": kind, "tags": [kind, "recurrent", "language-model"]}
    rows = {
        "data": card.get("data") or data.hub or data.train or "not recorded",
        "model": f"{model.cell}, {model.layers} x {model.hidden_size}",
        "direction": None if model.direction == "forward" else model.direction,
        "parameters": f"{parameters:,}",
        "units": config.units.kind,
        "seed": config.seed,
        "training": card.get("training"),
    }
    return write_card(
        head,
        "Text generation",
        card,
        _ABOUT[model.direction],
        table(rows),
        _USAGE[model.direction],
        data=data,
    )
