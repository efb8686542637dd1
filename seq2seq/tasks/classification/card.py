"""The model card of a classification model."""

from __future__ import annotations

from typing import Any

from seq2seq.saved.card import check_card, listed_scores, table, usage, write_card
from seq2seq.tasks.classification.config import ClassificationConfig
from seq2seq.tasks.classification.targets import Targets

_PYTHON = {
    "text": ('print(classifier.classify("some text").label)', "seq2seq classify MODEL < lines.txt"),
    "series": (
        "print(classifier.classify(values).label)  # (steps, features), NaN: not measured",
        "seq2seq classify MODEL series.csv",
    ),
    "image": (
        'print(classifier.classify("image.png").label)',
        "seq2seq classify MODEL image.png",
    ),
}
_TAGS = {"text": "text-classification", "series": "time-series", "image": "image-classification"}


def classification_card(
    config: ClassificationConfig,
    targets: Targets,
    parameters: int,
    card: dict[str, Any] | None = None,
) -> str:
    """Write the model card as Markdown with the YAML head that the hub reads.

    ``card`` is what the configuration does not know (keys: ``seq2seq.saved.card.CARD_KEYS``);
    ``scores`` are lines of text, one a score. Raises UsageError for an unknown key in it.
    """
    card, data, model = check_card(card), config.data, config.model
    head: dict[str, Any] = {"tags": [_TAGS[data.kind], "recurrent"]}
    if data.kind != "series":
        head["pipeline_tag"] = _TAGS[data.kind]
    encoder = model.encoder
    direction = (
        "both directions" if encoder.bidirectional and not encoder.decay else "one direction"
    )
    cell = "GRU-D" if encoder.decay else encoder.cell
    shown = ", ".join(targets.names[:30]) + (", ..." if len(targets.names) > 30 else "")
    rows = {
        "data": card.get("data") or data.train or "not recorded",
        "input": data.kind if data.kind != "text" else f"text, {config.units.kind}",
        "word vectors": config.units.vectors,
        "answer": {"label": "one label", "labels": "several labels", "number": "a number"}[
            data.target
        ],
        "labels": shown or None,
        "model": f"{cell}, {encoder.layers} x {encoder.hidden_size}, {direction}; "
        f"pooling: {', '.join(model.pooling)}"
        + (f"; the mean answer of {model.members} such networks" if model.members > 1 else ""),
        "parameters": f"{parameters:,}",
        "seed": config.seed,
        "training": card.get("training"),
    }
    python, command = _PYTHON[data.kind]
    return write_card(
        head,
        "Classification",
        card,
        "A recurrent network that reads a sequence and gives it a label, or a number.",
        table(rows),
        listed_scores(card),
        usage("Classifier", "classifier", python, command),
    )
