"""The attention decoder without an autograd tape: forward and backward written by hand.

What need not wait for the loop is done outside it: the embedding's share of the gates is one
product before the loop; every weight gradient, and the gradient of the values, is one product
after it. Inside the loop only the truly sequential products remain, one per layer and step, with
[input; hidden] as one row; the sentinel's gate is more columns of the top layer's. Products run in
bf16 under autocast, and of bf16 modules; states, gates and softmax stay in fp32. Additive scoring
is recomputed in the backward pass, a block of sentences at a time that fits a core's cache, so that
no (B, T, S, Q) tensor exists. Where nothing needs a gradient, all steps share the memory of one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.decoder.call import Call, flatten, unflatten
from kernels.decoder.torch_backend import backward as backwards
from kernels.decoder.torch_backend.buffers import allocate, kept, restored
from kernels.decoder.torch_backend.forward import loop

__all__ = ["backward", "forward"]


def forward(call: Call, keep: bool, dry: bool) -> tuple[tuple[Tensor | None, ...], list[Tensor]]:
    """-> vectors (B, T, A), final hidden, cell, feed, attention weights (B, T, S), and what the
    backward pass needs. ``dry``: nothing is computed, the shapes are right."""
    call, output = _widened(call), call.dtypes.output
    made = allocate(call, keep)
    vectors = made.raw if call.masks.output is None else torch.empty_like(made.raw)
    if not dry:
        loop(call, made, vectors)
    state, cell, feed = call.state, None, None
    hidden = torch.stack([layer.hidden[-1] for layer in made.layers])
    if state.cell is not None:
        cell = torch.stack([layer.cell[-1] for layer in made.layers if layer.cell is not None])
    if state.feed is not None:
        feed = vectors[-1].clone() if call.inputs.shape[1] else state.feed.clone()
    # Copies: the backward pass reads its own, whatever becomes of the results meanwhile.
    alpha = None
    if call.memory is not None and made.alpha is not None:
        alpha = made.alpha[:, :, : call.memory.keys.shape[1]].transpose(0, 1).clone()
    vectors = vectors.transpose(0, 1).clone()
    found = (vectors, hidden, cell, feed, alpha)
    results = tuple(None if result is None else result.to(output) for result in found)
    return results, kept(made) if keep else []


def backward(
    call: Call, saved: list[Tensor], grads: tuple[Tensor | None, ...]
) -> list[Tensor | None]:
    """Gradients of the differentiable places of ``call.flatten``, in their order."""
    state = call.dtypes.state
    grads = tuple(None if gradient is None else gradient.to(state) for gradient in grads)
    return backwards.loop(_widened(call), restored(saved, len(call.weights.layers)), grads)


def _widened(call: Call) -> Call:
    """All floating tensors in the dtype of states: half precision is for the products alone."""
    flat = [
        tensor if tensor is None or not tensor.is_floating_point() else tensor.to(call.dtypes.state)
        for tensor in flatten(call)
    ]
    return unflatten(
        flat, len(call.weights.layers), call.kind, call.scale, call.residual, call.dtypes,
        call.schedule,
    )  # fmt: skip
