"""Vocabulary loss: linear projection and cross entropy without all logits at once."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels import backend
from kernels.common.precision import autocast_enabled
from kernels.loss import operation, reference

__all__ = ["linear_cross_entropy"]


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Cross entropy of softmax(hidden weight' + bias) with label smoothing.

    hidden (N, H), weight (V, H), targets (N,) int64, bias (V,). With smoothing e the target
    distribution is (1 - e) on the target and e / V on every word (Szegedy et al. 2016, sec. 7):

        loss_n = -(1 - e) log p_n[y_n] - e / V sum_v log p_n[v]

    ``reduction`` "mean" (over targets other than ``ignore_index``; 0 if there are none), "sum"
    or "none" (N,). All tensors have one floating dtype, and so has the loss. Under autocast dtypes
    may be mixed: the products run in autocast's dtype, the softmax in fp32, and the loss is fp32.
    The torch and triton backends work in chunks of rows and compute the gradients along with the
    loss. With "none" they compute the logits again in the backward pass, and the gradients there.

    Raises ValueError for shapes, dtypes or devices that do not fit, an unknown reduction, a
    smoothing outside [0, 1) and targets outside the vocabulary. On a GPU the triton backend checks
    targets by a device-side assertion instead, because nothing waits for that.
    """
    if hidden.dim() != 2 or weight.dim() != 2 or hidden.shape[1] != weight.shape[1]:
        raise ValueError(
            f"hidden has shape {tuple(hidden.shape)}, weight {tuple(weight.shape)}; "
            "expected (N, H) and (V, H)"
        )
    if not weight.shape[0]:
        raise ValueError("weight has shape (0, H); expected at least one word")
    if targets.shape != hidden.shape[:1]:
        raise ValueError(f"targets has shape {tuple(targets.shape)}; expected ({len(hidden)},)")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias has shape {tuple(bias.shape)}; expected ({len(weight)},)")
    _check_kinds(hidden, weight, targets, bias)
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction is {reduction!r}; expected 'mean', 'sum' or 'none'")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing is {label_smoothing}; expected 0 <= value < 1")
    chosen = backend.resolve("linear_cross_entropy", hidden, triton=True, size=hidden.size(1))
    if chosen == "reference":
        return reference.linear_cross_entropy(
            hidden, weight, targets, bias, label_smoothing, ignore_index, reduction
        )
    settings = (float(label_smoothing), ignore_index)
    return operation.linear_cross_entropy(
        hidden, weight, bias, targets, settings, reduction, chosen
    )


def _check_kinds(hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None) -> None:
    """Devices and dtypes; autocast may mix floating dtypes."""
    if not hidden.is_floating_point():
        raise ValueError(f"hidden has dtype {hidden.dtype}; expected a floating dtype")
    if targets.dtype != torch.int64:
        raise ValueError(f"targets has dtype {targets.dtype}; expected torch.int64")
    mixed = autocast_enabled(hidden.device.type)
    for name, tensor in (("weight", weight), ("bias", bias), ("targets", targets)):
        if tensor is None:
            continue
        if tensor.device != hidden.device:
            raise ValueError(
                f"{name} is on {tensor.device}; expected {hidden.device}, where hidden is"
            )
        if tensor is targets or tensor.dtype == hidden.dtype:
            continue
        if not (mixed and tensor.is_floating_point()):
            raise ValueError(
                f"{name} has dtype {tensor.dtype}; expected {hidden.dtype} as hidden has "
                "(convert one of them, or use torch.autocast)"
            )
