"""A simple tokeniser: words, numbers and punctuation marks of running text, with their places.

It needs no model and no language: letters and digits stay together, with the apostrophes, hyphens,
points and commas inside them and the marks that combine with them; every other sign stands alone.
``n't``, ``'s`` and the like are split off as in the Penn Treebank, on which most English vectors
and corpora were made. Classification and tagging use it; language models, which write what they
read, go by ``words``.
"""

from __future__ import annotations

import re
from typing import NamedTuple, TypeVar

import regex

from seq2seq.text.letters import LETTERS, SIGN

_WORD = regex.compile(
    rf"""
    (?:https?://|www\.)\S+ | [\w.+-]+@[\w-]+\.[\w.-]*\w    # addresses
  | [@\#]{LETTERS}                                         # @names and #tags
  | \d+(?:[.,:/]\d+)*(?:st|nd|rd|th|s|%)?(?![\w\p{{N}}])   # numbers, times, ordinals
  | (?:[^\W\d_]\p{{M}}*\.){{2,}}                             # U.S.
  | {LETTERS}(?:[-'’&]{LETTERS})*                          # words, also joined
  | \.\.\.+ | --+ | {SIGN}                                 # marks
    """,
    regex.VERBOSE,
)
_WORD_BEFORE = re.compile(
    r"""
    (?:https?://|www\.)\S+ | [\w.+-]+@[\w-]+\.[\w.-]*\w    # addresses
  | [@\#]\w+                                               # @names and #tags
  | \d+(?:[.,:/]\d+)*(?:st|nd|rd|th|s|%)?(?!\w)            # numbers, times, ordinals
  | (?:[^\W\d_]\.){2,}                                     # U.S.
  | \w+(?:[-'’&]\w+)*                                      # words, also joined
  | \.\.\.+ | --+ | [^\w\s]                                # marks
    """,
    re.VERBOSE,
)
_CLITIC = re.compile(r"(?i)(n['’]t|['’](?:s|re|ve|ll|d|m))$")


class Token(NamedTuple):
    """A word and where it stands: text[start:end]."""

    text: str
    start: int
    end: int


def split_words(text: str, combining: bool = True) -> list[Token]:
    """The words and marks of a text, in order; nothing but white space is between them.
    ``combining=False``: words end at combining marks, as they did before (``letters``)."""
    tokens = []
    for found in (_WORD if combining else _WORD_BEFORE).finditer(text):
        word, start = found.group(), found.start()
        clitic = _CLITIC.search(word)
        if clitic and clitic.start() > 0:
            cut = start + clitic.start()
            tokens.append(Token(text[start:cut], start, cut))
            tokens.append(Token(text[cut : found.end()], cut, found.end()))
        else:
            tokens.append(Token(word, start, found.end()))
    return tokens


def split_spaces(text: str) -> list[Token]:
    """What stands between white space, with its places."""
    return [Token(m.group(), m.start(), m.end()) for m in re.finditer(r"\S+", text)]


Letters = TypeVar("Letters", str, bytes)


def ends_of(word: Letters, longest: int) -> Letters:
    """A word; of one with more than ``longest`` letters the first two thirds and the last third of
    so many."""
    if len(word) <= longest:
        return word
    tail = longest // 3
    return word[: longest - tail] + (word[-tail:] if tail else word[:0])
