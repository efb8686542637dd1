"""The README.md of a saved model: what it is, how it was made, what it scores, how to use it.

Each task writes its own (``tasks/*/card.py``) from these parts. huggingface_hub makes the YAML at
the beginning, so that the hub shows data set and metrics of the model.
"""

from __future__ import annotations

import math
import re
from numbers import Real
from pathlib import Path
from typing import Any

from seq2seq.errors import UsageError

# What a configuration does not know; every key may be left out. ``title``: heading; ``data``: a
# sentence on the training data; ``test_set``: what the scores were measured on; ``scores``: as the
# task's card takes them; ``metrics``: the numbers among them, {metric of the hub: value};
# ``training``: a sentence on time, steps, machine; ``license``: the identifier of a licence;
# ``notes``: Markdown put at the end.
CARD_KEYS = ("title", "data", "test_set", "scores", "metrics", "training", "license", "notes")

# How the hub's metrics are written; others by their own names.
_METRICS = {
    "bleu": "BLEU",
    "chrf": "chrF2",
    "ter": "TER",
    "rouge": "ROUGE-L",
    "cider": "CIDEr-D",
    "f1": "F1",
    "wer": "WER",
    "cer": "CER",
    "mse": "MSE",
    "mae": "MAE",
}


def check_card(card: dict[str, Any] | None) -> dict[str, Any]:
    """``card``, or an empty one; raises UsageError for a key that ``CARD_KEYS`` lacks, and for
    metrics that are no numbers."""
    unknown = [key for key in card or {} if key not in CARD_KEYS]
    if unknown:
        raise UsageError(f"model card: unknown key '{unknown[0]}'; known: {', '.join(CARD_KEYS)}")
    for name, value in ((card or {}).get("metrics") or {}).items():
        if not isinstance(value, Real):
            raise UsageError(f"model card: metric '{name}' is {value!r}; expected a number")
    return card or {}


def write_card(
    head: dict[str, Any], title: str, card: dict[str, Any], *sections: str, data: Any = None
) -> str:
    """The whole card as Markdown: ``head`` is the YAML that the hub reads, ``title`` the heading
    where ``card`` has none; empty sections are left out.

    The metrics of ``card`` are put into that YAML as the hub's model index; ``data``, the
    configuration's section of that name, says which data set of the hub they are of, if any.
    """
    from huggingface_hub import ModelCardData

    hub = _hub_data(data)
    results = _results(head, title, card, data)
    values = ModelCardData(
        library_name="seq2seq",
        license=card.get("license") or head.get("license"),
        datasets=[hub] if hub else head.get("datasets"),
        metrics=list(dict.fromkeys(one.metric_type for one in results)) or head.get("metrics"),
        model_name=card.get("title") or title,
        eval_results=results or None,
        **{k: v for k, v in head.items() if k not in ("license", "datasets", "metrics")},
    )
    text = values.to_yaml().strip()
    parts = [f"---\n{text}\n---", f"# {card.get('title') or title}", *sections]
    parts.append(str(card.get("notes") or ""))
    return "\n\n".join(part for part in parts if part) + "\n"


def _results(head: dict[str, Any], title: str, card: dict[str, Any], data: Any) -> list[Any]:
    """The metrics of a card, each as huggingface_hub's EvalResult."""
    from huggingface_hub import EvalResult

    hub = _hub_data(data)
    name = str(card.get("test_set") or getattr(data, "test", None) or "unnamed")
    return [
        EvalResult(
            task_type=str(head.get("pipeline_tag") or next(iter(head.get("tags") or []), "other")),
            task_name=title,
            dataset_type=hub or _identifier(name),
            dataset_name=hub or name,
            dataset_config=getattr(data, "hub_config", None) if hub else None,
            dataset_split=name if hub else None,
            metric_type=metric,
            metric_value=float(value),
            metric_name=_METRICS.get(metric, metric.replace("_", " ")),
        )
        for metric, value in (card.get("metrics") or {}).items()
        if math.isfinite(value)  # the hub takes numbers alone
    ]


def _hub_data(data: Any) -> str | None:
    """The name of the data set on the hub that a configuration's ``data`` names."""
    name = getattr(data, "hub", None)
    return name if name and not Path(name).exists() else None


def _identifier(path: str) -> str:
    """A name such as the hub gives data sets, for a file of one: data/multi30k/test.de ->
    multi30k."""
    parts = [part for part in Path(path).parts[:-1] if part not in ("/", ".", "..", "data")]
    name = parts[-1] if parts else Path(path).name.split(".")[0]
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unnamed"


def table(rows: dict[str, Any]) -> str:
    """Two columns; rows without a value are left out."""
    lines = [f"| {name} | {cell(text)} |" for name, text in rows.items() if text is not None]
    return "\n".join(["| | |", "| --- | --- |", *lines])


def cell(text: object) -> str:
    """A table cell holds no bare bar and no line break."""
    return " ".join(str(text).split()).replace("|", "\\|")


def listed_scores(card: dict[str, Any]) -> str:
    """The section of scores that are lines of text, one a score."""
    lines = "\n".join(f"- {line}" for line in card.get("scores") or [])
    return scores_section(lines, card.get("test_set"))


def scores_section(lines: str, test_set: str | None) -> str:
    """The scores, under a heading that says what they were measured on."""
    if not lines:
        return ""
    measured = f"On `{test_set}`.\n\n" if test_set else ""
    return f"## Scores\n\n{measured}{lines}"


def usage(user: str, name: str, python: str, command: str) -> str:
    """How to use the model from Python, as the class ``user`` called ``name``, and in a shell."""
    return f"""## Use

```python
from seq2seq import {user}

{name} = {user}.from_pretrained("path or hub name of this model")
{python}
```

```sh
{command}
```"""
