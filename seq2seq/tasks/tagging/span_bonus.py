"""More spans, or fewer: what is added to the score of each span, chosen for F1.

The likelihood of labels is not F1. Where most words are outside of spans and names are hard to
tell, a model that is trained for the likelihood finds few spans and is right about them: precision
is far above recall. A bonus b for each span,

    s(y) + b * (number of spans of y),

moves the one against the other. With b added to the emissions of labels that begin a span (B-, S-)
it costs nothing when sentences are labelled, and the field's marginals follow it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from seq2seq.tasks.tagging.model import Head
from seq2seq.tasks.tagging.schemes import split_label

_COARSE = tuple(float(n) for n in range(-1, 5))
_FINE = 0.5


@torch.no_grad()
def fit_bonus(heads: Sequence[Head], labels: Sequence[str], score: Callable[[], float]) -> float:
    """Find the bonus between -1.5 and 4.5 (in nats) for which ``score()``, the F1 of a validation
    set by the model of ``heads``, is highest, and leave it in their bias: of a committee the column
    has a head in each member."""
    before = [head.linear.bias.clone() for head in heads]

    def put(bonus: float) -> None:
        for head, bias in zip(heads, before, strict=True):
            head.linear.bias.copy_(bias)
        add_bonus(heads, labels, bonus)

    def tried(bonus: float) -> float:
        put(bonus)
        return score()

    found = {bonus: tried(bonus) for bonus in _COARSE}
    middle = _best(found)
    found |= {bonus: tried(bonus) for bonus in (middle - _FINE, middle + _FINE)}
    best = _best(found)
    put(best)
    return best


@torch.no_grad()
def add_bonus(heads: Sequence[Head], labels: Sequence[str], bonus: float) -> None:
    """Add a bonus (in nats) to the biases of the labels that begin a span."""
    begins = torch.tensor([split_label(label)[0] in ("B", "S") for label in labels])
    for head in heads:
        head.linear.bias.add_(bonus * begins.to(head.linear.bias))


def _best(found: dict[float, float]) -> float:
    """The bonus of the highest score; of equal ones the one nearest to none."""
    return max(found, key=lambda bonus: (found[bonus], -abs(bonus)))
