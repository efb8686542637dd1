"""No n-gram twice in one hypothesis (Paulus et al. 2018, section 2.5)."""

from __future__ import annotations

import torch
from torch import Tensor


def without_repeats(logits: Tensor, prefix: Tensor, size: int) -> Tensor:
    """logits (N, V) with -inf for each token that would repeat an n-gram of prefix (N, t).

    size: the n of the n-gram, at least 1. Negative numbers in ``prefix`` are no tokens: they fill
    up rows that hold fewer. ``logits`` itself is left as it is.
    """
    if prefix.shape[1] < size:
        return logits
    grams = prefix.unfold(1, size, 1)  # (N, t-n+1, n)
    tail = prefix[:, prefix.shape[1] - size + 1 :].unsqueeze(1)  # (N, 1, n-1)
    repeats = (grams[:, :, :-1] == tail).all(2)  # (N, t-n+1)
    repeats &= (grams >= 0).all(2)
    # A token may end one n-gram that matches and one that does not: the minimum bans it.
    ceiling = torch.zeros_like(repeats, dtype=logits.dtype).masked_fill(~repeats, torch.inf)
    ceiling = ceiling.masked_fill(repeats, -torch.inf)  # (N, t-n+1)
    return logits.scatter_reduce(1, grams[:, :, -1].clamp(min=0), ceiling, "amin")
