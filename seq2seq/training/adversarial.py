"""Adversarial training: examples are moved a little way in the direction that hurts most."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

Rest = TypeVar("Rest")


def adversarial_loss(
    loss: Callable[[Tensor], tuple[Tensor, Rest]], inputs: Tensor, lengths: Tensor, size: float
) -> tuple[Tensor, Rest]:
    """(l(x) + l(x + r)) / 2, where r is worst for l, to first order (Miyato et al. 2017, eq. 4):

        r_b = size * ||x_b|| * g_b / ||g_b||,   g = d l(x) / d x

    for each example b, whose norms are over its real steps. The length of r follows that of x, so
    that one ``size`` fits vectors of any scale. Nothing is differentiated through r. It takes two
    passes forward and three back.

    Args:
        loss: x -> l(x), a sum over examples, and whatever else; called twice.
        inputs: x (B, S, E).
        lengths: (B,) how many of the S steps are real.
        size: of r, a share of the length of x.

    Returns:
        The mean of both losses, and what ``loss`` returned beside l(x).
    """
    if not inputs.requires_grad:  # vectors that are not trained
        inputs = inputs.detach().requires_grad_()
    clean, rest = loss(inputs)
    (gradient,) = torch.autograd.grad(clean, inputs, retain_graph=True)
    moved, _ = loss(inputs + worst_step(inputs.detach(), gradient, lengths, size))
    return (clean + moved) / 2, rest


def worst_step(inputs: Tensor, gradient: Tensor, lengths: Tensor, size: float) -> Tensor:
    """r (B, S, E), see above; zero past an example's length, and where the gradient is zero."""
    steps = torch.arange(inputs.shape[1], device=inputs.device)
    real = (steps < lengths.unsqueeze(1)).unsqueeze(2)  # (B, S, 1)
    gradient = gradient.float().masked_fill(~real, 0.0)
    length = inputs.float().masked_fill(~real, 0.0).flatten(1).norm(dim=1)  # (B,)
    steepness = gradient.flatten(1).norm(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
    step = (size * length / steepness)[:, None, None] * gradient
    return step.to(inputs.dtype)
