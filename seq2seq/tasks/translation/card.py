"""The model card of a translation model."""

from __future__ import annotations

import re
from typing import Any

from seq2seq.saved.card import cell, check_card, scores_section, table, usage, write_card
from seq2seq.tasks.translation.config import TranslationConfig
from seq2seq.tasks.translation.scores import Score, Scores

_USAGE = usage(
    "Translator",
    "translator",
    'print(translator.translate(["..."], beam_size=5))',
    "seq2seq translate MODEL < input.txt > output.txt",
)


def translation_card(
    config: TranslationConfig, parameters: int, card: dict[str, Any] | None = None
) -> str:
    """Write the model card as Markdown with the YAML head that the hub reads.

    Args:
        config: of the training run; gives the languages, the data, the seed and the shape.
        parameters: number of weights.
        card: what the configuration does not know (keys: ``seq2seq.saved.card.CARD_KEYS``);
            ``scores`` are what ``seq2seq.score`` returned.

    Raises:
        UsageError: an unknown key in ``card``.
    """
    card = check_card(card)
    scores = card.get("scores") or {}
    card = {"metrics": {name: one.value for name, one in scores.items()}, **card}
    source, target = config.data.source, config.data.target
    return write_card(
        _head(source, target),
        f"Translation {source} to {target}",
        card,
        f"Translates `{source}` into `{target}` with a recurrent encoder-decoder.",
        _facts(config, parameters, card),
        scores_section(_score_table(scores), card.get("test_set") or config.data.test),
        _USAGE,
        data=config.data,
    )


def _head(source: str, target: str) -> dict[str, Any]:
    values: dict[str, Any] = {
        "pipeline_tag": "translation",
        "tags": ["translation", "recurrent", "sequence-to-sequence"],
    }
    # The hub takes codes only; a column may well be called anything else.
    codes = [name for name in (source, target) if re.fullmatch(r"[a-z]{2,3}", name)]
    return {**values, "language": codes} if codes else values


def _facts(config: TranslationConfig, parameters: int, card: dict[str, Any]) -> str:
    encoder, decoder = config.model.encoder, config.model.decoder
    directions = "bidirectional " if encoder.bidirectional else ""
    attention = "no" if decoder.attention == "none" else decoder.attention.replace("_", " ")
    subwords = f"SentencePiece {config.tokenizer.kind}, "
    subwords += "one vocabulary for both" if config.tokenizer.shared else "one for each language"
    return table(
        {
            "data": card.get("data") or _data(config) or "not recorded",
            "encoder": f"{directions}{encoder.cell}, {encoder.layers} x {encoder.hidden_size}",
            "decoder": f"{decoder.cell}, {decoder.layers} x {decoder.hidden_size}, "
            f"{attention} attention",
            "parameters": f"{parameters:,}",
            "subwords": subwords,
            "seed": config.seed,
            "training": card.get("training"),
        }
    )


def _data(config: TranslationConfig) -> str | None:
    corpora = [one for one in (config.data.train, *config.data.more_train) if one]
    return config.data.hub or ", ".join(corpora)


def _score_table(scores: Scores) -> str:
    if not scores:
        return ""
    rows = [_score_row(one) for one in scores.values()]
    return "\n".join(
        ["| score | value | 95% interval | signature |", "| --- | --- | --- | --- |", *rows]
    )


def _score_row(one: Score) -> str:
    known = one.low is not None and one.high is not None
    interval = f"{one.low:.2f} to {one.high:.2f}" if known else ""
    return f"| {one.name} | {one.value:.2f} | {interval} | `{cell(one.signature)}` |"
