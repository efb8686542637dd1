"""Linear + cross entropy in plain PyTorch: all logits at once."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None,
    label_smoothing: float,
    ignore_index: int,
    reduction: str,
) -> Tensor:
    """See kernels.linear_cross_entropy."""
    # what an ignored row holds must not reach the weights' gradient, were it NaN times zero
    hidden = hidden.masked_fill((targets == ignore_index).unsqueeze(1), 0)
    logits = F.linear(hidden, weight, bias).to(hidden.dtype)  # (N, V)
    loss = F.cross_entropy(logits, targets, ignore_index=ignore_index, reduction="none")  # (N,)
    if label_smoothing:  # by hand: torch.onnx.export leaves F.cross_entropy's out, without a word
        uniform = -F.log_softmax(logits, 1).mean(1).masked_fill(targets == ignore_index, 0)
        loss = (1 - label_smoothing) * loss + label_smoothing * uniform
    if reduction != "none":
        loss = loss.sum()
    if reduction == "mean":  # F.cross_entropy's would be NaN where every row is ignored
        loss = loss / (targets != ignore_index).sum().clamp(min=1)
    return loss
