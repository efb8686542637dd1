"""A recurrence as ONNX's operator LSTM, GRU or RNN, for ``torch.onnx.export(dynamo=True)``.

Where ONNX differs from torch.nn: time comes first, directions lie in a dimension of their own, both
biases are one tensor, and the gates come in another order (LSTM i, o, f, c; GRU z, r, h). It keeps
lengths (``sequence_lens``) and a GRU's reset after the product (``linear_before_reset``).

Legend in ``layout.py``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kernels.common.gates import GATES
from kernels.common.precision import Precision
from kernels.recurrence.layout import Arguments, Options

_OPSET = 14  # the version of ONNX in which these operators stand as they are used here
_OPERATOR = {"lstm": "LSTM", "gru": "GRU", "tanh": "RNN", "relu": "RNN"}
_ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "tanh": (0,), "relu": (0,)}  # of our gates


def recurrence(
    kind: str,
    arguments: Arguments,
    options: Options,
    lengths: Tensor | None,
    reverse: tuple[bool, ...],
    dtypes: Precision,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """-> outputs (B, T, D*H), hidden (D, B, H), cell (D, B, H) or None. All in the state dtype.

    Raises ValueError that names what ONNX's operators lack.
    """
    _check(kind, arguments, options)
    inputs = arguments.inputs.to(dtypes.state).transpose(0, 1)  # (T, B, I)
    steps, batch, _ = inputs.shape
    directions, _, size = arguments.weight_hh.shape
    weights = [_gates(kind, w, dtypes) for w in (arguments.weight_ih, arguments.weight_hh)]
    initial = [arguments.hidden, arguments.cell] if kind == "lstm" else [arguments.hidden]
    states = [None if state is None else state.to(dtypes.state) for state in initial]
    given = [
        inputs,
        *weights,
        _biases(kind, arguments, dtypes),
        None if lengths is None else lengths.to(inputs.device, torch.int32),
        *states,
    ]
    while given[-1] is None:
        given.pop()
    final = (directions, batch, size)
    shapes = [(steps, directions, batch, size), final] + [final] * (kind == "lstm")
    found = torch.onnx.ops.symbolic_multi_out(
        _OPERATOR[kind],
        given,
        _attributes(kind, size, reverse),
        dtypes=[dtypes.state] * len(shapes),
        shapes=shapes,
        version=_OPSET,
    )
    outputs = found[0].permute(2, 0, 1, 3).reshape(batch, steps, directions * size)
    hidden, cell = found[1], found[2] if kind == "lstm" else None
    if lengths is not None:  # whatever a runtime makes of an empty sequence
        empty = (lengths.to(inputs.device) == 0)[None, :, None]  # (1, B, 1)
        hidden = torch.where(empty, _or_zero(states[0], hidden), hidden)
        if cell is not None:
            cell = torch.where(empty, _or_zero(states[1], cell), cell)
    outputs, hidden = outputs.to(dtypes.output), hidden.to(dtypes.output)
    return outputs, hidden, None if cell is None else cell.to(dtypes.output)


def _check(kind: str, arguments: Arguments, options: Options) -> None:
    lacking = {
        "weight_hr (proj_size)": arguments.weight_hr is not None,
        "norm (layer_norm)": arguments.input_gain is not None,
        "hidden_mask (recurrent_dropout)": arguments.hidden_mask is not None,
        "zoneout": options.zoned,
        "resets": options.resets is not None,
    }
    names = ", ".join(name for name, there in lacking.items() if there)
    if names:
        raise ValueError(
            f"ONNX: found {names}; expected none of it, since ONNX's operator {_OPERATOR[kind]} "
            "has no such option; leave it out, or export inside kernels.use_backend('reference'), "
            "which writes the steps of one fixed length"
        )


def _attributes(kind: str, size: int, reverse: tuple[bool, ...]) -> dict[str, Any]:
    direction = "bidirectional" if len(reverse) == 2 else "reverse" if reverse[0] else "forward"
    attributes: dict[str, Any] = {"direction": direction, "hidden_size": size}
    if kind == "gru":
        attributes["linear_before_reset"] = 1
    if kind in ("tanh", "relu"):
        attributes["activations"] = [kind.capitalize()] * len(reverse)
    return attributes


def _gates(kind: str, weight: Tensor, dtypes: Precision) -> Tensor:
    """(D, G*H, ...) in ONNX's order of gates."""
    weight, size = weight.to(dtypes.state), weight.size(1) // GATES[kind]
    # Slices, not chunks: the exporter turns slices of parameters into constants.
    parts = [weight.narrow(1, k * size, size) for k in _ORDER[kind]]
    return torch.cat(parts, 1) if len(parts) > 1 else weight


def _biases(kind: str, arguments: Arguments, dtypes: Precision) -> Tensor | None:
    """(D, 2*G*H)"""
    pair = (arguments.bias_ih, arguments.bias_hh)
    if pair == (None, None):
        return None
    there = next(bias for bias in pair if bias is not None)
    filled = [torch.zeros_like(there) if bias is None else bias for bias in pair]
    return torch.cat([_gates(kind, bias, dtypes) for bias in filled], 1)


def _or_zero(state: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if state is None else state
