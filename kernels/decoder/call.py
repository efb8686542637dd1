"""The arguments of one attention_decoder, and the same as one flat list of tensors.

The registered operator takes lists; every backend takes a Call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from kernels.common.precision import Precision
from kernels.decoder.sentinel import Sentinel
from kernels.decoder.weights import (
    DecoderState,
    DecoderWeights,
    DropoutMasks,
    LayerWeights,
    Memory,
)

LAYER = len(LayerWeights._fields)
SENTINEL = len(Sentinel._fields)
HEAD = 11 + SENTINEL  # tensors before those of the layers


@dataclass(frozen=True)
class Call:
    """The arguments of one attention_decoder."""

    inputs: Tensor  # (B, T, E)
    weights: DecoderWeights
    state: DecoderState
    memory: Memory | None
    masks: DropoutMasks
    kind: str
    scale: float
    residual: bool
    dtypes: Precision
    schedule: str = ""  # what use_schedule asks for

    @property
    def normed(self) -> bool:
        """Whether any layer has layer normalisation."""
        return any(layer.norm_weight is not None for layer in self.weights.layers)

    @property
    def shown(self) -> bool:
        """Whether a layer's output is something else than its state."""
        return self.normed or bool(self.masks.between) or (
            self.residual and len(self.weights.layers) > 1
        )  # fmt: skip


def differentiable(layers: int) -> int:
    """How many of the places of ``flatten``, from the first, may have a gradient."""
    return HEAD + LAYER * layers


def flatten(call: Call) -> list[Tensor | None]:
    """Every tensor, in one order: those that may have a gradient, then lengths and masks."""
    weights, memory = call.weights, call.memory
    keys, values, lengths = (None, None, None) if memory is None else memory
    return [
        call.inputs, *call.state, keys, values, weights.query, weights.score, weights.output,
        weights.gate, weights.gate_bias, *(weights.sentinel or (None,) * SENTINEL),
        *(tensor for layer in weights.layers for tensor in layer),
        lengths, call.masks.output, *call.masks.between,
    ]  # fmt: skip


def unflatten(
    flat: Sequence[Any],
    layers: int,
    kind: str,
    scale: float,
    residual: bool,
    dtypes: Precision,
    schedule: str = "",
) -> Call:
    """The Call whose tensors ``flat`` are, None where there is none."""
    inputs, hidden, cell, feed, keys, values, query, score, output, gate, bias, *rest = flat
    sentinel, rest = rest[:SENTINEL], rest[SENTINEL:]
    stack = tuple(LayerWeights(*rest[n * LAYER : (n + 1) * LAYER]) for n in range(layers))
    lengths, output_mask, *between = rest[layers * LAYER :]
    weights = DecoderWeights(
        stack, output, query, score, gate, bias,
        None if sentinel[0] is None else Sentinel(*sentinel),
    )  # fmt: skip
    return Call(
        inputs, weights, DecoderState(hidden, cell, feed),
        None if keys is None else Memory(keys, values, lengths),
        DropoutMasks(tuple(between), output_mask), kind, scale, residual, dtypes, schedule,
    )  # fmt: skip
