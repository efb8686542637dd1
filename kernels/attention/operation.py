"""Attention as one PyTorch operator with a backward pass, on the torch or triton backend.

``kernels.common.registration`` says what registering gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from kernels.attention import reference, torch_backend
from kernels.attention.arguments import Arguments, Options, problem_of
from kernels.attention.check import check_source_lengths
from kernels.attention.schedule import asked_tiles, keeps_scores
from kernels.common.precision import Precision, exact, precision, without_autocast
from kernels.common.registration import Operation, Structure, register, register_backward

TENSORS = len(Arguments._fields)
CALL = TENSORS + len(Options._fields) + 5  # flat arguments in a _Call


def attention(
    arguments: Arguments, options: Options, *, backend: str, return_weights: bool
) -> tuple[Tensor, Tensor]:
    """-> context (B, T, D), weights (B, N, T, S) or, where they are not asked for, (0,)"""
    keep = torch.is_grad_enabled() and any(
        tensor is not None and tensor.requires_grad for tensor in arguments
    )
    context, weights, *_ = torch.ops.kernels.attention(
        *arguments,
        *options,
        backend,
        *precision(arguments.query),
        asked_tiles(),
        return_weights,
        keep,
    )
    return context, weights


def _triton() -> ModuleType:
    from kernels.attention import triton_backend  # imports triton

    return triton_backend


_SHARED = (
    "Tensor query, Tensor keys, Tensor values, Tensor? weight, Tensor? bias, Tensor? coverage, "
    "Tensor? coverage_weight, Tensor? centre, Tensor? lengths, Tensor? mask, float scale, "
    "float window, int heads, str backend, ScalarType product, ScalarType state, "
    "ScalarType output, str tiles"
)
# Absent tensors come and go as empty ones: operators cannot return None.
_library = torch.library.Library("kernels", "FRAGMENT")
_library.define(
    f"attention({_SHARED}, bool return_weights, bool keep) -> (Tensor, Tensor, Tensor, Tensor)"
)
_library.define(
    f"attention_backward({_SHARED}, Tensor saved, Tensor scores, Tensor? d_context, "
    f"Tensor? d_weights, bool[] wanted) -> ({', '.join(['Tensor'] * TENSORS)})"
)


class _Call:
    """The operator's flat arguments, taken apart."""

    def __init__(self, flat: Sequence[Any]) -> None:
        self.arguments = Arguments(*flat[:TENSORS])
        self.options = Options(*flat[TENSORS : CALL - 5])
        self.backend, *found, self.tiles = flat[CALL - 5 : CALL]
        self.precision = Precision(*found)

    def keeps_scores(self) -> bool:
        problem = problem_of(self.arguments, self.options)
        return self.backend == "triton" and keeps_scores(problem)

    def check(self) -> None:
        """What is seen only where a graph runs, compiled or not."""
        keys = self.arguments.keys
        check_source_lengths(self.options.lengths, keys.size(1))


def _forward(*flat: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The last two are for the backward pass. ``saved``: weights (B, N, T, S) of the torch backend,
    statistics (B, N, T, 2) of the triton one, and its ``scores`` (B, N, T, S) where
    ``keeps_scores`` says so."""
    call, (return_weights, keep) = _Call(flat), flat[CALL:]
    query = call.arguments.query
    call.check()
    scores = None
    with without_autocast(query), torch.no_grad():
        if call.backend == "triton":
            context, weights, saved, scores = _triton().forward(
                call.arguments, call.options, call.precision, call.tiles, return_weights,
                keep and call.keeps_scores(),
            )  # fmt: skip
        else:
            context, saved = torch_backend.forward(call.arguments, call.options, call.precision)
            weights = saved.to(call.precision.output, copy=keep) if return_weights else None
    empty = query.new_empty
    return (
        context,
        empty(0, dtype=call.precision.output) if weights is None else weights,
        saved if keep else empty(0, dtype=call.precision.state),
        empty(0, dtype=torch.float32) if scores is None else scores,
    )


def _backward(*flat: Any) -> tuple[Tensor, ...]:
    call, (saved, scores, *grads, wanted) = _Call(flat), flat[CALL:]
    with without_autocast(saved), torch.no_grad():
        if call.backend == "triton":
            found = _triton().backward(
                call.arguments, call.options, call.precision, call.tiles, saved,
                scores if scores.numel() else None, *grads,
            )  # fmt: skip
        else:
            found = torch_backend.backward(
                call.arguments, call.options, call.precision, saved, *grads
            )
    results = []
    for grad, argument, want in zip(found, call.arguments, wanted, strict=True):
        if argument is None or not want:
            results.append(saved.new_empty(0))
        elif grad is None:
            results.append(torch.zeros_like(argument, memory_format=torch.contiguous_format))
        else:
            results.append(grad.to(argument.dtype).contiguous())
    return tuple(results)


def _forward_fake(*flat: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    call, (return_weights, keep) = _Call(flat), flat[CALL:]
    query, keys, values = call.arguments[:3]
    dtypes = call.precision
    batch, steps, _ = query.shape
    rows = (batch, call.options.heads, steps)
    weights = (*rows, keys.size(1)) if return_weights else (0,)
    saved = (*rows, 2 if call.backend == "triton" else keys.size(1))
    scores = (*rows, keys.size(1)) if keep and call.keeps_scores() else (0,)
    return (
        query.new_empty((batch, steps, values.size(2)), dtype=dtypes.output),
        query.new_empty(weights, dtype=dtypes.output),
        query.new_empty(saved if keep else (0,), dtype=dtypes.state),
        query.new_empty(scores, dtype=torch.float32),
    )


def _backward_fake(*flat: Any) -> tuple[Tensor, ...]:
    call, (saved, *_, wanted) = _Call(flat), flat[CALL:]
    return tuple(
        torch.empty_like(argument, memory_format=torch.contiguous_format)
        if want and argument is not None
        else saved.new_empty(0)
        for argument, want in zip(call.arguments, wanted, strict=True)
    )


def _gradients(
    arguments: Structure,
    saved: Sequence[Tensor],
    grads: Sequence[Tensor | None],
    wanted: Structure,
) -> Sequence[Tensor]:
    wanted = [bool(want) for want in wanted[:TENSORS]]
    return torch.ops.kernels.attention_backward(*arguments[:CALL], *saved, *grads, wanted)


def _by_reference(arguments: Structure) -> tuple[Tensor | None, ...]:
    call, return_weights = _Call(arguments), arguments[CALL]
    call.check()
    with without_autocast(call.arguments.query):
        own = Arguments(*exact(call.arguments, call.precision))
        context, weights = reference.attention(own, call.options)
    output = call.precision.output
    return context.to(output), weights.to(output) if return_weights else None


register(_library, Operation("attention", _forward, _forward_fake, 2, _gradients, _by_reference))
register_backward(_library, "attention_backward", _backward, _backward_fake)
