"""JSON in files and lines. What cannot be read is one kind of error, whatever the reason."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises ``json.JSONDecodeError`` for a text that is no JSON, and for
    one that Python cannot read: brackets nested too deeply, a number with too many digits."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise json.JSONDecodeError("brackets nested too deeply", "", 0) from None
    except ValueError as error:  # a number of more than 4,300 digits
        raise json.JSONDecodeError(str(error).split(";")[0], "", 0) from None


def begins_json(line: str) -> bool:
    """Whether the first line of a stream is one of JSON, an object or a list; no header of CSV
    begins so."""
    return line.lstrip().startswith(("{", "["))


def to_json(value: Any, *, indent: int | None = None, ascii_only: bool = False) -> str:
    """A result as JSON, for its user. JSON has no NaN and no infinity, and most readers refuse
    what Python writes for them: they become null."""
    try:
        return json.dumps(value, indent=indent, ensure_ascii=ascii_only, allow_nan=False)
    except ValueError:
        value = _finite(value)
        return json.dumps(value, indent=indent, ensure_ascii=ascii_only, allow_nan=False)


def _finite(value: Any) -> Any:
    """A copy with None where a number is not finite."""
    if isinstance(value, dict):
        return {_finite(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> Any:
    """The value that a file holds. Raises OSError where it cannot be read, ValueError where it is
    no JSON or no UTF-8."""
    return parse_json(path.read_text(encoding="utf-8"))
