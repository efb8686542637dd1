"""Temperature: probabilities that mean what they say (Guo et al. 2017, section 4.2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seq2seq.tasks.classification.objectives import losses
from seq2seq.tasks.classification.targets import Kind

_LEAST, _MOST = 0.2, 10.0


def at_limit(temperature: float) -> bool:
    """Whether a fitted temperature stands at one of its limits."""
    return temperature < 1.001 * _LEAST or temperature > 0.999 * _MOST


def fit_temperature(logits: Tensor, targets: Tensor, kind: Kind) -> float:
    """The T from 0.2 to 10 for which logits / T (N, K) have the least loss on ``targets``.

    The loss is convex in 1 / T, so a golden-section search finds it; in float64.
    """
    logits = logits.double()
    targets = targets if kind == "label" else targets.double()

    def loss(inverse: float) -> float:
        return float(losses(logits * inverse, targets, kind, None, 0.0).mean())

    low, high = 1 / _MOST, 1 / _LEAST
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(60):
        first, second = high - ratio * (high - low), low + ratio * (high - low)
        if loss(first) <= loss(second):
            high = second
        else:
            low = first
    return 2 / (low + high)


def probabilities(logits: Tensor, temperature: Tensor, kind: Kind) -> Tensor:
    """(N, K): of labels they sum up to 1, of sets of labels each stands alone."""
    tempered = logits.double() / temperature.double()
    return tempered.softmax(-1) if kind == "label" else torch.sigmoid(tempered)
