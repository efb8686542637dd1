"""The model card of a tagging model."""

from __future__ import annotations

from typing import Any

from seq2seq.saved.card import check_card, listed_scores, table, usage, write_card
from seq2seq.tasks.tagging.config import TaggingConfig
from seq2seq.tasks.tagging.schemes import types_of
from seq2seq.tasks.tagging.vocabulary import Column, TaggingVocabulary

_USAGE = usage(
    "Tagger",
    "tagger",
    'tagged = tagger.tag("Words stand between spaces .")\nprint(tagged.labels, tagged.spans)',
    'echo "Words stand between spaces ." | seq2seq tag MODEL',
)
_MOST = 30  # labels that are listed


def tagging_card(
    config: TaggingConfig,
    vocabulary: TaggingVocabulary,
    parameters: int,
    card: dict[str, Any] | None = None,
) -> str:
    """Write the model card as Markdown with the YAML head that the hub reads.

    ``card`` is what the configuration does not know (keys: ``seq2seq.saved.card.CARD_KEYS``);
    ``scores`` are lines of text, one a score. Raises UsageError for an unknown key in it.
    """
    card, model = check_card(card), config.model
    encoder = model.encoder
    head = {
        "pipeline_tag": "token-classification",
        "tags": ["sequence-labelling", "recurrent", encoder.cell],
    }
    kept = len(vocabulary.words) - vocabulary.trained
    whole = vocabulary.sentence_labels
    rows = {
        "data": card.get("data") or config.data.train or "not recorded",
        **{f"labels: {column.name}": _labels(column) for column in vocabulary.columns},
        "label of the sentence": None if whole is None else _listed(whole),
        "encoder": f"{'bidirectional ' if encoder.bidirectional else ''}{encoder.cell}, "
        f"{encoder.layers} x {encoder.hidden_size}",
        "words": f"{vocabulary.trained:,} of the training text, {kept:,} more with vectors",
        "features beside the words": ", ".join(f.name for f in vocabulary.features) or None,
        "characters": model.characters.kind,
        "pretrained vectors": model.vectors or "none",
        "conditional random field": {"spans": "of spans", "all": "yes", "none": "no"}[model.crf],
        "parameters": f"{parameters:,}",
        "seed": config.seed,
        "training": card.get("training"),
    }
    return write_card(
        head,
        "Sequence labelling",
        card,
        "Labels each word of a sentence: word vectors, characters and a recurrent encoder.",
        table(rows),
        listed_scores(card),
        _USAGE,
    )


def _labels(column: Column) -> str:
    return (
        f"spans of {_listed(types_of(column.labels))}" if column.spans else _listed(column.labels)
    )


def _listed(labels: list[str]) -> str:
    more = f" and {len(labels) - _MOST} more" if len(labels) > _MOST else ""
    return ", ".join(labels[:_MOST]) + more
