"""What a word is made of, and what a sign is, as patterns of the ``regex`` library.

The vowel signs of Hindi or Thai and the accents of decomposed text (``e`` and U+0301) are
*combining marks*: they belong to the letter before them, and so do the joiners of Persian. ``\\w``
of Python's ``re`` has neither, so that words ended at them. Vocabularies that were saved before
this was known keep the old way (``combining=False`` in ``words`` and ``splitting``): they hold the
parts of such words.
"""

from __future__ import annotations

import unicodedata

# One letter, digit, number (½, 5²) or combining mark, wherever it stands.
LETTER = r"[\w\p{N}]"

# Letters with what combines with them. What begins with a mark or a joiner is no word: it stood
# after a sign, as in the red heart, U+2764 U+FE0F.
LETTERS = rf"(?:(?![\p{{M}}\u200c\u200d]){LETTER}+)"

# Any other visible character with what combines with it: a flag or a family is one sign.
SIGN = r"(?:(?![\s\x1c-\x1f])\X)"


def in_word(character: str) -> bool:
    """Whether a character is a letter, a digit or a mark that combines with one, so that a word
    goes on with it."""
    return character.isalnum() or unicodedata.category(character)[0] == "M"
