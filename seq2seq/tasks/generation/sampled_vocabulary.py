"""A part of the vocabulary, drawn for each window, in place of all of it in the training loss."""

from __future__ import annotations

import torch
from torch import Tensor

_POWER = 0.75  # of the units' frequencies, by which units are drawn (Mikolov et al. 2013)


class SampledVocabulary:
    """Sampled softmax (Bengio & Senecal 2008; Jean et al. 2015, section 3).

    The loss of a window is over the units C that it has to predict, and about ``size`` others,
    each drawn by itself. A frequent unit is in C nearly always, a rare one seldom; with q_k the
    probability that unit k is in C whatever a single target is, the loss of that target

        -log softmax over k in C of (logit_k - log q_k)

    is smallest where the logits are those of the whole softmax, whatever the draw.
    """

    def __init__(self, counts: Tensor, size: int) -> None:
        """counts (V,): how often each unit stands in the training text."""
        share = counts.double() / counts.sum().clamp(min=1)  # (V,)
        # to keep the draw possible for units that the text lacks, such as <unk>, they count as one
        weights = counts.clamp(min=1).double() ** _POWER
        self._drawn = _inclusion(weights, size)  # (V,) probability of being drawn
        self._log_absent = torch.log1p(-share.clamp(max=1 - 1e-9))  # of one target being another

    def draw(self, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """targets (N,) -> the units C drawn, (C,) ascending; targets by their place in C, (N,);
        log q (C,), float32."""
        device = targets.device
        if self._drawn.device != device:
            self._drawn = self._drawn.to(device, torch.float32)
            self._log_absent = self._log_absent.to(device, torch.float32)
        present = torch.rand(len(self._drawn), device=device) < self._drawn  # (V,)
        present[targets] = True
        place = present.cumsum(0) - 1  # (V,)
        units = present.nonzero().squeeze(1)  # (C,)
        # q = 1 - (1 - share)^(N-1) (1 - drawn)
        others = len(targets) - 1
        absent = (others * self._log_absent[units]).exp() * (1 - self._drawn[units])
        return units, place[targets], (1 - absent).clamp(min=1e-9).log().float()


def _inclusion(weights: Tensor, size: int) -> Tensor:
    """min(1, c w_k) for each unit, with c such that they sum to ``size`` (or all are 1)."""
    if size >= len(weights):
        return torch.ones_like(weights)
    low, high = 0.0, float(1 / weights.min())
    for _ in range(100):
        middle = (low + high) / 2
        if (middle * weights).clamp(max=1).sum() < size:
            low = middle
        else:
            high = middle
    return (high * weights).clamp(max=1)
