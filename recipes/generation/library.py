"""Text that every machine with Python has: the source of its standard library."""

from __future__ import annotations

import sysconfig
import tokenize
from pathlib import Path

# Generated tables, and tests of odd syntax: not how Python is written.
_LEFT_OUT = ("test", "tests", "idlelib", "lib2to3", "site-packages", "encodings", "pydoc_data")


def modules() -> list[Path]:
    """The modules of the standard library, in a fixed order."""
    library = Path(sysconfig.get_path("stdlib"))
    found = (path.relative_to(library) for path in library.rglob("*.py"))
    kept = (path for path in found if not set(path.parts) & set(_LEFT_OUT))
    return [library / path for path in sorted(kept)]


def source(characters: int) -> str:
    """At most so many characters of it, whole modules only; those with other letters than ASCII's
    are left out, which keeps the vocabulary small."""
    parts: list[str] = []
    size = 0
    for path in modules():
        try:
            with tokenize.open(path) as file:  # in the encoding that the module states
                text = file.read()
        except (OSError, SyntaxError, UnicodeDecodeError):
            continue
        if not text.strip() or not text.isascii() or size + len(text) > characters:
            continue
        parts.append(text.replace("\r", "").replace("\f", "").rstrip("\n") + "\n")
        size += len(parts[-1])
    return "\n".join(parts)
