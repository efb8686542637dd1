"""The attention decoder as one PyTorch operator with a backward pass, on torch or triton.

A registered operator is opaque to ``torch.compile`` and ``torch.export``: the graph does not break,
and the loop is not unrolled into it. Tensors travel as one list, with the places in
``call.flatten`` where they belong; what the backward pass needs is one more list, a backend's own.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kernels.backend import use_backend
from kernels.common import second_derivative
from kernels.common.precision import Precision
from kernels.decoder import reference, torch_backend
from kernels.decoder.call import Call, differentiable, flatten, unflatten
from kernels.decoder.check import check_values
from kernels.decoder.weights import DecoderState

RESULTS = 5  # vectors, hidden, cell, feed, attention weights


def attention_decoder(call: Call, backend: str) -> tuple[Tensor, DecoderState, Tensor | None]:
    """See kernels.attention_decoder."""
    flat = flatten(call)
    places = [k for k, tensor in enumerate(flat) if tensor is not None]
    tensors = [flat[k] for k in places]
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    *results, _ = torch.ops.kernels.attention_decoder(
        tensors, places, len(call.weights.layers), call.kind, call.scale, call.residual, backend,
        *call.dtypes, call.schedule, keep,
    )  # fmt: skip
    there = _there(call)
    vectors, hidden, cell, feed, alpha = (
        result if given else None for result, given in zip(results, there, strict=True)
    )
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
        found = Precision(self.product, self.state, self.output)
        return unflatten(
            flat, self.layers, self.kind, self.scale, self.residual, found, self.schedule
        )


@torch.library.impl(_library, "attention_decoder", "CompositeExplicitAutograd")
def _forward(*flat: Any) -> tuple[Any, ...]:
    given = _Given(*flat[:CALL])
    check_values(given.call().memory)  # here, where a compiled graph runs, too
    return _run(given, flat[CALL], dry=False)


@torch.library.register_fake("kernels::attention_decoder", lib=_library)
def _forward_fake(*flat: Any) -> tuple[Any, ...]:
    return _run(_Given(*flat[:CALL]), flat[CALL], dry=True)


def _run(given: _Given, keep: bool, dry: bool) -> tuple[Any, ...]:
    """``dry``: the results' shapes alone, from the same code that allocates them."""
    call = given.call()
    inputs = call.inputs
    with torch.autocast(inputs.device.type, enabled=False), torch.no_grad():
        results, saved = _backend(given.backend).forward(call, keep, dry)
    results = (inputs.new_empty(0) if result is None else result for result in results)
    return (*results, list(saved) if keep else [])


@torch.library.impl(_library, "attention_decoder_backward", "CompositeExplicitAutograd")
def _backward(*flat: Any) -> list[Tensor]:
    given, (saved, *grads, wanted) = _Given(*flat[:CALL]), flat[CALL:]
    call = given.call()
    with torch.autocast(call.inputs.device.type, enabled=False), torch.no_grad():
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


@torch.library.register_fake("kernels::attention_decoder_backward", lib=_library)
def _backward_fake(*flat: Any) -> list[Tensor]:
    tensors, wanted = flat[0], flat[-1]
    return [
        torch.empty_like(tensor, memory_format=torch.contiguous_format)
        if want
        else tensor.new_empty(0)
        for tensor, want in zip(tensors, wanted, strict=True)
    ]


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
    tensors, *ctx.rest = inputs[:CALL]
    saved = output[RESULTS]
    ctx.count, ctx.between = len(tensors), len(saved)
    ctx.save_for_backward(*tensors, *saved)
    ctx.mark_non_differentiable(*saved)
    ctx.set_materialize_grads(False)


def _autograd(ctx: Any, *grads: Any) -> tuple[Any, ...]:
    tensors, saved = list(ctx.saved_tensors[: ctx.count]), list(ctx.saved_tensors[ctx.count :])
    given = _Given(tensors, *ctx.rest)
    last = differentiable(given.layers)
    wanted = [
        need and place < last
        for need, place in zip(ctx.needs_input_grad[0], given.places, strict=True)
    ]
    there = _there(given.call())
    of_results = [g if given_ else None for g, given_ in zip(grads[:RESULTS], there, strict=True)]
    if all(gradient is None for gradient in of_results):
        found = [None] * len(tensors)
    elif torch.is_grad_enabled():  # create_graph: these gradients are differentiated again
        found = _differentiable_backward(given, of_results, wanted)
    else:
        found = torch.ops.kernels.attention_decoder_backward(
            tensors, *ctx.rest, saved, *of_results, wanted
        )
        found = [f if want else None for f, want in zip(found, wanted, strict=True)]
    return (found, *(None,) * CALL)


torch.library.register_autograd(
    "kernels::attention_decoder", _autograd, setup_context=_save, lib=_library
)


def _differentiable_backward(
    given: _Given, grads: list[Tensor | None], wanted: list[bool]
) -> list[Tensor | None]:
    """The same gradients by autograd through the reference, so that they have gradients too."""
    leaves = second_derivative.views(given.tensors)
    call = given.call(second_derivative.exact(leaves, given.state))
    with use_backend("reference"):  # its attention, too
        vectors, state, alpha = reference.attention_decoder(
            call.inputs, call.weights, call.state, call.memory, call.kind, call.scale,
            call.residual, call.masks,
        )  # fmt: skip
    return second_derivative.gradients((vectors, *state, alpha), grads, leaves, wanted)
