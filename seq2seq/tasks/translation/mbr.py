"""Minimum Bayes risk of translations (``decoding.minimum_bayes_risk``), with chrF (Popovic 2015) as
the utility."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seq2seq.arguments import check_truth
from seq2seq.decoding import minimum_bayes_risk
from seq2seq.tasks.translation.translations import Translation

_ORDERS, _BETA = 6, 2  # of chrF2 as sacrebleu has it by default


def by_expected_utility(
    translations: Sequence[Translation], by_probability: bool = False
) -> list[Translation]:
    """The different ones of ``translations`` with the expected chrF (0 to 100) as ``score``,
    highest first; of equals the one that stood first.

    by_probability: weigh each by its probability, where the translations were searched;
    otherwise all count the same, as drawn ones must.
    """
    check_truth(by_probability=by_probability)
    return minimum_bayes_risk.by_expected_utility(translations, pairwise_chrf, by_probability)


def pairwise_chrf(texts: Sequence[str]) -> np.ndarray:
    """(N, N) chrF of text i against reference j, as sacrebleu's sentence chrF gives it: of
    characters, white space left out."""
    size, bare = len(texts), ["".join(text.split()) for text in texts]
    precision, recall, orders = (np.zeros((size, size)) for _ in range(3))
    for order in range(1, _ORDERS + 1):
        counts = minimum_bayes_risk.ngram_counts(bare, order)  # (N, G)
        totals = counts.sum(1)  # (N,)
        matches = minimum_bayes_risk.matches(counts)  # (N, N)
        both = (totals[:, None] > 0) & (totals > 0)
        precision += np.divide(matches, totals[:, None], out=np.zeros_like(precision), where=both)
        recall += np.divide(matches, totals, out=np.zeros_like(recall), where=both)
        orders += both
    orders = np.maximum(orders, 1)
    precision, recall = precision / orders, recall / orders
    below = _BETA**2 * precision + recall
    top = (1 + _BETA**2) * precision * recall
    return 100 * np.divide(top, below, out=np.zeros_like(top), where=below > 0)
