"""The parameters, masks and state of an attention decoder, as explicit tuples of tensors."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from kernels.decoder.sentinel import Sentinel
from kernels.recurrence.reference import GATES


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


def gates_of(kind: str) -> int:
    """Rows of weight_hh per hidden unit."""
    try:
        return GATES[kind]
    except KeyError:
        raise ValueError(f"kind is {kind!r}; expected 'lstm', 'gru', 'tanh' or 'relu'") from None


def check(
    inputs: Tensor,
    weights: DecoderWeights,
    state: DecoderState,
    memory: Memory | None,
    masks: DropoutMasks,
    kind: str,
) -> None:
    """Raise ValueError, naming the argument, for shapes that do not fit together."""
    if inputs.dim() != 3:
        raise ValueError(f"inputs has shape {tuple(inputs.shape)}; expected (B, T, E)")
    batch, layers, size = inputs.shape[0], len(weights.layers), state.hidden.shape[-1]
    if state.hidden.shape != (layers, batch, size):
        raise ValueError(
            f"state.hidden has shape {tuple(state.hidden.shape)}; expected "
            f"(L={layers}, B={batch}, H)"
        )
    if (state.cell is None) == (kind == "lstm"):
        raise ValueError(f"state.cell must be given for 'lstm' and only there; kind is {kind!r}")
    if state.cell is not None and state.cell.shape != state.hidden.shape:
        raise ValueError(
            f"state.cell has shape {tuple(state.cell.shape)}; expected {tuple(state.hidden.shape)}"
        )
    width = weights.output.shape[0]
    fed = 0 if state.feed is None else width
    if state.feed is not None and state.feed.shape != (batch, width):
        raise ValueError(
            f"state.feed has shape {tuple(state.feed.shape)}; expected {(batch, width)}"
        )
    for mask, units in [*((mask, size) for mask in masks.between), (masks.output, width)]:
        if mask is None:
            continue
        if mask.shape[0] not in (1, inputs.shape[1]) or mask.shape[1:] != (batch, units):
            raise ValueError(
                f"masks: found shape {tuple(mask.shape)}; expected (T or 1, {batch}, {units})"
            )
    if len(masks.between) not in (0, layers - 1):
        raise ValueError(
            f"masks.between: found {len(masks.between)} masks; expected none or L-1 = {layers - 1}"
        )
    for number, layer in enumerate(weights.layers):
        inside = inputs.shape[2] + fed if number == 0 else size
        _check_layer(number, layer, gates_of(kind) * size, inside, size)
    depth = size if memory is None else size + memory.values.shape[2]
    if weights.output.shape[1] != depth:
        raise ValueError(
            f"weights.output has shape {tuple(weights.output.shape)}; expected (A, {depth})"
        )
    values = None if memory is None else memory.values.shape[2]
    _check_gate(weights, size, values)
    if weights.sentinel is not None:
        _check_sentinel(weights, size, values)
    if memory is None:
        return
    if memory.lengths is not None and memory.lengths.shape != (batch,):
        raise ValueError(
            f"memory.lengths has shape {tuple(memory.lengths.shape)}; expected ({batch},)"
        )
    if memory.keys.shape[:2] != memory.values.shape[:2] or memory.keys.shape[0] != batch:
        raise ValueError(
            f"memory.keys {tuple(memory.keys.shape)} and memory.values "
            f"{tuple(memory.values.shape)} must agree in (B={batch}, S)"
        )
    if weights.query is not None and weights.query.shape[1:] != (size,):
        raise ValueError(
            f"weights.query has shape {tuple(weights.query.shape)}; expected (Q, {size})"
        )
    query = size if weights.query is None else weights.query.shape[0]
    if weights.score is not None and weights.score.shape != (query,):
        raise ValueError(
            f"weights.score has shape {tuple(weights.score.shape)}; expected ({query},)"
        )
    if memory.keys.shape[2] != query:
        raise ValueError(
            f"memory.keys has width {memory.keys.shape[2]}, queries have {query}; "
            "expected equal ones"
        )


def _check_layer(number: int, layer: LayerWeights, gates: int, inside: int, size: int) -> None:
    """``gates``: rows of the weights; ``inside``: I of the layer."""
    if (layer.norm_weight is None) != (layer.norm_bias is None):
        raise ValueError(
            f"weights.layers[{number}]: norm_weight, norm_bias: found one of them; expected both "
            "or none"
        )
    shapes = ((gates, inside), (gates, size), (gates,), (gates,), (size,), (size,))
    for name, tensor, shape in zip(LayerWeights._fields, layer, shapes, strict=True):
        if tensor is not None and tensor.shape != shape:
            raise ValueError(
                f"weights.layers[{number}].{name} has shape {tuple(tensor.shape)}; expected {shape}"
            )


def _check_gate(weights: DecoderWeights, size: int, values: int | None) -> None:
    """``values``: D of the memory; None: no memory."""
    gate, bias = weights.gate, weights.gate_bias
    if gate is None and bias is None:
        return
    if values is None:
        raise ValueError("weights.gate is given without memory; it scales what attention found")
    if gate is None or gate.shape not in ((1, size), (values, size)):
        found = None if gate is None else tuple(gate.shape)
        raise ValueError(
            f"weights.gate has shape {found}; expected (1, {size}) or ({values}, {size})"
        )
    if bias is None or bias.shape != gate.shape[:1]:
        found = None if bias is None else tuple(bias.shape)
        raise ValueError(f"weights.gate_bias has shape {found}; expected ({gate.shape[0]},)")


def _check_sentinel(weights: DecoderWeights, size: int, values: int | None) -> None:
    """``values``: D of the memory; None: no memory."""
    if values is None:
        raise ValueError("weights.sentinel is given without memory; it is a place beside others")
    if values != size:
        raise ValueError(
            f"memory.values are {values} wide, the hidden state {size}; with weights.sentinel, "
            "which is a value made of the hidden state, expected equal ones"
        )
    query = size if weights.query is None else weights.query.shape[0]
    expected = {
        "weight_x": (size, weights.layers[-1].weight_ih.shape[1]),
        "weight_h": (size, size),
        "bias": (size,),
        "key": (query, size),
    }
    for name, shape in expected.items():
        found = tuple(getattr(weights.sentinel, name).shape)
        if found != shape:
            raise ValueError(f"weights.sentinel.{name} has shape {found}; expected {shape}")
