"""The README.md of a saved model: what it is, how it was made, what it scores, how to use it.

Each task writes its own (``tasks/*/card.py``) from these parts.
"""

from __future__ import annotations

from typing import Any

import yaml

from seq2seq.errors import UsageError

# What a configuration does not know; every key may be left out. ``title``: heading; ``data``: a
# sentence on the training data; ``test_set``: what the scores were measured on; ``scores``: as the
# task's card takes them; ``training``: a sentence on time, steps, machine; ``license``: the
# identifier of a licence; ``notes``: Markdown put at the end.
CARD_KEYS = ("title", "data", "test_set", "scores", "training", "license", "notes")


def check_card(card: dict[str, Any] | None) -> dict[str, Any]:
    """``card``, or an empty one; raises UsageError for a key that ``CARD_KEYS`` lacks."""
    unknown = [key for key in card or {} if key not in CARD_KEYS]
    if unknown:
        raise UsageError(f"model card: unknown key '{unknown[0]}'; known: {', '.join(CARD_KEYS)}")
    return card or {}


def write_card(head: dict[str, Any], title: str, card: dict[str, Any], *sections: str) -> str:
    """The whole card as Markdown: ``head`` is the YAML that the hub reads, ``title`` the heading
    where ``card`` has none; empty sections are left out."""
    if card.get("license"):
        head = {**head, "license": card["license"]}
    text = yaml.safe_dump({"library_name": "seq2seq", **head}, sort_keys=True, allow_unicode=True)
    parts = [f"---\n{text}---", f"# {card.get('title') or title}", *sections]
    parts.append(str(card.get("notes") or ""))
    return "\n\n".join(part for part in parts if part) + "\n"


def table(rows: dict[str, Any]) -> str:
    """Two columns; rows without a value are left out."""
    lines = [f"| {name} | {cell(text)} |" for name, text in rows.items() if text is not None]
    return "\n".join(["| | |", "| --- | --- |", *lines])


def cell(text: object) -> str:
    """A table cell holds no bare bar and no line break."""
    return " ".join(str(text).split()).replace("|", "\\|")


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
