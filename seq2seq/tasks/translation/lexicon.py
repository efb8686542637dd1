"""Which words translate which: IBM Model 1 (Brown et al. 1993, section 4.4), learnt from pairs.

    P(f_1 .. f_J | e_1 .. e_I) ~ prod_j 1/(I + 1) sum_i t(f_j | e_i),  i = 0 .. I, e_0 is empty

t(f | e) is the probability that the word f translates e. Expectation-maximisation finds it: each
f_j is shared out among the words of its source in proportion to t, and t(f | e) becomes f's part of
all that e was given. Words are subwords here. The order of the words plays no part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ROUNDS = 5  # of expectation-maximisation
LONGEST = 128  # words of a sentence: of longer ones too many words stand side by side by chance
_TOGETHER = 1 << 22  # pairs of words looked at together: 32 MB for each array of them

_Whole = NDArray[np.int64]
_Real = NDArray[np.float64]


class Lexicon(NamedTuple):
    """Pairs of words that stood in a pair of sentences, by source word, the likeliest first."""

    source: _Whole  # (n,)
    target: _Whole  # (n,)
    probability: _Real  # (n,) t(target | source)


def usable_pairs(
    sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
) -> list[tuple[Sequence[int], Sequence[int]]]:
    """The pairs whose sentences both have 1 to ``LONGEST`` words."""
    return [
        (source, target)
        for source, target in zip(sources, targets, strict=True)
        if 0 < len(source) <= LONGEST and 0 < len(target) <= LONGEST
    ]


def learn_lexicon(
    sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], source_size: int
) -> Lexicon:
    """From the words of as many source as target sentences; source words are below
    ``source_size``, which stands for the empty word while it learns. Others than ``usable_pairs``
    are left out. Memory grows with the number of different pairs of words, not with that of the
    sentences."""
    pairs = usable_pairs(sources, targets)
    target_size = 1 + max((max(target) for _, target in pairs), default=0)
    keys = _different(part.keys for part in _parts(pairs, source_size, target_size))  # (n,)
    of_source = keys // target_size
    probability = np.ones(len(keys))
    for _ in range(ROUNDS):
        counts = np.zeros(len(keys))
        for part in _parts(pairs, source_size, target_size):
            place = np.searchsorted(keys, part.keys)  # (m,)
            share = probability[place]
            share /= np.maximum(np.bincount(part.group, share), _SMALLEST)[part.group]
            counts += np.bincount(place, share, len(keys))
        totals = np.bincount(of_source, counts)
        probability = counts / np.maximum(totals[of_source], _SMALLEST)
    kept = of_source < source_size
    source, target = of_source[kept], keys[kept] % target_size
    probability = probability[kept]
    order = np.lexsort((target, -probability, source))
    return Lexicon(source[order], target[order], probability[order])


_SMALLEST = np.finfo(np.float64).tiny  # a word whose partners are all explained by others


class _Part(NamedTuple):
    """Every word of some target sentences beside every word of its source, the empty one too."""

    keys: _Whole  # (m,) source * target_size + target
    group: _Whole  # (m,) the target word's number in the part


def _parts(
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]], empty: int, target_size: int
) -> Iterator[_Part]:
    keys: list[_Whole] = []
    groups: list[_Whole] = []
    held, words = 0, 0
    for source, target in pairs:
        given = np.array([*source, empty], dtype=np.int64) * target_size  # (I + 1,)
        written = np.array(target, dtype=np.int64)  # (J,)
        keys.append((written[:, None] + given).ravel())
        groups.append(np.repeat(np.arange(words, words + len(written)), len(given)))
        held, words = held + len(keys[-1]), words + len(written)
        if held >= _TOGETHER:
            yield _Part(np.concatenate(keys), np.concatenate(groups))
            keys, groups, held, words = [], [], 0, 0
    if keys:
        yield _Part(np.concatenate(keys), np.concatenate(groups))


def _different(parts: Iterator[_Whole]) -> _Whole:
    """All different values, ascending; those found are sorted anew once they have doubled."""
    found: list[_Whole] = [np.empty(0, dtype=np.int64)]
    held = 0
    for part in parts:
        found.append(np.unique(part))
        held += len(found[-1])
        if held > len(found[0]):
            found, held = [np.unique(np.concatenate(found))], 0
    return np.unique(np.concatenate(found))
