"""The README.md of a saved model: what it is, how it was made, what it scores, how to use it."""

from __future__ import annotations

import re
from typing import Any

import yaml

from seq2seq.config import CaptioningConfig, Config, LanguageConfig
from seq2seq.errors import UsageError
from seq2seq.evaluation import Score, Scores

CARD_KEYS = ("title", "data", "test_set", "scores", "training", "license", "notes")


def model_card(config: Config, parameters: int, card: dict[str, Any] | None = None) -> str:
    """Write the model card as Markdown with the YAML head that the hub reads.

    Args:
        config: of the training run; gives the languages, the data, the seed and the shape.
        parameters: number of weights.
        card: what the configuration does not know; every key may be left out.
            ``title``: heading; ``data``: a sentence on the training data; ``test_set``: what the
            scores were measured on; ``scores``: what ``seq2seq.evaluation.score`` returned;
            ``training``: a sentence on time, steps, machine; ``license``: the identifier of a
            licence; ``notes``: Markdown put at the end.

    Raises:
        UsageError: an unknown key in ``card``.
    """
    card = _checked(card)
    source, target = config.data.source, config.data.target
    sections = [
        _front_matter(config, card.get("license")),
        f"# {card.get('title') or f'Translation {source} to {target}'}",
        f"Translates `{source}` into `{target}` with a recurrent encoder-decoder.",
        _facts(config, parameters, card),
        _score_table(card.get("scores") or {}, card.get("test_set") or config.data.test),
        _usage(),
        str(card.get("notes") or ""),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def language_card(
    config: LanguageConfig, parameters: int, card: dict[str, Any] | None = None
) -> str:
    """The same for a language model; ``test_set`` and ``scores`` are not used."""
    card, data, model = _checked(card), config.data, config.model
    rows = {
        "data": card.get("data") or data.hub or data.train or "not recorded",
        "model": f"{model.cell}, {model.layers} x {model.hidden_size}",
        "parameters": f"{parameters:,}",
        "units": config.units.kind,
        "seed": config.seed,
        "training": card.get("training"),
    }
    values = {
        "library_name": "seq2seq",
        "pipeline_tag": "text-generation",
        "tags": ["text-generation", "recurrent", "language-model"],
    }
    sections = [
        _yaml_head(values, card.get("license")),
        f"# {card.get('title') or 'Text generation'}",
        "A recurrent language model: generates text unit by unit, and scores text.",
        _table(rows),
        _GENERATION_USAGE,
        str(card.get("notes") or ""),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def caption_card(
    config: CaptioningConfig, parameters: int, card: dict[str, Any] | None = None
) -> str:
    """The same for a captioning model; ``scores`` are lines of text, one a score."""
    card, data, model = _checked(card), config.data, config.model
    encoder, decoder = model.encoder, model.decoder
    reads = {
        "residual": f"residual CNN, {' + '.join(map(str, encoder.blocks))} blocks of "
        f"{', '.join(map(str, encoder.widths))} channels",
        "timm": f"{encoder.backbone} of timm{', frozen' if encoder.frozen else ''}",
        "features": f"features computed beforehand, {encoder.size} numbers each",
        "constant": "none: the same vectors for every image",
    }
    attention = "no" if decoder.attention == "none" else decoder.attention.replace("_", " ")
    rows = {
        "data": card.get("data") or data.train or "not recorded",
        "encoder": reads[encoder.kind],
        "images": f"{data.image_size} x {data.image_size} pixels",
        "decoder": f"{decoder.cell}, {decoder.layers} x {decoder.hidden_size}, "
        f"{attention} attention",
        "parameters": f"{parameters:,}",
        "units": config.units.kind,
        "seed": config.seed,
        "training": card.get("training"),
    }
    values = {
        "library_name": "seq2seq",
        "pipeline_tag": "image-to-text",
        "tags": ["image-captioning", "recurrent", "sequence-to-sequence"],
    }
    scores = ""
    if card.get("scores"):
        where = f"On `{card['test_set']}`.\n\n" if card.get("test_set") else ""
        lines = "\n".join(f"- {line}" for line in card["scores"])
        scores = f"## Scores\n\n{where}{lines}"
    sections = [
        _yaml_head(values, card.get("license")),
        f"# {card.get('title') or 'Image captioning'}",
        "Describes an image in a sentence: an image encoder and a recurrent decoder.",
        _table(rows),
        scores,
        _CAPTION_USAGE,
        str(card.get("notes") or ""),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _checked(card: dict[str, Any] | None) -> dict[str, Any]:
    unknown = [key for key in card or {} if key not in CARD_KEYS]
    if unknown:
        raise UsageError(f"model card: unknown key '{unknown[0]}'; known: {', '.join(CARD_KEYS)}")
    return card or {}


def _front_matter(config: Config, licence: str | None) -> str:
    names = [config.data.source, config.data.target]
    values: dict[str, Any] = {
        "library_name": "seq2seq",
        "pipeline_tag": "translation",
        "tags": ["translation", "recurrent", "sequence-to-sequence"],
    }
    # The hub takes codes only; a column may well be called anything else.
    codes = [name for name in names if re.fullmatch(r"[a-z]{2,3}", name)]
    if codes:
        values["language"] = codes
    return _yaml_head(values, licence)


def _yaml_head(values: dict[str, Any], licence: str | None) -> str:
    if licence:
        values["license"] = licence
    return f"---\n{yaml.safe_dump(values, sort_keys=True, allow_unicode=True)}---"


def _facts(config: Config, parameters: int, card: dict[str, Any]) -> str:
    encoder, decoder = config.model.encoder, config.model.decoder
    directions = "bidirectional " if encoder.bidirectional else ""
    attention = "no" if decoder.attention == "none" else decoder.attention.replace("_", " ")
    subwords = f"SentencePiece {config.tokenizer.kind}, "
    subwords += "one vocabulary for both" if config.tokenizer.shared else "one for each language"
    rows = {
        "data": card.get("data") or config.data.hub or config.data.train or "not recorded",
        "encoder": f"{directions}{encoder.cell}, {encoder.layers} x {encoder.hidden_size}",
        "decoder": f"{decoder.cell}, {decoder.layers} x {decoder.hidden_size}, "
        f"{attention} attention",
        "parameters": f"{parameters:,}",
        "subwords": subwords,
        "seed": config.seed,
    }
    rows["training"] = card.get("training")
    return _table(rows)


def _table(rows: dict[str, Any]) -> str:
    lines = [f"| {name} | {_cell(text)} |" for name, text in rows.items() if text is not None]
    return "\n".join(["| | |", "| --- | --- |", *lines])


def _score_table(scores: Scores, test_set: str | None) -> str:
    if not scores:
        return ""
    head = "## Scores\n\n"
    if test_set:
        head += f"On `{test_set}`.\n\n"
    rows = [_score_row(one) for one in scores.values()]
    table = ["| score | value | 95% interval | signature |", "| --- | --- | --- | --- |", *rows]
    return head + "\n".join(table)


def _score_row(one: Score) -> str:
    known = one.low is not None and one.high is not None
    interval = f"{one.low:.2f} to {one.high:.2f}" if known else ""
    return f"| {one.name} | {one.value:.2f} | {interval} | `{_cell(one.signature)}` |"


def _cell(text: object) -> str:
    """A table cell holds no bare bar and no line break."""
    return " ".join(str(text).split()).replace("|", "\\|")


def _usage() -> str:
    return """## Use

```python
from seq2seq import Translator

translator = Translator.from_pretrained("path or hub name of this model")
print(translator.translate(["..."], beam_size=5))
```

```sh
seq2seq translate MODEL < input.txt > output.txt
```"""


_GENERATION_USAGE = """## Use

```python
from seq2seq import TextGenerator

generator = TextGenerator.from_pretrained("path or hub name of this model")
for text in generator.generate("Once", stream=True):
    print(text, end="", flush=True)
```

```sh
seq2seq generate MODEL --prompt "Once"
```"""


_CAPTION_USAGE = """## Use

```python
from seq2seq import Captioner

captioner = Captioner.from_pretrained("path or hub name of this model")
print(captioner.caption(["photo.jpg"], beam_size=5)[0].text)
```

```sh
seq2seq caption MODEL photo.jpg
```"""
