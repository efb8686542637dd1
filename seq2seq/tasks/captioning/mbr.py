"""Minimum Bayes risk of captions (``decoding.minimum_bayes_risk``), with sentence BLEU as the
utility: unlike CIDEr-D it needs no document frequencies, which a saved model does not hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seq2seq.decoding import minimum_bayes_risk
from seq2seq.tasks.captioning.captioned import Caption
from seq2seq.tasks.captioning.scores import tokenize

_ORDERS = 4  # n-grams of up to so many words


def by_expected_utility(captions: Sequence[Caption]) -> list[Caption]:
    """The different ones of captions that were drawn, with the expected BLEU (0 to 100) as
    ``score``, highest first; of equals the one that stood first."""
    return minimum_bayes_risk.by_expected_utility(captions, pairwise_bleu)


def pairwise_bleu(texts: Sequence[str]) -> np.ndarray:
    """(N, N) BLEU-4 of caption i against caption j, in words as ``scores.tokenize`` gives them.

        BLEU = 100 * min(1, exp(1 - l_j / l_i)) * prod_n p_n^(1/4),    n = 1..4

    p_1 is the share of i's words that j has, too; p_n that of its n-grams, both counts plus one
    (Lin & Och 2004). 0 where no word is shared. As sacrebleu's sentence BLEU, smoothing add-k.
    """
    words = [tuple(tokenize(text)) for text in texts]
    lengths = np.array([len(one) for one in words], dtype=np.float64)  # (N,)
    total = np.zeros((len(texts), len(texts)))  # sum_n log p_n
    shared = np.zeros(total.shape, dtype=bool)
    for order in range(1, _ORDERS + 1):
        counts = minimum_bayes_risk.ngram_counts(words, order)  # (N, G)
        matches = minimum_bayes_risk.matches(counts)  # (N, N)
        extra = float(order > 1)
        if order == 1:
            shared = matches > 0
        share = (matches + extra) / np.maximum(counts.sum(1) + extra, 1)[:, None]
        total += np.log(share, out=np.zeros_like(share), where=share > 0)
    short = 1 - lengths / np.maximum(lengths, 1)[:, None]
    return np.where(shared, 100 * np.exp(np.minimum(0, short) + total / _ORDERS), 0.0)
