"""The vocabulary loss as one PyTorch operator, on the torch or triton backend.

``kernels.common.registration`` says what registering gives. The operator's gradients are made
along with the loss, while the logits of a chunk are there, and only scaled in the backward pass.
With the reduction "none" each row's loss has a gradient of its own, which is known in the backward
pass alone: there the logits are computed again, chunk by chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kernels.common.precision import Precision, exact, precision, widest, without_autocast
from kernels.common.registration import Operation, Structure, register, register_backward
from kernels.loss import reference, torch_backend


class Settings(NamedTuple):
    smoothing: float
    ignore_index: int
    product: torch.dtype  # of the operands of products
    state: torch.dtype  # of sums, losses and gradients
    output: torch.dtype  # of the loss


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    settings: tuple[float, int],
    reduction: str,
    backend: str,
) -> Tensor:
    """See kernels.linear_cross_entropy; ``settings``: label smoothing and ignore_index."""
    grad = torch.is_grad_enabled()
    needed = [grad and t is not None and t.requires_grad for t in (hidden, weight, bias)]
    dtypes = precision(hidden)
    loss, *_ = torch.ops.kernels.linear_cross_entropy(
        hidden, weight, bias, targets, *settings, *dtypes, backend, reduction, needed,
    )  # fmt: skip
    return loss


def _backend(name: str) -> ModuleType:
    if name == "torch":
        return torch_backend
    from kernels.loss import triton_backend  # imports triton

    return triton_backend


_SHARED = (
    "Tensor hidden, Tensor weight, Tensor? bias, Tensor targets, float smoothing, "
    "int ignore_index, ScalarType product, ScalarType state, ScalarType output, "
    "str backend, str reduction"
)
CALL = 11  # arguments that both operators share
# Absent tensors come and go as empty ones: operators cannot return None.
_library = torch.library.Library("kernels", "FRAGMENT")
_library.define(
    f"linear_cross_entropy({_SHARED}, bool[] needed) -> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)
_library.define(
    f"linear_cross_entropy_backward({_SHARED}, Tensor d_losses, bool[] needed) "
    "-> (Tensor, Tensor, Tensor)"
)


def _forward(*flat: Any) -> tuple[Tensor, ...]:
    """-> loss, the gradients of hidden, weight and bias, and the factor that they still need."""
    hidden, weight, bias, targets, *given, backend, reduction = flat[:CALL]
    needed, settings, module = flat[CALL], Settings(*given), _backend(backend)
    targets = targets.contiguous()
    module.check_targets(targets, settings.ignore_index, weight.shape[0])
    scale = hidden.new_ones((), dtype=settings.state)
    with without_autocast(hidden), torch.no_grad():
        if reduction == "none":
            losses, _ = module.chunks(
                hidden, weight, bias, targets, settings, None, (False,) * 3
            )  # fmt: skip
            return (losses.to(settings.output), *_or_empty([None] * 3, hidden), scale)
        losses, grads = module.chunks(
            hidden, weight, bias, targets, settings, None, tuple(needed)
        )  # fmt: skip
        total = losses.sum(dtype=widest(losses.device))
        if reduction == "mean":
            scale = scale / (targets != settings.ignore_index).sum().clamp(min=1)
    return ((total * scale).to(settings.output), *_or_empty(grads, hidden), scale)


def _backward(*flat: Any) -> tuple[Tensor, ...]:
    """The backward pass for reduction "none"."""
    hidden, weight, bias, targets, *given, backend, _ = flat[:CALL]
    d_losses, needed = flat[CALL:]
    settings = Settings(*given)
    with without_autocast(hidden), torch.no_grad():
        _, grads = _backend(backend).chunks(
            hidden, weight, bias, targets.contiguous(), settings,
            d_losses.to(settings.state).contiguous(), tuple(needed),
        )  # fmt: skip
    return _or_empty(grads, hidden)


def _or_empty(grads: list[Tensor | None], like: Tensor) -> tuple[Tensor, ...]:
    return tuple(like.new_empty(0) if grad is None else grad for grad in grads)


def _forward_fake(*flat: Any) -> tuple[Tensor, ...]:
    hidden, state, output, reduction = flat[0], flat[7], flat[8], flat[10]
    needed = flat[CALL]
    if reduction == "none":
        loss = hidden.new_empty(hidden.shape[0], dtype=output)
        needed = (False,) * 3
    else:
        loss = hidden.new_empty((), dtype=output)
    return loss, *_fake_gradients(flat, needed), hidden.new_empty((), dtype=state)


def _backward_fake(*flat: Any) -> tuple[Tensor, ...]:
    return _fake_gradients(flat, flat[-1])


def _fake_gradients(flat: tuple[Any, ...], needed: list[bool]) -> tuple[Tensor, ...]:
    grads = [
        tensor.new_empty(tensor.shape, dtype=flat[7]) if want and tensor is not None else None
        for tensor, want in zip(flat[:3], needed, strict=True)
    ]
    return _or_empty(grads, flat[0])


def _gradients(
    arguments: Structure,
    saved: Sequence[Tensor],
    grads: Sequence[Tensor | None],
    wanted: Structure,
) -> list[Tensor | None]:
    shared, state = arguments[:CALL], arguments[7]
    *made, scale = saved
    (d_loss,), wanted = grads, [bool(want) for want in wanted[:3]]
    if arguments[10] == "none":
        found = torch.ops.kernels.linear_cross_entropy_backward(*shared, d_loss, wanted)
    else:
        assert d_loss is not None  # the only result's: without it there is no backward pass
        factor = d_loss.to(state) * scale
        found = [grad * factor if want else None for grad, want in zip(made, wanted, strict=True)]
    return [
        grad.to(tensor.dtype) if want else None
        for grad, tensor, want in zip(found, arguments, wanted, strict=False)
    ]


def _by_reference(arguments: Structure) -> tuple[Tensor]:
    hidden, weight, bias, targets, smoothing, ignore_index, *given, _, reduction = arguments[:CALL]
    dtypes = Precision(*given)
    with without_autocast(hidden):
        hidden, weight, bias = exact((hidden, weight, bias), dtypes)
        loss = reference.linear_cross_entropy(
            hidden, weight, targets, bias, smoothing, ignore_index, reduction
        )
    return (loss.to(dtypes.output),)


register(
    _library,
    Operation("linear_cross_entropy", _forward, _forward_fake, 1, _gradients, _by_reference),
)
register_backward(_library, "linear_cross_entropy_backward", _backward, _backward_fake)
