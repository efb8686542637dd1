"""A recurrent layer over whole sequences with products in int8, for inference on a CPU.

The input product of all steps is one product; each step then multiplies the hidden states, in the
order of time or against it. A sequence keeps its state past its end, so that a row's result does
not depend on the rows beside it. Cells and gates are the decoder's (kernels/common/cell_step.py).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kernels.common.cell_step import cell_step
from kernels.common.prepared_linear import PreparedLinear, prepare_linear, prepared_linear
from kernels.decoder.gates import bias, columns
from kernels.decoder.weights import LayerWeights
from kernels.modules import GRU, LSTM, RNN


class QuantisedDirection(NamedTuple):
    inputs: PreparedLinear  # (C, I), with both biases
    hidden: PreparedLinear  # (C, H)


class QuantisedLayer(NamedTuple):
    """Made by ``quantise_layer``; has nothing of the layer's own weights."""

    kind: str
    size: int  # H
    directions: tuple[QuantisedDirection, ...]


def quantise_layer(layer: LSTM | GRU | RNN) -> QuantisedLayer:
    """A layer of one level, in one direction or two, without options beyond torch.nn's: no layer
    norm inside, no zoneout, no projection. Raises RuntimeError where there are no int8 products.
    """
    kind = str(layer.nonlinearity) if isinstance(layer, RNN) else type(layer).__name__.lower()
    directions = []
    for weight_ih, weight_hh, bias_ih, bias_hh in _by_direction(layer):
        weights = LayerWeights(weight_ih, weight_hh, bias_ih, bias_hh, None, None)
        directions.append(
            QuantisedDirection(
                prepare_linear(columns(weight_ih, kind, "x"), bias(weights, kind), torch.int8),
                prepare_linear(columns(weight_hh, kind, "h"), None, torch.int8),
            )
        )
    return QuantisedLayer(kind, layer.hidden_size, tuple(directions))


def _by_direction(layer: LSTM | GRU | RNN) -> list[tuple[Tensor, ...]]:
    return [tuple(weight.detach() for weight in weights) for weights in layer.all_weights]


@torch.no_grad()
def quantised_recurrence(
    layer: QuantisedLayer, x: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """x (B, S, I), lengths (B,) -> outputs (B, S, D*H), zero past a length; the last hidden and,
    of an LSTM, cell states (D, B, H)."""
    batch, steps, _ = x.shape
    inside = torch.arange(steps, device=x.device).unsqueeze(1) < lengths  # (S, B)
    outputs, hiddens, cells = [], [], []
    flat = x.transpose(0, 1).reshape(steps * batch, -1)  # (S*B, I)
    for number, direction in enumerate(layer.directions):
        sums = prepared_linear(flat, direction.inputs).view(steps, batch, -1)  # (S, B, C)
        h = x.new_zeros(batch, layer.size)
        c = x.new_zeros(batch, layer.size) if layer.kind == "lstm" else None
        sequence = x.new_zeros(steps, batch, layer.size)
        for t in range(steps) if number == 0 else reversed(range(steps)):
            gates = prepared_linear(h, direction.hidden).add_(sums[t])  # (B, C)
            after, cell = cell_step(layer.kind, gates, h, c, rough=False, fixed=True)
            here = inside[t].unsqueeze(1)  # (B, 1)
            h = torch.where(here, after, h)
            c = None if c is None or cell is None else torch.where(here, cell, c)
            torch.mul(after, here, out=sequence[t])
        outputs.append(sequence)
        hiddens.append(h)
        cells.append(c)
    found = [c for c in cells if c is not None]
    joined = torch.cat(outputs, 2).transpose(0, 1)  # (B, S, D*H)
    return joined, torch.stack(hiddens), torch.stack(found) if found else None
