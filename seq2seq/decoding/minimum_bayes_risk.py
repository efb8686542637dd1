"""Minimum Bayes risk: of many sequences for a source, the one that the others agree with most.

    y* = argmax_y  sum_r P(r) u(y, r)        (Eikema & Aziz 2020, equation 6)

over candidates y and evidence r. Here both are the same sequences: samples, each with the same
weight, or an n-best list, by its probabilities. What ``u`` is a task decides.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np


class Found(Protocol):
    """A sequence that was drawn or searched, as text: a dataclass with a ``score``."""

    @property
    def text(self) -> str: ...

    @property
    def log_probability(self) -> float: ...


T = TypeVar("T", bound=Found)


def by_expected_utility(
    found: Sequence[T],
    utility: Callable[[Sequence[str]], np.ndarray],
    by_probability: bool = False,
) -> list[T]:
    """The different ones of ``found`` with their expected utility as ``score``, highest first; of
    equals the one that stood first.

    utility         u of all pairs: N texts -> (N, N), text i against text j as its reference
    by_probability  weigh each by its probability, where they were searched; otherwise all count
                    the same, as drawn ones must
    """
    if not found:
        return []
    texts = list(dict.fromkeys(one.text for one in found))
    first = {one.text: one for one in reversed(found)}
    weight = dict.fromkeys(texts, 0.0)
    highest = max(one.log_probability for one in found)
    for one in found:
        weight[one.text] += math.exp(one.log_probability - highest) if by_probability else 1.0
    shares = np.array([weight[text] for text in texts])
    expected = utility(texts) @ (shares / max(shares.sum(), 1e-300))  # (N,)
    order = sorted(range(len(texts)), key=lambda i: -expected[i])
    scored: Any = dataclasses.replace  # Found are dataclasses, which a protocol cannot say
    return [scored(first[texts[i]], score=float(expected[i])) for i in order]


def ngram_counts(sequences: Sequence[Sequence[Hashable]], order: int) -> np.ndarray:
    """How often each n-gram comes in each sequence, of which a slice is hashable (text, or a tuple
    of words): (N, G), G at least 1."""
    columns: dict[Hashable, int] = {}
    found = [
        Counter(
            columns.setdefault(one[at : at + order], len(columns))
            for at in range(len(one) - order + 1)
        )
        for one in sequences
    ]
    counts = np.zeros((len(sequences), max(1, len(columns))), np.int32)
    for row, of_one in enumerate(found):
        counts[row, list(of_one.keys())] = list(of_one.values())
    return counts


def matches(counts: np.ndarray) -> np.ndarray:
    """How many n-grams each pair of texts shares: counts (N, G) of each text -> (N, N)."""
    found = np.zeros((len(counts), len(counts)))
    for row, one in enumerate(counts):
        there = np.flatnonzero(one)  # few of all n-grams
        found[row] = np.minimum(one[there], counts[:, there]).sum(1)
    return found
