"""Source positions past a length: out of the scores, the sums and the gradients."""

from __future__ import annotations

import torch
from torch import Tensor


def padding(lengths: Tensor | None, batch: int, source: int, device: torch.device) -> Tensor | None:
    """(B, S), True past each length; None when there is nothing to mask."""
    if lengths is None:
        return None
    return torch.arange(source, device=device) >= lengths.to(device)[:, None]


def masked_softmax(scores: Tensor, padded: Tensor | None) -> Tensor:
    """Softmax over S of (B, T, S); zero at padding, and all zero where all is padding."""
    if padded is None:
        return scores.softmax(-1)
    padded = padded[:, None]  # (B, 1, S)
    # The lowest finite number, not -inf, which would make a row of padding alone NaN.
    scores = scores.masked_fill(padded, torch.finfo(scores.dtype).min)
    return scores.softmax(-1).masked_fill(padded, 0)


def without_padding(tensor: Tensor, padded: Tensor | None) -> Tensor:
    """(B, S, H) with zeros at padding, which may hold anything, NaN included."""
    return tensor if padded is None else tensor.masked_fill(padded[:, :, None], 0)
