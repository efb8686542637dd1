"""How a text is parted into words for language models, which write text again.

Contractions stay whole ("don't"), ``<eos>`` is a word, and decoders know which marks stand without
a space. Texts that are read and labelled go by ``splitting``, which keeps places and splits
contractions as the corpora of labels do. Saved models depend on both as they are: vocabularies hold
their words.
"""

from __future__ import annotations

import re

import regex

from seq2seq.text.letters import LETTERS, SIGN

LINE_END = "<eos>"  # the word that stands for a line's end, as in Penn Treebank and WikiText-2

# Marks as a decoder writes them: without a space before them, and without one after them.
CLOSING = frozenset(mark.encode() for mark in ".,;:!?)]}%\u2019\u201d")
OPENING = frozenset(mark.encode() for mark in "([{\u2018\u201c")

# Letters and digits, with apostrophes, hyphens, full stops and commas that stand within ("don't",
# "country-dance", "3.5"); a run of dashes or full stops; any other mark by itself.
_WORD = regex.compile(
    rf"<\w+>|{LETTERS}(?:['\u2019-]{LETTERS}|(?<=\d)[.,](?=\d){LETTERS})*|-+|\.+|{SIGN}"
)
_WORD_BEFORE = re.compile(r"<\w+>|\w+(?:['\u2019-]\w+|(?<=\d)[.,](?=\d)\w+)*|-+|\.+|[^\w\s]")


def split_words(
    text: str, lowercase: bool = False, split_punctuation: bool = False, combining: bool = True
) -> list[str]:
    """The words of ``text``, and ``<eos>`` for each line's end. Words stand between spaces; with
    ``split_punctuation`` marks are words of their own. ``combining=False``: words end at combining
    marks, as they did before (``letters``)."""
    if lowercase:
        text = text.lower()
    find = (_WORD if combining else _WORD_BEFORE).findall if split_punctuation else str.split
    *lines, last = text.split("\n")
    words = [word for line in lines for word in (*find(line), LINE_END)]
    return words + find(last)
