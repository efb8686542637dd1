"""Adversarial training: examples are moved a little way in the direction that hurts most."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

Rest = TypeVar("Rest")


def adversarial_loss(
    loss: Callable[[Tensor], tuple[Tensor, Rest]],
    inputs: Tensor,
    lengths: Tensor,
    size: float,
    parameters: Iterable[nn.Parameter],
) -> tuple[Tensor, Rest]:
    """(l(x) + l(x + r)) / 2, where r is worst for l, to first order (Miyato et al. 2017, eq. 4):

        r_b = size * ||x_b|| * g_b / ||g_b||,   g = d l(x) / d x

    for each example b, whose norms are over its real steps. The length of r follows that of x, so
    that one ``size`` fits vectors of any scale. Nothing is differentiated through r. It takes two
    passes forward and two back: l(x) is differentiated here, by x and the parameters at once, and
    what is returned has that gradient.

    Args:
        loss: x -> l(x), a sum over examples, and whatever else; called twice.
        inputs: x (B, S, E).
        lengths: (B,) how many of the S steps are real.
        size: of r, a share of the length of x.
        parameters: those that l may depend on beside x.

    Returns:
        The mean of both losses, and what ``loss`` returned beside l(x).
    """
    trained = [one for one in parameters if one.requires_grad]
    start = inputs.detach().requires_grad_()
    clean, rest = loss(start)
    wanted = [start, *trained]
    gradients = torch.autograd.grad(clean, wanted, allow_unused=True)
    assert gradients[0] is not None
    moved, _ = loss(inputs + worst_step(start.detach(), gradients[0], lengths, size))
    # sum p g has the gradient g; its value is taken off again
    pairs = zip([inputs, *trained], gradients, strict=True)
    bearer = torch.stack([(one * slope).sum() for one, slope in pairs if slope is not None]).sum()
    return (clean.detach() + moved + (bearer - bearer.detach())) / 2, rest


def worst_step(inputs: Tensor, gradient: Tensor, lengths: Tensor, size: float) -> Tensor:
    """r (B, S, E), see above; zero past an example's length, and where the gradient is zero."""
    steps = torch.arange(inputs.shape[1], device=inputs.device)
    real = (steps < lengths.to(inputs.device).unsqueeze(1)).unsqueeze(2)  # (B, S, 1)
    gradient = gradient.float().masked_fill(~real, 0.0)
    length = inputs.float().masked_fill(~real, 0.0).flatten(1).norm(dim=1)  # (B,)
    # divided by its largest value, so that no square is too small for a float; all may be zero
    peak = gradient.flatten(1).abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny)  # (B,)
    gradient = gradient / peak[:, None, None]
    steepness = gradient.flatten(1).norm(dim=1).clamp(min=1.0)  # 1 or more, or the gradient is 0
    step = (size * length / steepness)[:, None, None] * gradient
    return step.to(inputs.dtype)
