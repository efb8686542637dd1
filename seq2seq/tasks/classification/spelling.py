"""The distinct words of a batch as their letters, which say something of words that no vocabulary
has: capitals, endings, numbers, words misspelt.

Letters are the bytes of UTF-8, so that there is no alphabet to learn and none to save. U distinct
words, C letters of the longest one, B batch, S steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seq2seq.text.splitting import ends_of

LETTERS = 257  # 256 bytes, after what stands past the end of a word


class Spelled(NamedTuple):
    letters: Tensor  # (U, C) int64: 1 + byte; past a length anything may stand
    lengths: Tensor  # (U,)
    places: Tensor  # (B, S) rows of the above, 0 past a length

    def to(self, device: torch.device) -> Spelled:
        return Spelled(*(part.to(device) for part in self))


def spell(texts: Sequence[Sequence[str]], steps: int, longest: int) -> Spelled:
    """The words of B texts, of at most ``steps`` words; of a word at most ``longest`` bytes are
    read (``ends_of``)."""
    rows = {"": 0}  # what stands past the end of a text
    places = np.zeros((len(texts), steps), np.int64)
    for number, words in enumerate(texts):
        places[number, : len(words)] = [rows.setdefault(word, len(rows)) for word in words]
    spelled = [ends_of(word.encode("utf-8", "surrogatepass"), longest) for word in rows]
    lengths = np.array([len(letters) for letters in spelled], np.int64)
    letters = np.zeros((len(rows), max(1, int(lengths.max()))), np.int64)
    for row, found in enumerate(spelled):
        letters[row, : len(found)] = [1 + byte for byte in found]
    return Spelled(torch.from_numpy(letters), torch.from_numpy(lengths), torch.from_numpy(places))
