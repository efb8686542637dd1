"""Characters that are not what they seem: letters that show nothing, SentencePiece's own space."""

from __future__ import annotations

import unicodedata

SPACE_MARK = "\u2581"  # stands for a space inside SentencePiece
# Stands for U+2581 of a text inside SentencePiece: one of the code points that Unicode keeps free
# of characters for ever.
_MARK_OF_TEXT = "\ufdd0"
_TO_INNER = str.maketrans({_MARK_OF_TEXT: "\N{REPLACEMENT CHARACTER}", SPACE_MARK: _MARK_OF_TEXT})

# Letters and marks without a shape: fillers of Hangul, Khmer's inherent vowels, the grapheme
# joiner, Braille without a dot. Variation selectors are below.
_SHAPELESS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")


def is_blank(text: str) -> bool:
    """Whether nothing of a text can be seen: white space, control and format characters (U+200B,
    U+FEFF, U+2060, U+00AD, U+200E, ...) and letters without a shape alone."""
    return not text or text.isspace() or all(map(_unseen, text))


def _unseen(character: str) -> bool:
    return (
        character.isspace()
        or character in _SHAPELESS
        or "\ufe00" <= character <= "\ufe0f"
        or "\U000e0100" <= character <= "\U000e01ef"
        or unicodedata.category(character) in ("Cf", "Cc")
    )


def to_subwords(text: str) -> str:
    """A text as SentencePiece is given it: its U+2581 are no spaces there."""
    return text if text.isascii() else text.translate(_TO_INNER)


def from_subwords(text: str) -> str:
    """Undoes ``to_subwords``."""
    return text.replace(_MARK_OF_TEXT, SPACE_MARK)
