"""Gradients that can be differentiated again: autograd through an operation's reference.

The operators' own backward passes have no derivative. Under ``create_graph=True`` they are replaced
by the reference, whose tape has one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def views(tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The leaves of the reference. Where one argument was made from another, as with tied weights,
    the gradient of each stops at itself and does not count the other's path again."""
    return [None if tensor is None else tensor.view_as(tensor) for tensor in tensors]


def exact(tensors: Sequence[Tensor | None], state: torch.dtype) -> list[Tensor | None]:
    """In the dtype of sums: autocast, which may have mixed dtypes, is left by now, and half
    precision would round."""
    return [
        tensor.to(state) if tensor is not None and tensor.is_floating_point() else tensor
        for tensor in tensors
    ]


def gradients(
    results: Sequence[Tensor | None],
    grads: Sequence[Tensor | None],
    leaves: Sequence[Tensor | None],
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    """Of the ``leaves`` that are ``wanted``, from those that arrive at the ``results``."""
    pairs = [
        (result, grad.to(result.dtype))
        for result, grad in zip(results, grads, strict=True)
        if result is not None and grad is not None and result.requires_grad
    ]
    if not pairs or not any(wanted):
        return [None] * len(wanted)
    found = iter(
        torch.autograd.grad(
            [result for result, _ in pairs],
            [leaf for leaf, want in zip(leaves, wanted, strict=True) if want],
            [grad for _, grad in pairs],
            create_graph=True,
            allow_unused=True,
        )
    )
    return [next(found) if want else None for want in wanted]
