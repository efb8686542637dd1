"""The model card of a captioning model."""

from __future__ import annotations

from typing import Any

from seq2seq.config.images import ImageEncoderConfig
from seq2seq.saved.card import check_card, listed_scores, table, usage, write_card
from seq2seq.tasks.captioning.config import CaptioningConfig

_USAGE = usage(
    "Captioner",
    "captioner",
    'print(captioner.caption(["photo.jpg"], beam_size=5)[0].text)',
    "seq2seq caption MODEL photo.jpg",
)


def caption_card(
    config: CaptioningConfig, parameters: int, card: dict[str, Any] | None = None
) -> str:
    """Write the model card as Markdown with the YAML head that the hub reads.

    ``card`` is what the configuration does not know (keys: ``seq2seq.saved.card.CARD_KEYS``);
    ``scores`` are lines of text, one a score. Raises UsageError for an unknown key in it.
    """
    card, data, decoder = check_card(card), config.data, config.model.decoder
    attention = "no" if decoder.attention == "none" else decoder.attention.replace("_", " ")
    head = {
        "pipeline_tag": "image-to-text",
        "tags": ["image-captioning", "recurrent", "sequence-to-sequence"],
    }
    rows = {
        "data": card.get("data") or data.train or "not recorded",
        "encoder": _encoder(config.model.encoder),
        "images": f"{data.image_size} x {data.image_size} pixels",
        "decoder": f"{decoder.cell}, {decoder.layers} x {decoder.hidden_size}, "
        f"{attention} attention",
        "parameters": f"{parameters:,}",
        "units": config.units.kind,
        "seed": config.seed,
        "training": card.get("training"),
    }
    return write_card(
        head,
        "Image captioning",
        card,
        "Describes an image in a sentence: an image encoder and a recurrent decoder.",
        table(rows),
        listed_scores(card),
        _USAGE,
        data=data,
    )


def _encoder(encoder: ImageEncoderConfig) -> str:
    return {
        "residual": f"residual CNN, {' + '.join(map(str, encoder.blocks))} blocks of "
        f"{', '.join(map(str, encoder.widths))} channels",
        "timm": f"{encoder.backbone} of timm{', frozen' if encoder.frozen else ''}",
        "features": f"features computed beforehand, {encoder.size} numbers each",
        "constant": "none: the same vectors for every image",
    }[encoder.kind]
