"""What a search returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class Hypothesis:
    """One output sequence Y of a source X.

    tokens            token ids, without bos and eos
    score             what hypotheses are ranked by: log P after length and coverage penalty
    log_probability   log P(Y | X), the sum over the tokens and, when finished, eos
    finished          whether Y ended with eos; False: it was cut at its maximum length
    attention         (len(tokens) + 1, S) when finished (the last row is the step that gave
                      eos), else (len(tokens), S); on the CPU; None unless asked for, or for a
                      model without attention
    token_scores      log P(y_t | y_1 .. y_(t-1), X) of each token, and of eos when finished; they
                      sum to log_probability; == leaves them out
    """

    tokens: list[int]
    score: float
    log_probability: float
    finished: bool
    attention: Tensor | None = None
    token_scores: list[float] = field(default_factory=list, compare=False)
