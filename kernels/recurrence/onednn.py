"""oneDNN's LSTM layer: equal lengths on a CPU, in float32 and bfloat16.

It fuses gates and products in one generated kernel, which PyTorch's operators cannot; torch.nn's
LSTM runs it, too. It knows no ragged sequences and none of the options, and what it saves for the
backward pass is its own workspace. With bfloat16 products the cell state is float32 here (torch.nn
keeps bfloat16), hidden states are rounded to bfloat16, as every product reads them.

``Saved`` holds, of the first and the second direction: the workspaces (1, bytes) as ``gates`` and
``extra``, the outputs (T, B, H) as ``states`` and ``seen``; and the last cells (D, B, H). Side by
side in one tensor each would cost a copy of what is larger than all else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kernels.common.precision import Precision
from kernels.common.processor import is_amd
from kernels.recurrence.layout import Arguments, Options, Results, Saved
from kernels.recurrence.packing import empty_like_inputs, time_major

_LSTM = 2  # the mode of an LSTM in PyTorch's operator
_WIDE = 512


def fits(
    kind: str,
    dtypes: Precision,
    arguments: Arguments,
    options: Options,
    lengths: Tensor | None,
    keep: bool,
) -> bool:
    """Whether this layer is to be oneDNN's; ``keep``: a backward pass follows. The answer follows
    from dtypes, shapes, absence and the processor alone, so that a compiled graph comes to the
    same one."""
    inputs = arguments.inputs
    extras = (arguments.hidden_mask, arguments.input_gain, arguments.weight_hr)
    plain = all(tensor is None for tensor in extras)
    return (
        kind == "lstm"
        and inputs.device.type == "cpu"
        and has(dtypes.product)
        and not (keep and slow_backward(dtypes.product, arguments.weight_hh.size(2)))
        and lengths is None
        and plain
        and not options.zoned
        and options.resets is None
        and inputs.size(0) > 0
        and inputs.size(1) > 1
        and inputs.size(2) > 0
    )


def has(product: torch.dtype) -> bool:
    if not torch.backends.mkldnn.is_available() or not torch.backends.mkldnn.enabled:
        return False
    if product == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return product == torch.float32


def slow_backward(product: torch.dtype, size: int) -> bool:
    """Whether our loop trains faster: oneDNN's backward pass in bfloat16 runs out of the cache of
    an AMD core when states are wide. The loop's takes 0.8 of its time at H 512, 0.4 at 640, and
    0.3 at 1024. size: a Python integer or a symbol of a traced graph."""
    return product == torch.bfloat16 and is_amd() and size >= _WIDE


def left(saved: Saved) -> bool:
    """Whether ``saved`` is what this file's forward pass left."""
    return saved.gates is not None and saved.gates.dtype == torch.uint8


def forward(
    dtypes: Precision, arguments: Arguments, reverse: tuple[bool, ...], keep: bool
) -> Results:
    inputs = by_time(arguments.inputs, dtypes.product)  # (T, B, I)
    directions, _, size = arguments.weight_hh.shape
    given, layers = _given(dtypes, arguments), []
    # The workspace is written in gradient mode only, whatever ``train`` says; the tensors are
    # detached, so that nothing else comes of it.
    with torch.set_grad_enabled(keep):
        for d in range(directions):
            layers.append(
                torch.ops.aten.mkldnn_rnn_layer(
                    inputs, *given[d], reverse[d], [], _LSTM, size, 1, True, False, False, keep,
                )
            )  # fmt: skip
    sequences, hidden, cells, spaces = zip(*layers, strict=True)
    outputs = empty_like_inputs(arguments.inputs, directions * size, dtypes.output)
    for part, sequence in zip(outputs.chunk(directions, 2), sequences, strict=True):
        part.copy_(sequence.transpose(0, 1))  # also because the backward pass reads its own
    after, cell = _side_by_side(hidden), _side_by_side(cells)  # (D, B, H)
    saved = Saved(None, sequences[0], None, None, None)
    if keep:
        saved = Saved(
            gates=spaces[0][None],
            states=sequences[0],
            cells=cell,
            extra=spaces[1][None] if directions == 2 else None,
            seen=sequences[1] if directions == 2 else None,
        )
    return Results(outputs, after.to(dtypes.output), cell.to(dtypes.output, copy=keep), saved)


def saved_shapes(
    dtypes: Precision, arguments: Arguments, spaces: Sequence[int | torch.SymInt]
) -> Saved:
    """What ``forward`` saves, in shapes alone, from the sizes of D workspaces."""
    batch, steps, _ = arguments.inputs.shape
    directions, _, size = arguments.weight_hh.shape
    new = arguments.inputs.new_empty
    workspaces = [new((1, space), dtype=torch.uint8) for space in spaces]
    sequences = [new((steps, batch, size), dtype=dtypes.product) for _ in spaces]
    return Saved(
        gates=workspaces[0],
        states=sequences[0],
        cells=new((directions, batch, size), dtype=dtypes.state),
        extra=workspaces[1] if directions == 2 else None,
        seen=sequences[1] if directions == 2 else None,
    )


def backward(
    dtypes: Precision,
    arguments: Arguments,
    reverse: tuple[bool, ...],
    saved: Saved,
    grads: tuple[Tensor | None, ...],
    wanted: tuple[bool, ...],
) -> tuple[Tensor | None, ...]:
    """Gradients of every argument, None where not wanted."""
    d_outputs, d_hidden, d_cell = grads
    inputs = by_time(arguments.inputs, dtypes.product)  # (T, B, I)
    directions, _, size = arguments.weight_hh.shape
    parts: list[Tensor | None] = [None] * directions
    if d_outputs is not None:
        parts = [by_time(part, dtypes.product) for part in d_outputs.chunk(directions, 2)]
    sequences: list[Any] = [saved.states, saved.seen]  # of the directions that there are
    spaces: list[Any] = [saved.gates, saved.extra]
    assert saved.cells is not None  # this layer is an LSTM
    given, layers = _given(dtypes, arguments), []
    for d in range(directions):
        sequence = sequences[d]  # (T, B, H)
        layers.append(
            torch.ops.aten.mkldnn_rnn_layer_backward(
                inputs, *given[d], sequence,
                sequence[0 if reverse[d] else -1], saved.cells[d], parts[d],
                None if d_hidden is None else d_hidden[d].to(dtypes.product).contiguous(),
                None if d_cell is None else d_cell[d].to(dtypes.state).contiguous(), reverse[d],
                _LSTM, size, 1, True, True, False, [], False, spaces[d][0],
            )
        )  # fmt: skip
    into, *rest = zip(*layers, strict=True)
    total = into[0] if directions == 1 else into[0].add_(into[1])  # (T, B, I)
    d_inputs, dtype = None, arguments.inputs.dtype
    if wanted[0] and time_major(arguments.inputs):
        d_inputs = total.to(dtype).transpose(0, 1)  # (B, T, I)
    elif wanted[0]:
        d_inputs = owned(total.transpose(0, 1), dtype)
    stacked: list[Tensor | None] = [_side_by_side(own) for own in rest]
    stacked += [None] * (len(arguments) - len(stacked) - 1)
    return d_inputs, *(
        owned(grad, argument.dtype) if want and argument is not None and grad is not None else None
        for grad, argument, want in zip(stacked, arguments[1:], wanted[1:], strict=True)
    )


def _given(dtypes: Precision, arguments: Arguments) -> list[tuple[Tensor, ...]]:
    """For each direction what the layer reads beside its inputs: weight_ih (4*H, I), weight_hh
    (4*H, H), bias_ih and bias_hh (4*H,), the initial hidden and cell state (B, H)."""
    directions, rows, size = arguments.weight_hh.shape
    new = arguments.weight_hh.new_zeros
    absent_bias = absent_state = None
    if arguments.bias_ih is None or arguments.bias_hh is None:
        absent_bias = (new(rows, dtype=dtypes.product),) * directions
    if arguments.hidden is None and arguments.cell is None:
        absent_state = new((arguments.inputs.size(0), size), dtype=dtypes.state)

    def each(tensor: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, ...]:
        if tensor is None:
            state = absent_state
            if state is None:
                state = new((arguments.inputs.size(0), size), dtype=dtype)
            return (state.to(dtype),) * directions
        tensor = tensor.detach()
        return (tensor if tensor.dtype == dtype else tensor.to(dtype)).unbind(0)

    weights = [each(w, dtypes.product) for w in (arguments.weight_ih, arguments.weight_hh)]
    biases: list[Any] = [
        absent_bias if bias is None else each(bias, dtypes.product)
        for bias in (arguments.bias_ih, arguments.bias_hh)
    ]
    states = (  # oneDNN reads them as if they lay side by side, whatever their strides say
        tuple(own.contiguous() for own in each(state, dtype))
        for state, dtype in ((arguments.hidden, dtypes.product), (arguments.cell, dtypes.state))
    )
    return list(zip(*weights, *biases, *states, strict=True))


def _side_by_side(tensors: tuple[Tensor, ...]) -> Tensor:
    """A leading dimension D; of one direction it is a view: its workspace is long."""
    return tensors[0][None] if len(tensors) == 1 else torch.stack(tensors)


def by_time(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, T, F) -> (T, B, F), contiguous; itself where it lies so already."""
    view = tensor.detach().transpose(0, 1)
    return view if view.dtype == dtype and view.is_contiguous() else _contiguous(view, dtype)


def _contiguous(view: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy in one pass, where ``to`` would keep the view's order and need a second one."""
    return view.new_empty(view.shape, dtype=dtype).copy_(view)


def owned(grad: Tensor, dtype: torch.dtype) -> Tensor:
    """Contiguous, in memory that no other gradient has: oneDNN's are all its own."""
    return grad if grad.dtype == dtype and grad.is_contiguous() else _contiguous(grad, dtype)
