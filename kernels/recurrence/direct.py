"""Plain layers on a CPU without the operator around them: what small calls would spend in Python.

A call that asks for nothing but torch.nn's own layers (no option), outside of every transform,
trace and mode, needs neither stacked weights nor a schema. Two ways lead around them:

- PyTorch's operator for whole layers, with its own derivatives, the second ones, too: an LSTM in
  float32 of equal lengths, which is oneDNN's layer there as it is here, and every layer where a
  step has too little arithmetic to pay for a call from Python. There autocast's products stay in
  float32: to round the weights would take longer than to multiply with them.
- oneDNN's layer for an LSTM in bfloat16, whose cell states stay float32 here, by an autograd
  function of its own. Second derivatives come from the reference, as everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad

from kernels.backend import without_kernels
from kernels.common.gates import GATES
from kernels.common.precision import Precision, precision, without_autocast
from kernels.common.registration import Operation, Structure, gradients_again, opaque
from kernels.recurrence import onednn, ragged, reference
from kernels.recurrence.packing import time_major

# By direction weight_ih, weight_hh, bias_ih, bias_hh; a bias may be None.
Layer = list[tuple[Any, ...]]

_LSTM = 2  # the mode of an LSTM in PyTorch's operator
_TENSORS = (Tensor, torch.nn.Parameter)
_WHOLE = {"gru": torch.gru, "tanh": torch.rnn_tanh, "relu": torch.rnn_relu}
_FEW = 1 << 16  # multiplications of a step's recurrent product, below which a call costs more
_views = torch._C.DispatchKeySet(torch._C.DispatchKey.ADInplaceOrView)


@opaque
def run(
    kind: str,
    inputs: Tensor,
    hidden: Tensor | None,
    cell: Tensor | None,
    layers: list[Layer],
    dropout: float,
    lengths: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None] | None:
    """All layers, forwards and in reverse where a layer has two directions; ``dropout`` between
    them. inputs (B, T, I), hidden and cell (L*D, B, H), lengths (B,), checked -> outputs
    (B, T, D*H) and the states after the last step, cell None but for "lstm". None where neither
    way leads, which follows from dtypes, sizes and the processor's abilities, and where something
    watches the call.
    """
    flat = [tensor for layer in layers for side in layer for tensor in side]
    given: tuple[Any, ...] = (inputs, hidden, cell, *flat)
    if not (_unwatched(given) and _well_shaped(kind, inputs, layers)):
        return None
    dtypes, (batch, steps, _) = precision(inputs), inputs.shape
    size, directions = flat[1].size(1), len(layers[0])
    if lengths is not None:
        if dropout or not (_few(inputs.dtype, batch, size) and _packable(lengths)):
            return None
        states = _states(kind, inputs, hidden, cell, len(layers) * directions, size)
        with without_autocast(inputs):
            return ragged.run(kind, inputs, states, layers, lengths)
    graph = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in given)
    whole = _prefers_whole(kind, inputs.dtype, dtypes.product, graph, (batch, steps, size))
    if not whole:
        slow = graph and onednn.slow_backward(dtypes.product, size)
        if kind != "lstm" or steps < 2 or slow or not onednn.has(dtypes.product):
            return None
    if whole:
        states = _states(kind, inputs, hidden, cell, len(layers) * directions, size)
        hidden, cell = states if kind == "lstm" else (states[0], None)
        if not dropout:
            with without_autocast(inputs):
                return _whole(kind, inputs, states[0], cell, layers)
    finals: list[list[Any]] = []
    for k, layer in enumerate(layers):
        rows = slice(k * directions, (k + 1) * directions)
        first, second = (None if state is None else state[rows] for state in (hidden, cell))
        if whole:
            assert first is not None  # zeros stand where no state was given
            with without_autocast(inputs):
                inputs, *final = _whole(kind, inputs, first, second, [layer])
        else:
            inputs, *final = _lstm_layer(dtypes, graph, inputs, first, second, layer)
        finals.append(final)
        if dropout and k + 1 < len(layers):
            inputs = F.dropout(inputs, dropout)
    if len(finals) == 1:
        return inputs, finals[0][0], finals[0][1]
    hiddens, cells = zip(*finals, strict=True)
    return inputs, torch.cat(hiddens), None if cells[0] is None else torch.cat(cells)


def _unwatched(tensors: Sequence[Any]) -> bool:
    """Whether nothing but autograd watches a call on these tensors, which all lie on the CPU in
    one dtype, and the torch backend is to run it."""
    dtype = tensors[0].dtype
    return (
        not torch._C._are_functorch_transforms_active()
        and forward_ad._current_level < 0
        and not torch._C._len_torch_dispatch_stack()
        and not torch._C._len_torch_function_stack()
        and torch._C._get_tracing_state() is None
        and all(
            t is None or (type(t) in _TENSORS and t.dtype == dtype and t.is_cpu) for t in tensors
        )
        and without_kernels()
    )


def _well_shaped(kind: str, inputs: Tensor, layers: list[Layer]) -> bool:
    """PyTorch's operators trust the sizes; wrong ones are left to the checks of the long way."""
    features, rows = inputs.size(2), layers[0][0][0].size(0)
    size = rows // GATES[kind]
    for layer in layers:
        for weight_ih, weight_hh, *biases in layer:
            if weight_ih.shape != (rows, features) or weight_hh.shape != (rows, size):
                return False
            if any(bias is not None and bias.shape != (rows,) for bias in biases):
                return False
            if (biases[0] is None) != (layers[0][0][2] is None) or biases.count(None) == 1:
                return False  # the operators know all biases or none
        features = len(layer) * size
    return inputs.numel() > 0


def _prefers_whole(
    kind: str, dtype: torch.dtype, product: torch.dtype, graph: bool, sizes: tuple[int, int, int]
) -> bool:
    """Whether PyTorch's operator is the faster one and as exact, for tensors of ``dtype``; sizes:
    batch, steps, hidden. One layer's answer is every layer's."""
    batch, steps, size = sizes
    if kind != "lstm":
        return _few(dtype, batch, size)
    if product == torch.float32 and onednn.has(torch.float32):
        return steps > 1
    # its gradients of rounded weights would be rounded, too, which costs more than it saves
    return steps > 1 and graph and _few(dtype, batch, size)


def _few(dtype: torch.dtype, batch: int, size: int) -> bool:
    """Whether a step has so little arithmetic that a call from Python would cost more, and
    PyTorch's operator keeps the states as exact as ours: of tensors in half precision, also under
    autocast, it rounds them."""
    full = dtype in (torch.float32, torch.float64)
    return full and (batch == 1 or batch * size * size <= _FEW)


def _packable(lengths: Tensor) -> bool:
    """Whether PyTorch can pack these: on the CPU, none of them 0."""
    plain = type(lengths) is Tensor and lengths.is_cpu and lengths.dtype == torch.int64
    return plain and bool(lengths.min() > 0)


def _states(
    kind: str, inputs: Tensor, hidden: Tensor | None, cell: Tensor | None, rows: int, size: int
) -> list[Tensor]:
    """The initial states that PyTorch's operator reads: (L*D, B, H)"""
    states = [hidden, cell] if kind == "lstm" else [hidden]
    if None in states:
        zeros = inputs.new_zeros(rows, inputs.size(0), size)
        return [zeros if state is None else state for state in states]
    return [state for state in states if state is not None]


def _whole(
    kind: str, inputs: Tensor, hidden: Tensor, cell: Tensor | None, layers: list[Layer]
) -> tuple[Tensor, Tensor, Tensor | None]:
    flat = [t for layer in layers for side in layer for t in side if t is not None]
    bias, both = layers[0][0][2] is not None, len(layers[0]) == 2
    rest = (flat, bias, len(layers), 0.0, False, both, True)
    if kind == "lstm":
        assert cell is not None
        outputs, hidden, cell = torch.lstm(inputs, [hidden, cell], *rest)
        if not both and outputs.grad_fn is not None:  # whose backward pass reads its outputs
            layout = torch.preserve_format if time_major(inputs) else torch.contiguous_format
            return outputs.clone(memory_format=layout), hidden, cell
    else:
        outputs, hidden = _WHOLE[kind](inputs, hidden, *rest)
    return outputs if time_major(inputs) else outputs.contiguous(), hidden, cell


def _lstm_layer(
    dtypes: Precision,
    graph: bool,
    inputs: Tensor,
    hidden: Tensor | None,
    cell: Tensor | None,
    layer: Layer,
) -> tuple[Tensor, Tensor, Tensor]:
    """inputs (B, T, I), hidden and cell (D, B, H) -> outputs (B, T, D*H) and final states."""
    weights = [tensor for side in layer for tensor in side]
    if graph:
        return _Layer.apply(dtypes, inputs, hidden, cell, *weights)
    with without_autocast(inputs), torch.no_grad():
        read = _read(dtypes, inputs, hidden, cell, weights)
        return _run(dtypes, inputs, onednn.by_time(inputs, dtypes.product), read, False)[0]


def _read(
    dtypes: Precision,
    inputs: Tensor,
    hidden: Tensor | None,
    cell: Tensor | None,
    weights: Sequence[Any],
) -> list[list[Tensor]]:
    """By direction what oneDNN's layer reads beside the inputs, in its dtypes."""
    size, batch = weights[1].size(1), inputs.size(0)
    states = []
    for state, dtype in ((hidden, dtypes.product), (cell, dtypes.state)):
        state = inputs.new_zeros((1, batch, size), dtype=dtype) if state is None else state
        states.append(state if state.dtype == dtype else state.to(dtype))
    found = []
    for d in range(len(weights) // 4):
        own: Sequence[Any] = weights[4 * d : 4 * d + 4]
        if own[2] is None:
            own = (*own[:2], *(own[1].new_zeros(4 * size),) * 2)
        own = [w if w.dtype == dtypes.product else w.to(dtypes.product) for w in own]
        # oneDNN reads states as if they lay side by side, whatever their strides say
        own_states = (state[d if state.size(0) > 1 else 0].contiguous() for state in states)
        found.append([*own, *own_states])
    return found


def _run(
    dtypes: Precision, inputs: Tensor, x: Tensor, read: list[list[Tensor]], keep: bool
) -> tuple[tuple[Tensor, Tensor, Tensor], list[tuple[Tensor, ...]]]:
    """-> (outputs, hidden, cell), and by direction what the layer returned."""
    size = read[0][1].size(1)
    with torch.set_grad_enabled(keep):  # the workspace is written in gradient mode only
        sides = [
            torch.ops.aten.mkldnn_rnn_layer.default(
                x, *own, d == 1, [], _LSTM, size, 1, True, False, False, keep
            )
            for d, own in enumerate(read)
        ]
    batch_first = not time_major(inputs)
    sequences = [s[0].transpose(0, 1) if batch_first else s[0] for s in sides]
    if len(sides) == 2:
        outputs = torch.cat(sequences, 2)
        hidden, cell = (torch.stack([s[k] for s in sides]) for k in (1, 2))
    else:
        sequence = sequences[0]
        if keep:  # the backward pass reads its own; callers may change theirs
            outputs = sequence.clone(memory_format=torch.contiguous_format)
            hidden, cell = sides[0][1].clone()[None], sides[0][2].clone()[None]
        else:
            outputs = sequence.contiguous()
            hidden, cell = sides[0][1][None], sides[0][2][None]
    if not batch_first:
        outputs = outputs.transpose(0, 1)
    if dtypes.output != dtypes.product:
        outputs, hidden = outputs.to(dtypes.output), hidden.to(dtypes.output)
    if dtypes.output != dtypes.state:
        cell = cell.to(dtypes.output)
    return (outputs, hidden, cell), sides


class _Layer(torch.autograd.Function):
    @staticmethod
    @opaque
    def forward(ctx: Any, dtypes: Precision, *given: Any) -> tuple[Tensor, ...]:
        inputs, hidden, cell, *weights = given
        # Views of buffers made here are no views to autograd, which would forbid to change them.
        with (
            torch._C._AutoDispatchBelowAutograd(),
            torch._C._ExcludeDispatchKeyGuard(_views),
            without_autocast(inputs),
        ):
            read = _read(dtypes, inputs, hidden, cell, weights)
            x = onednn.by_time(inputs, dtypes.product)  # (T, B, I)
            results, sides = _run(dtypes, inputs, x, read, True)
        kept = [tensor for side in sides for tensor in (side[0], side[2], side[3])]
        casts = [] if inputs.dtype == dtypes.product else [w for own in read for w in own[:4]]
        ctx.save_for_backward(*given, x, *kept, *casts)
        ctx.set_materialize_grads(False)
        ctx.dtypes = dtypes
        return results

    @staticmethod
    @opaque
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        dtypes, wanted, kept = ctx.dtypes, ctx.needs_input_grad[1:], ctx.saved_tensors
        given, x, kept = kept[: len(wanted)], kept[len(wanted)], kept[len(wanted) + 1 :]
        if all(grad is None for grad in grads):
            return (None,) * (1 + len(wanted))
        found = gradients_again(_AGAIN, (dtypes, *given), grads, wanted)
        if found is None:
            inputs, hidden, cell, *weights = given
            directions = len(weights) // 4
            kept, casts = kept[: 3 * directions], kept[3 * directions :]
            with without_autocast(inputs), torch.no_grad():
                read = _read(dtypes, inputs, hidden, cell, casts or weights)
                found = _backward(dtypes, given, x, read, kept, grads, wanted)
        return (None, *found)


def _backward(
    dtypes: Precision,
    given: Sequence[Any],
    x: Tensor,
    read: list[list[Tensor]],
    kept: Sequence[Tensor],
    grads: Sequence[Tensor | None],
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    """Gradients of ``given``, None where not wanted; kept: by direction the outputs (T, B, H), the
    last cell and the workspace."""
    inputs, size, directions = given[0], read[0][1].size(1), len(read)
    d_outputs, d_hidden, d_cell = grads
    if d_outputs is not None:
        d_outputs = d_outputs.transpose(0, 1)  # (T, B, D*H)
        if d_outputs.dtype != dtypes.product:
            d_outputs = d_outputs.to(dtypes.product, memory_format=torch.contiguous_format)
    sides = []
    for d, own in enumerate(read):
        sequence, last, space = kept[3 * d : 3 * d + 3]
        part = d_outputs
        if part is not None:
            part = (part if directions == 1 else part.narrow(2, d * size, size)).contiguous()
        sides.append(
            torch.ops.aten.mkldnn_rnn_layer_backward.default(
                x, *own, sequence, sequence[0 if d else -1], last, part,
                None if d_hidden is None else d_hidden[d].to(dtypes.product).contiguous(),
                None if d_cell is None else d_cell[d].to(dtypes.state).contiguous(),
                d == 1, _LSTM, size, 1, True, True, False, [], False, space,
            )
        )  # fmt: skip
    found: list[Tensor | None] = [None] * len(given)
    if wanted[0]:
        total = sides[0][0] if directions == 1 else sides[0][0].add_(sides[1][0])
        total = total.transpose(0, 1)  # (B, T, I)
        lies_by_time = time_major(inputs)
        found[0] = total.to(inputs.dtype) if lies_by_time else onednn.owned(total, inputs.dtype)
    for place in (1, 2):
        if wanted[place]:
            parts = [side[4 + place] for side in sides]
            found[place] = (parts[0][None] if directions == 1 else torch.stack(parts)).to(
                given[place].dtype
            )
    for d, side in enumerate(sides):
        for k in range(4):
            place = 3 + 4 * d + k
            if wanted[place]:
                found[place] = onednn.owned(side[1 + k], given[place].dtype)
    return found


def _by_direction(weights: Sequence[Any]) -> list[tuple[Any, Any, Any, Any]]:
    return [
        (weights[k], weights[k + 1], weights[k + 2], weights[k + 3])
        for k in range(0, len(weights), 4)
    ]


def _by_reference(structure: Structure) -> tuple[Tensor, ...]:
    dtypes, inputs, hidden, cell, *weights = structure
    given: tuple[Any, ...] = (inputs, hidden, cell, *weights)
    exact: list[Any] = [None if t is None else t.to(dtypes.state) for t in given]
    inputs, hidden, cell, *weights = exact
    with without_autocast(inputs):
        sides = [
            reference.recurrence(
                inputs,
                *own,
                None if hidden is None else hidden[d],
                None if cell is None else cell[d],
                kind="lstm",
                reverse=d == 1,
            )
            for d, own in enumerate(_by_direction(weights))
        ]
    sequences, hidden, cell = zip(*sides, strict=True)
    results = (torch.cat(sequences, 2), torch.stack(hidden), torch.stack(cell))
    return tuple(result.to(dtypes.output) for result in results)


def _not_registered(*arguments: Any) -> Any:
    raise NotImplementedError("the layer's autograd function runs the passes itself")


# What ``gradients_again`` asks for: the number of results, and the reference.
_AGAIN = Operation(
    "lstm_layer", _not_registered, _not_registered, 3, _not_registered, _by_reference
)
