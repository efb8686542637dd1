"""Length normalisation and coverage penalty of Wu et al. 2016, equation 14.

score(Y, X) = log P(Y | X) / lp(Y) + cp(X; Y)
lp(Y)       = ((5 + |Y|) / 6) ** alpha
cp(X; Y)    = beta * sum_s log(min(sum_t a_ts, 1))
"""

from __future__ import annotations

import torch
from torch import Tensor


def length_divisor(length: int | Tensor, alpha: float) -> float | Tensor:
    """lp of sequences of ``length`` steps, eos counted."""
    return ((5 + length) / 6) ** alpha


def coverage_term(coverage: Tensor, lengths: Tensor | None, beta: float) -> Tensor:
    """cp from the attention summed over the steps: (b, R, S) -> (b, R), at most 0.

    lengths (b,): positions from there on do not count; None: all count. A position with no
    attention at all counts as the smallest normal number, so that the term stays finite.
    """
    logs = coverage.clamp(torch.finfo(coverage.dtype).tiny, 1).log()  # (b, R, S)
    if lengths is not None:
        position = torch.arange(logs.shape[2], device=logs.device)  # (S,)
        logs = logs.masked_fill(position >= lengths.view(-1, 1, 1), 0)
    return beta * logs.sum(2)
