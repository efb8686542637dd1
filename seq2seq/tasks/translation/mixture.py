"""Several training corpora, and how often an epoch reads the pairs of each.

Of a corpus with weight w every pair is read floor(w) times in an epoch, and a share w - floor(w)
of its pairs once more. Which share goes round: over the epochs each pair is read equally often.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np


class Mixture:
    """The rows of each epoch. They follow from the seed and the epoch's number."""

    def __init__(self, sizes: Sequence[int], weights: Sequence[float], seed: int) -> None:
        """``sizes``: rows of each corpus, which stand one after the other. Seed: which pairs come
        first where a weight is no whole number."""
        ends = np.cumsum([0, *sizes])
        self._parts = [
            np.random.default_rng([seed, number]).permutation(np.arange(start, end))
            for number, (start, end) in enumerate(pairwise(ends))
        ]
        self._weights = list(weights)

    def rows(self, epoch: int) -> np.ndarray:
        """(R,) int64, ascending; a row that is read several times stands there as often."""
        drawn = []
        for part, weight in zip(self._parts, self._weights, strict=True):
            # what an epoch reads begins where the one before ended
            start, end = (round(weight * len(part) * n) for n in (epoch, epoch + 1))
            if len(part):
                drawn.append(part[np.arange(start, end) % len(part)])
        return np.sort(np.concatenate(drawn)) if drawn else np.zeros(0, np.int64)
