"""What ``translate`` reads: lines of text, of columns (TSV), or JSON objects."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seq2seq.errors import UsageError
from seq2seq.json_files import parse_json
from seq2seq.text.characters import is_blank

COLUMNS = ("text", "prefix", "require", "forbid")
_BETWEEN = "|"  # between the phrases of a column


@dataclass(frozen=True)
class Given:
    """Texts, and what their translations begin with, must hold and must not; None: nothing."""

    texts: list[str]
    prefixes: list[str] | None = None
    require: list[list[str]] | None = None
    forbid: list[list[str]] | None = None


def column_names(text: str) -> tuple[str, ...]:
    """The type of --columns."""
    names = tuple(name.strip() for name in text.split(","))
    if "text" not in names or not set(names) <= set(COLUMNS) or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected different ones of {', '.join(COLUMNS)}, 'text' among them"
        )
    return names


def read_given(lines: list[str], first: int, options: argparse.Namespace) -> Given:
    """Lines as the options say; ``first`` is the number of the first one. Raises UsageError, with
    the line, for one of another form."""
    columns = ("text", "prefix") if options.prefix_column else options.columns
    if options.json_lines:
        every = [_object(line, f"line {at}") for at, line in enumerate(lines, start=first)]
    elif columns is not None:
        if first == 1 and lines and lines[0].split("\t") == list(columns):
            raise UsageError(
                "line 1 names the columns, which --columns does; remove it: each line is translated"
            )
        every = [_row(line, columns, f"line {at}") for at, line in enumerate(lines, start=first)]
    else:
        every = [{"text": line} for line in lines]
    prefixes = [one.get("prefix", options.prefix or "") for one in every]
    require = [[*(options.require or ()), *one.get("require", ())] for one in every]
    forbid = [[*(options.forbid or ()), *one.get("forbid", ())] for one in every]
    return Given(
        [one["text"] for one in every],
        prefixes if any(prefixes) else None,
        require if any(require) else None,
        forbid if any(forbid) else None,
    )


def _row(line: str, columns: Sequence[str], where: str) -> dict[str, Any]:
    """Columns may be left out at the end."""
    cells = line.split("\t")
    if len(cells) > len(columns):
        names = ", tab, ".join(columns)
        expected = f"{len(columns)}: {names}"
        if tuple(columns) == ("text", "prefix"):
            expected = "two: text, tab, what its translation begins with"
        option = "--prefix-column" if tuple(columns) == ("text", "prefix") else "--columns"
        raise UsageError(f"{where} has {len(cells)} columns; {option} expects {expected}")
    values: dict[str, Any] = {"text": ""}
    for name, cell in zip(columns, cells, strict=False):
        if name in ("text", "prefix"):
            values[name] = cell
        else:
            values[name] = [part.strip() for part in cell.split(_BETWEEN) if part.strip()]
    return values


def _object(line: str, where: str) -> dict[str, Any]:
    """A blank line is a blank text, as among lines of plain text."""
    if is_blank(line):
        return {"text": ""}
    try:
        values = parse_json(line)
    except ValueError as error:
        raise UsageError(f"{where}: no JSON ({error}); expected an object with 'text'") from None
    if not isinstance(values, dict) or not isinstance(values.get("text"), str):
        raise UsageError(f"{where}: expected an object with 'text', a string; found {line[:60]}")
    if unknown := sorted(values.keys() - set(COLUMNS)):
        raise UsageError(f"{where}: unknown key {unknown[0]!r}; expected: {', '.join(COLUMNS)}")
    if not isinstance(values.get("prefix", ""), str):
        raise UsageError(f"{where}: 'prefix' is no string")
    for name in ("require", "forbid"):
        phrases = values.get(name, [])
        if not isinstance(phrases, list) or not all(isinstance(one, str) for one in phrases):
            raise UsageError(f"{where}: {name!r} is {phrases!r}; expected a list of strings")
    for text in (values["text"], values.get("prefix", "")):
        if any("\ud800" <= c <= "\udfff" for c in text):
            raise UsageError(f"{where}: half a character (a lone surrogate); expected Unicode")
    return values
