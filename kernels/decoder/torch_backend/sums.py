"""The weights that make every step's sums: of the layers' gates, and of the sentinel's gate.

The sentinel's gate reads what the top layer reads, [input; hidden]: its H columns stand beside the
C gate columns of that layer, so that one product makes both, forward and backward.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.common import products
from kernels.decoder.call import Call
from kernels.decoder.gates import bias, columns, joined


def loop_weights(call: Call) -> list[Tensor]:
    """Each layer's weight on [input; hidden] in the loop, (C, I + H); the top one's (C + H, I + H)
    where there is a sentinel."""
    static, own = call.inputs.shape[2], call.weights.sentinel
    found = [
        joined(layer, call.kind, 0 if number else static)
        for number, layer in enumerate(call.weights.layers)
    ]
    if own is not None:
        inside = own.weight_x[:, static if len(found) == 1 else 0 :]
        found[-1] = torch.cat([found[-1], torch.cat([inside, own.weight_h], 1)])
    return [weight.to(call.dtypes.product) for weight in found]


def loop_biases(call: Call) -> list[Tensor]:
    """(C,) of each layer, or (C + H,)."""
    found = [bias(layer, call.kind) for layer in call.weights.layers]
    if call.weights.sentinel is not None:
        found[-1] = torch.cat([found[-1], call.weights.sentinel.bias])
    return found


def static_weight(call: Call) -> Tensor:
    """(C, E), or (C + H, E): what of the first layer's weight meets the embedding."""
    embedding, own = call.inputs.shape[2], call.weights.sentinel
    weight = columns(call.weights.layers[0].weight_ih[:, :embedding], call.kind, "x")
    if own is not None and len(call.weights.layers) == 1:
        weight = torch.cat([weight, own.weight_x[:, :embedding]])
    return weight.to(call.dtypes.product)


def embedded(call: Call) -> Tensor:
    """The inputs of all steps, (T*B, E), time-major, in the dtype of products."""
    return call.inputs.transpose(0, 1).to(call.dtypes.product).flatten(0, 1)


def static_sums(call: Call, own_bias: Tensor) -> Tensor:
    """The embedding's share of the first layer's sums, with its bias, (T, B, C)."""
    batch, steps, _ = call.inputs.shape
    sums = products.product(embedded(call), static_weight(call).t()).to(call.inputs.dtype)
    return sums.add_(own_bias).view(steps, batch, sums.shape[1])
