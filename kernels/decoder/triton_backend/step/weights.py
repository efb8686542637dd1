"""What is the same at every step of a search, laid out once as the kernels read it."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.common.chip import chip_of
from kernels.common.masking import padding, without_padding
from kernels.decoder.gates import bias, columns
from kernels.decoder.triton_backend.step.tiles import folds
from kernels.decoder.weights import DecoderWeights, LayerWeights, Memory


class JoinedWeights(NamedTuple):
    """Made by ``joined_weights``. Products in the dtype of ``first``, the rest in float32.

    Holds the counter of the persistent schedule's barrier: steps with the same JoinedWeights must
    follow one another, as those of a search do. Searches at the same time need one each.
    """

    first: Tensor  # (C, E + F + H) on [embedding; feed; hidden], F = A or 0
    deep: Tensor  # (L-1, C, 2H)
    biases: Tensor  # (L, C)
    ask: Tensor  # ([Q +] A + G, H): query, the output's share of the hidden state, context gate
    context: Tensor  # (A, D): the output's share of the context
    inputs: int  # E
    queries: int  # Q of a query that is a product, else 0
    gate: int  # G, or 0
    score: Tensor | None  # (Q,)
    gate_bias: Tensor | None  # (G,)
    gain: Tensor | None  # (L, H)
    shift: Tensor | None
    normed: int  # bit n: layer n is normalised
    sentinel: Tensor | None  # (H, inputs of the top layer + H), its gate
    sentinel_bias: Tensor | None  # (H,)
    sentinel_key: Tensor | None  # (Q, H)
    counter: Tensor  # (3,) int32, zero: arrivals, departures, status


def joined_weights(
    weights: DecoderWeights, kind: str, inputs: int, product: torch.dtype
) -> JoinedWeights:
    """As kernels.decoder.step_weights."""
    first, *deep = weights.layers
    size = first.weight_hh.size(1)
    context, own = weights.output.detach().split([weights.output.size(1) - size, size], 1)
    ask = [t for t in (weights.query, own, weights.gate) if t is not None]
    joined = [_joined(layer, kind, product) for layer in deep]
    rows = joined[0].size(0) if joined else 0
    gain = shift = None
    normed = [layer.norm_weight is not None for layer in weights.layers]
    if any(normed):
        none = torch.zeros_like(own[0, :size])
        pairs = [(none, none) if layer[4] is None else layer[4:6] for layer in weights.layers]
        gain, shift = (_stacked(list(tensors)) for tensors in zip(*pairs, strict=True))
    gate = weights.sentinel
    opening = None if gate is None else torch.cat([gate.weight_x, gate.weight_h], 1)
    return JoinedWeights(
        _joined(first, kind, product),
        torch.stack(joined) if joined else own.new_empty(0, rows, 2 * size, dtype=product),
        _stacked([bias(layer, kind) for layer in weights.layers]),
        torch.cat([t.detach().to(product) for t in ask]),
        context.to(product).contiguous(),
        inputs,
        0 if weights.query is None else weights.query.size(0),
        0 if weights.gate is None else weights.gate.size(0),
        None if weights.score is None else weights.score.detach().float().contiguous(),
        None if weights.gate_bias is None else weights.gate_bias.detach().float().contiguous(),
        gain,
        shift,
        sum(1 << number for number, there in enumerate(normed) if there),
        None if opening is None else opening.detach().to(product),
        None if gate is None else gate.bias.detach().float().contiguous(),
        None if gate is None else gate.key.detach().to(product).contiguous(),
        torch.zeros(3, dtype=torch.int32, device=own.device),
    )


def _joined(layer: LayerWeights, kind: str, product: torch.dtype) -> Tensor:
    """(C, I + H)"""
    parts = (columns(layer.weight_ih, kind, "x"), columns(layer.weight_hh, kind, "h"))
    return torch.cat([part.detach().to(product) for part in parts], 1)


def _stacked(tensors: list[Tensor]) -> Tensor:
    return torch.stack([tensor.detach().float() for tensor in tensors])


def input_sums(inputs: Tensor, weights: JoinedWeights) -> Tensor:
    """inputs (V, E) -> their share of the gates of layer 0 with its bias (V, C), in the products'
    dtype (Devlin 2017, "Sharp models on dull hardware")."""
    first = weights.first[:, : weights.inputs]  # (C, E)
    return F.linear(inputs.to(first.dtype), first, weights.biases[0].to(first.dtype))


def joined_memory(
    memory: Memory, weights: JoinedWeights
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """-> keys (B, S, Q), values (B, S, D) or values through the output's weight (B, S, A), one of
    the two, and padded (B, S). What lies past a length is zero."""
    keys, values, lengths = memory
    padded = padding(lengths, keys.size(0), keys.size(1), keys.device)
    keys = without_padding(keys, padded).detach().contiguous()
    values = without_padding(values, padded).detach().contiguous()
    width, depth = weights.context.shape
    element = weights.context.element_size()
    chip = chip_of(values.device)
    # A gate of one number commutes with the output's product, one for each value does not. The
    # sentinel is a value that each step makes.
    commutes = (weights.gate <= 1 or not depth) and weights.sentinel is None
    if not commutes or (
        depth and not folds(values.size(0), values.size(1), depth, width, element, chip)
    ):
        return keys, values, None, padded
    folded = F.linear(values.to(weights.context.dtype), weights.context)  # (B, S, A)
    return keys, None, folded, padded
