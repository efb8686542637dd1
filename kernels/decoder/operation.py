"""The attention decoder as one PyTorch operator with a backward pass, on torch or triton.

``kernels.common.registration`` says what registering gives. Tensors travel as one list, with the
places in ``call.flatten`` where they belong; what the backward pass needs is one more list, a
backend's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kernels.backend import use_backend
from kernels.common.precision import Precision, exact, without_autocast
from kernels.common.registration import Operation, Structure, register, register_backward
from kernels.decoder import reference, torch_backend
from kernels.decoder.call import Call, differentiable, flatten, unflatten
from kernels.decoder.check import check_values
from kernels.decoder.weights import DecoderState

RESULTS = 5  # vectors, hidden, cell, feed, attention weights


def attention_decoder(call: Call, backend: str) -> tuple[Tensor, DecoderState, Tensor | None]:
    """See kernels.attention_decoder."""
    flat = flatten(call)
    places = [k for k, tensor in enumerate(flat) if tensor is not None]
    tensors = [tensor for tensor in flat if tensor is not None]
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    *results, _ = torch.ops.kernels.attention_decoder(
        tensors, places, len(call.weights.layers), call.kind, call.scale, call.residual, backend,
        *call.dtypes, call.schedule, keep,
    )  # fmt: skip
    there = _there(call)
    found: list[Any] = [
        result if given else None for result, given in zip(results, there, strict=True)
    ]
    vectors, hidden, cell, feed, alpha = found
    return vectors, DecoderState(hidden, cell, feed), alpha


def _there(call: Call) -> tuple[bool, ...]:
    """Which results there are."""
    state = call.state
    return True, True, state.cell is not None, state.feed is not None, call.memory is not None


def _backend(name: str) -> ModuleType:
    if name == "torch":
        return torch_backend
    from kernels.decoder import triton_backend  # imports triton

    return triton_backend


_SHARED = (
    "Tensor[] tensors, int[] places, int layers, str kind, float scale, bool residual, "
    "str backend, ScalarType product, ScalarType state, ScalarType output, str schedule"
)
# Absent tensors come and go as empty ones: operators cannot return None.
_library = torch.library.Library("kernels", "FRAGMENT")
_library.define(f"attention_decoder({_SHARED}, bool keep) -> ({'Tensor, ' * RESULTS}Tensor[])")
_library.define(
    f"attention_decoder_backward({_SHARED}, Tensor[] saved, "
    "Tensor? d_vectors, Tensor? d_hidden, Tensor? d_cell, Tensor? d_feed, Tensor? d_attention, "
    "bool[] wanted) -> Tensor[]"
)
CALL = 11  # flat arguments of either operator that are in a _Given


class _Given(NamedTuple):
    """The operators' shared arguments."""

    tensors: list[Tensor]
    places: list[int]
    layers: int
    kind: str
    scale: float
    residual: bool
    backend: str
    product: torch.dtype
    state: torch.dtype
    output: torch.dtype
    schedule: str

    def call(self, tensors: list[Tensor] | None = None) -> Call:
        """``tensors``: in place of those given."""
        count = max(differentiable(self.layers) + 2, self.places[-1] + 1)
        flat: list[Tensor | None] = [None] * count
        for place, tensor in zip(self.places, tensors or self.tensors, strict=True):
            flat[place] = tensor
        return unflatten(
            flat, self.layers, self.kind, self.scale, self.residual, self.precision, self.schedule
        )

    @property
    def precision(self) -> Precision:
        return Precision(self.product, self.state, self.output)


def _forward(*flat: Any) -> tuple[Any, ...]:
    given = _Given(*flat[:CALL])
    check_values(given.call().memory)  # here, where a compiled graph runs, too
    return _run(given, flat[CALL], dry=False)


def _forward_fake(*flat: Any) -> tuple[Any, ...]:
    return _run(_Given(*flat[:CALL]), flat[CALL], dry=True)


def _run(given: _Given, keep: bool, dry: bool) -> tuple[Any, ...]:
    """``dry``: the results' shapes alone, from the same code that allocates them."""
    call = given.call()
    inputs = call.inputs
    with without_autocast(inputs), torch.no_grad():
        results, saved = _backend(given.backend).forward(call, keep, dry)
    results = (inputs.new_empty(0) if result is None else result for result in results)
    return (*results, list(saved) if keep else [])


def _backward(*flat: Any) -> list[Tensor]:
    given, (saved, *grads, wanted) = _Given(*flat[:CALL]), flat[CALL:]
    call = given.call()
    with without_autocast(call.inputs), torch.no_grad():
        found = _backend(given.backend).backward(call, saved, tuple(grads))
    # An operator's results are its own: what clips or sums a gradient changes it in place.
    taken = {_storage(tensor) for tensor in (*grads, *saved) if tensor is not None}
    results = []
    for place, tensor, want in zip(given.places, given.tensors, wanted, strict=True):
        gradient = found[place] if want else None
        if not want:
            results.append(tensor.new_empty(0))
        elif gradient is None:
            results.append(torch.zeros_like(tensor, memory_format=torch.contiguous_format))
        else:
            gradient = gradient.to(tensor.dtype).contiguous()
            results.append(gradient.clone() if _storage(gradient) in taken else gradient)
            taken.add(_storage(gradient))
    return results


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _backward_fake(*flat: Any) -> list[Tensor]:
    tensors, wanted = flat[0], flat[-1]
    return [
        torch.empty_like(tensor, memory_format=torch.contiguous_format)
        if want
        else tensor.new_empty(0)
        for tensor, want in zip(tensors, wanted, strict=True)
    ]


def _gradients(
    arguments: Structure,
    saved: Sequence[Tensor],
    grads: Sequence[Tensor | None],
    wanted: Structure,
) -> tuple[list[Tensor | None]]:
    given = _Given(*arguments[:CALL])
    last = differentiable(given.layers)
    wanted = [want and place < last for want, place in zip(wanted[0], given.places, strict=True)]
    there = _there(given.call())
    grads = [grad if present else None for grad, present in zip(grads, there, strict=True)]
    found = torch.ops.kernels.attention_decoder_backward(*given, list(saved), *grads, wanted)
    return ([gradient if want else None for gradient, want in zip(found, wanted, strict=True)],)


def _by_reference(arguments: Structure) -> tuple[Tensor | None, ...]:
    given = _Given(*arguments[:CALL])
    check_values(given.call().memory)
    dtypes, last = given.precision, differentiable(given.layers)
    tensors = [
        tensor if place < last else tensor.detach()  # masks are constants
        for tensor, place in zip(exact(given.tensors, dtypes), given.places, strict=True)
    ]
    call = given.call(tensors)
    with without_autocast(call.inputs), use_backend("reference"):  # of its attention, too
        vectors, state, alpha = reference.attention_decoder(
            call.inputs, call.weights, call.state, call.memory, call.kind, call.scale,
            call.residual, call.masks,
        )  # fmt: skip
    results = (vectors, *state, alpha)
    return tuple(None if r is None else r.to(dtypes.output) for r in results)


register(
    _library,
    Operation("attention_decoder", _forward, _forward_fake, RESULTS, _gradients, _by_reference),
)
register_backward(_library, "attention_decoder_backward", _backward, _backward_fake)
