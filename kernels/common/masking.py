"""Source positions that are not there, or outside a window: out of scores, sums and gradients."""

from __future__ import annotations

import torch
from torch import Tensor


def padding(lengths: Tensor | None, batch: int, source: int, device: torch.device) -> Tensor | None:
    """(B, S), True past each length; None when there is nothing to mask."""
    if lengths is None:
        return None
    return torch.arange(source, device=device) >= lengths.to(device)[:, None]


def missing(lengths: Tensor | None, mask: Tensor | None, keys: Tensor) -> Tensor | None:
    """(B, S), True where keys (B, S, H) hold no source; None when all of them do."""
    padded = padding(lengths, keys.size(0), keys.size(1), keys.device)
    if mask is None:
        return padded
    return ~mask if padded is None else padded | ~mask


def masked_softmax(scores: Tensor, padded: Tensor | None) -> Tensor:
    """Softmax over S of (B, T, S); zero at padding, and all zero where all is padding."""
    return softmax_of_seen(scores, None if padded is None else padded[:, None])


def softmax_of_seen(scores: Tensor, hidden: Tensor | None) -> Tensor:
    """Softmax over the last axis; zero where ``hidden``, and all zero where all of it is."""
    if hidden is None:
        return scores.softmax(-1)
    # The lowest finite number, not -inf, which would make a row of padding alone NaN.
    scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).min)
    return scores.softmax(-1).masked_fill(hidden, 0)


def without_padding(tensor: Tensor, padded: Tensor | None) -> Tensor:
    """(B, S, H) with zeros at padding, which may hold anything, NaN included."""
    return tensor if padded is None else tensor.masked_fill(padded[:, :, None], 0)


def in_window(centre: Tensor, window: float, sources: int) -> Tensor:
    """(B, T, S): which sources lie at most ``window`` from the centre (B, T)."""
    places = torch.arange(sources, device=centre.device)
    return (places - centre[:, :, None]).abs() <= window


def window_factor(centre: Tensor, window: float, sources: int) -> Tensor:
    """(B, T, S): exp(-(s - centre)^2 / (2 sigma^2)), sigma = window / 2 (Luong et al. 2015, 10)."""
    places = torch.arange(sources, device=centre.device)
    return torch.exp(-2 * ((places - centre[:, :, None]) / window).square())
