"""The parameters, masks and state of an attention decoder, as explicit tuples of tensors."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from kernels.common.gates import GATES
from kernels.decoder.sentinel import Sentinel


class LayerWeights(NamedTuple):
    """One recurrent layer, laid out as in torch.nn.LSTM/GRU/RNN (G gates stacked).

    ``norm_weight``/``norm_bias`` (H,) switch on layer normalisation of the layer's output.
    """

    weight_ih: Tensor  # (G*H, I); I = E + A for the first layer with input feeding, else E or H
    weight_hh: Tensor  # (G*H, H)
    bias_ih: Tensor  # (G*H,)
    bias_hh: Tensor  # (G*H,)
    norm_weight: Tensor | None = None  # (H,)
    norm_bias: Tensor | None = None  # (H,)


class DecoderWeights(NamedTuple):
    """All parameters of the loop. The keys are projected outside, once per source."""

    layers: tuple[LayerWeights, ...]
    output: Tensor  # (A, D + H); (A, H) without attention: attentional vector, Luong eq. 5
    query: Tensor | None = None  # (Q, H); None: the hidden state itself is the query
    score: Tensor | None = None  # (Q,), additive scoring only
    # The context gate: G = 1 for one number a step, or G = D for one a value.
    gate: Tensor | None = None  # (G, H)
    gate_bias: Tensor | None = None  # (G,)
    sentinel: Sentinel | None = None  # adaptive attention


class DecoderState(NamedTuple):
    """What one step hands to the next."""

    hidden: Tensor  # (L, B, H)
    cell: Tensor | None  # (L, B, H), LSTM only
    feed: Tensor | None  # (B, A) attentional vector of the step before; None: no input feeding


class Memory(NamedTuple):
    """The encoded source that is attended to. None in its place: a decoder without attention."""

    keys: Tensor  # (B, S, Q)
    values: Tensor  # (B, S, D)
    lengths: Tensor | None = None  # (B,); None: all S positions are real


class DropoutMasks(NamedTuple):
    """Masks already divided by the keep probability; step dimension T, or 1 for one mask
    shared by all steps (variational dropout, Gal & Ghahramani 2016)."""

    between: tuple[Tensor, ...] = ()  # L-1 masks (T or 1, B, H), on the input of layers 1..L-1
    output: Tensor | None = None  # (T or 1, B, A), on the attentional vector

    def detached(self) -> DropoutMasks:
        """The same as constants, to which no gradient flows."""
        output = None if self.output is None else self.output.detach()
        return DropoutMasks(tuple(mask.detach() for mask in self.between), output)


def gates_of(kind: str) -> int:
    """Rows of weight_hh per hidden unit."""
    try:
        return GATES[kind]
    except KeyError:
        raise ValueError(f"kind is {kind!r}; expected 'lstm', 'gru', 'tanh' or 'relu'") from None


def measured_as(weights: DecoderWeights, kind: str) -> str:
    """The kind that the table of ``auto`` knows: additive scores, and no option beside them, were
    measured."""
    options = weights.gate is not None or weights.sentinel is not None
    norms = any(layer.norm_weight is not None for layer in weights.layers)
    return kind if weights.score is not None and not (options or norms) else f"{kind} with options"
