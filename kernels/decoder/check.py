"""The arguments of an attention decoder, checked before any backend sees them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from kernels.attention.check import check_source_lengths
from kernels.common.precision import autocast_enabled
from kernels.decoder.sentinel import Sentinel
from kernels.decoder.weights import (
    DecoderState,
    DecoderWeights,
    DropoutMasks,
    LayerWeights,
    Memory,
    gates_of,
)


def check(
    inputs: Tensor,
    weights: DecoderWeights,
    state: DecoderState,
    memory: Memory | None,
    masks: DropoutMasks,
    kind: str,
) -> None:
    """Raise ValueError, naming the argument, for shapes that do not fit together, and for dtypes
    and devices that are not those of ``inputs``. Values are seen by ``check_values``."""
    if inputs.dim() != 3:
        raise ValueError(f"inputs has shape {tuple(inputs.shape)}; expected (B, T, E)")
    if not inputs.is_floating_point():
        raise ValueError(f"inputs has dtype {inputs.dtype}; expected a floating dtype")
    if not weights.layers:
        raise ValueError("weights.layers is empty; expected one LayerWeights or more")
    for name, tensor in _named(weights, state, memory, masks):
        _check_kind(name, tensor, inputs)
        _check_rank(name, tensor)
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
    if memory is not None:
        _check_memory(weights, memory, batch, size)


def check_values(memory: Memory | None) -> None:
    """Lengths from 0 to S: raises ValueError. On CUDA an assertion on the device, since a look at
    the values would wait for it."""
    if memory is not None:
        check_source_lengths(memory.lengths, memory.keys.size(1))


def _named(
    weights: DecoderWeights, state: DecoderState, memory: Memory | None, masks: DropoutMasks
) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that is there, but the lengths, by its name among the arguments."""
    groups: list[tuple[str, tuple[str, ...], tuple[Tensor | None, ...]]] = [
        ("state", DecoderState._fields, state)
    ]
    groups += [
        (f"weights.layers[{number}]", LayerWeights._fields, layer)
        for number, layer in enumerate(weights.layers)
    ]
    groups.append(("weights", DecoderWeights._fields[1:-1], weights[1:-1]))
    if weights.sentinel is not None:
        groups.append(("weights.sentinel", Sentinel._fields, weights.sentinel))
    if memory is not None:
        groups.append(("memory", ("keys", "values"), (memory.keys, memory.values)))
    groups.append(("masks", ("output",), (masks.output,)))
    for prefix, fields, tensors in groups:
        for field, tensor in zip(fields, tensors, strict=True):
            if tensor is not None:
                yield f"{prefix}.{field}", tensor
    for number, mask in enumerate(masks.between):
        yield f"masks.between[{number}]", mask


def _check_kind(name: str, tensor: Tensor, inputs: Tensor) -> None:
    """Device and dtype; autocast may mix floating dtypes."""
    if tensor.device != inputs.device:
        raise ValueError(f"{name} is on {tensor.device}; expected {inputs.device} as inputs is")
    if tensor.dtype == inputs.dtype:
        return
    if not (tensor.is_floating_point() and autocast_enabled(inputs.device.type)):
        raise ValueError(
            f"{name} has dtype {tensor.dtype}; expected {inputs.dtype} as inputs has "
            "(convert one of them, or use torch.autocast)"
        )


_RANKS = {
    "state.hidden": 3, "state.cell": 3, "state.feed": 2, "weights.output": 2, "weights.query": 2,
    "weights.score": 1, "weights.gate": 2, "memory.keys": 3, "memory.values": 3,
}  # fmt: skip


def _check_rank(name: str, tensor: Tensor) -> None:
    """Check the rank of tensors whose sizes are read singly. Other shapes are compared whole."""
    rank = 3 if name.startswith("masks.") else _RANKS.get(name, tensor.dim())
    if tensor.dim() != rank:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}; expected {rank} dimensions")


def _check_memory(weights: DecoderWeights, memory: Memory, batch: int, size: int) -> None:
    """``size``: H."""
    lengths = memory.lengths
    if lengths is not None:
        if not isinstance(lengths, Tensor):
            raise ValueError(
                f"memory.lengths is a {type(lengths).__name__}; expected a tensor ({batch},)"
            )
        if lengths.shape != (batch,):
            raise ValueError(
                f"memory.lengths has shape {tuple(lengths.shape)}; expected ({batch},)"
            )
        if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool:
            raise ValueError(f"memory.lengths has dtype {lengths.dtype}; expected an integer one")
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
        if tensor is None and not name.startswith("norm"):
            raise ValueError(f"weights.layers[{number}].{name} is None; expected {shape}")
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
