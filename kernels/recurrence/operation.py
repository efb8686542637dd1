"""The recurrence as one PyTorch operator with a backward pass, on the torch or triton backend.

A registered operator is opaque to ``torch.compile`` and ``torch.export``: the graph does not
break, and the loop is not unrolled into it.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from kernels.common import second_derivative
from kernels.common.lengths import check_length_values
from kernels.common.precision import Precision, precision
from kernels.recurrence import onednn, reference, torch_backend
from kernels.recurrence.layout import Arguments, Options, Saved
from kernels.recurrence.packing import Packing, pack
from kernels.recurrence.reference import GateNorm
from kernels.recurrence.schedule import asked_schedule

SAVED = len(Saved._fields)
ARGUMENTS = len(Arguments._fields)
REMADE = ("gates", "extra", "input_products", "recurrent_products")  # what recompute leaves out
CALL = ARGUMENTS + 12  # flat arguments in a _Call


def recurrence(
    arguments: Arguments,
    options: Options,
    *,
    kind: str,
    lengths: Tensor | None,
    reverse: tuple[bool, ...],
    backend: str,
    recompute: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """-> outputs (B, T, D*H), hidden (D, B, H), cell (D, B, H) or None."""
    dtypes = precision(arguments.inputs)
    keep = torch.is_grad_enabled() and any(
        tensor is not None and tensor.requires_grad for tensor in arguments
    )
    outputs, hidden, cell, *_ = torch.ops.kernels.recurrence(
        *arguments,
        list(options.zoneout),
        *options[1:],
        lengths,
        kind,
        list(reverse),
        backend,
        *dtypes,
        asked_schedule(),
        keep,
        recompute,
    )
    return outputs, hidden, cell if kind == "lstm" else None


def _backend(name: str) -> ModuleType:
    if name == "torch":
        return torch_backend
    from kernels.recurrence import triton_backend  # imports triton

    return triton_backend


_SHARED = (
    "Tensor inputs, Tensor weight_ih, Tensor weight_hh, Tensor? bias_ih, Tensor? bias_hh, "
    "Tensor? hidden, Tensor? cell, Tensor? hidden_mask, Tensor? input_gain, "
    "Tensor? recurrent_gain, Tensor? cell_gain, Tensor? cell_shift, float[] zoneout, "
    "Tensor? zone_hidden, Tensor? zone_cell, Tensor? resets, Tensor? lengths, str kind, "
    "bool[] reverse, str backend, "
    "ScalarType product, ScalarType state, ScalarType output, str schedule"
)
# Absent tensors come and go as empty ones: operators cannot return None.
_library = torch.library.Library("kernels", "FRAGMENT")
_library.define(
    f"recurrence({_SHARED}, bool keep, bool recompute) -> ({', '.join(['Tensor'] * (3 + SAVED))})"
)
_library.define(
    f"recurrence_backward({_SHARED}, {', '.join(f'Tensor saved_{n}' for n in Saved._fields)}, "
    "Tensor? d_outputs, Tensor? d_hidden, Tensor? d_cell, bool[] wanted) -> "
    f"({', '.join(['Tensor'] * ARGUMENTS)})"
)


class _Call:
    """The operator's flat arguments, taken apart."""

    def __init__(self, flat: tuple[Any, ...]) -> None:
        self.arguments, rest = Arguments(*flat[:ARGUMENTS]), flat[ARGUMENTS:CALL]
        self.options = Options(tuple(rest[0]), *rest[1:4])
        self.lengths, self.kind, reverse, self.backend = rest[4:8]
        self.reverse, self.precision = tuple(reverse), Precision(*rest[8:11])
        self.schedule = rest[11]

    @property
    def onednn(self) -> bool:
        """Whether oneDNN's layer takes the torch backend's place."""
        return self.backend == "torch" and onednn.fits(
            self.kind, self.precision, self.arguments, self.options, self.lengths
        )

    def pack(self) -> Packing:
        inputs = self.arguments.inputs
        if self.lengths is not None:  # not seen yet where a compiled graph runs
            check_length_values(self.lengths, inputs.size(0), inputs.size(1))
        return pack(inputs.size(0), inputs.size(1), self.lengths, self.reverse, inputs.device)


@torch.library.impl(_library, "recurrence", "CompositeExplicitAutograd")
def _forward(*flat: Any) -> tuple[Tensor, ...]:
    call, (keep, recompute) = _Call(flat), flat[CALL:]
    inputs = call.arguments.inputs
    with torch.autocast(inputs.device.type, enabled=False), torch.no_grad():
        if call.onednn and not recompute:
            results = onednn.forward(call.precision, call.arguments, call.reverse, keep)
        else:
            results = _backend(call.backend).forward(
                call.kind,
                call.pack(),
                call.precision,
                call.arguments,
                call.options,
                call.schedule,
                keep and not recompute,
            )
    saved = (None,) * SAVED
    if keep:
        saved = results.saved
        if recompute:
            saved = saved._replace(**dict.fromkeys(REMADE))
    return tuple(_or_empty(t, inputs) for t in (*results[:3], *saved))


@torch.library.impl(_library, "recurrence_backward", "CompositeExplicitAutograd")
def _backward(*flat: Any) -> tuple[Tensor, ...]:
    call = _Call(flat)
    saved = Saved(*(_or_none(t) for t in flat[CALL : CALL + SAVED]))
    *grads, wanted = flat[CALL + SAVED :]
    inputs = call.arguments.inputs
    with torch.autocast(inputs.device.type, enabled=False), torch.no_grad():
        if onednn.left(saved):
            found = onednn.backward(
                call.precision, call.arguments, call.reverse, saved, tuple(grads), tuple(wanted)
            )
            return tuple(_or_empty(t, inputs) for t in found)
        found = _backend(call.backend).backward(
            call.kind,
            call.pack(),
            call.precision,
            call.arguments,
            call.options,
            call.schedule,
            saved,
            tuple(grads),
            tuple(wanted),
        )
    return tuple(_or_empty(t, inputs) for t in found)


def _or_empty(tensor: Tensor | None, like: Tensor) -> Tensor:
    return like.new_empty(0) if tensor is None else tensor


def _or_none(tensor: Tensor) -> Tensor | None:
    return None if tensor.dim() == 1 else tensor


@torch.library.register_fake("kernels::recurrence", lib=_library)
def _forward_fake(*flat: Any) -> tuple[Tensor, ...]:
    call, (keep, recompute) = _Call(flat), flat[CALL:]
    inputs, dtypes = call.arguments.inputs, call.precision
    batch, steps, _ = inputs.shape
    directions, sums, size = call.arguments.weight_hh.shape
    lstm, gru = call.kind == "lstm", call.kind == "gru"

    def new(there: bool, dtype: torch.dtype, *shape: Any) -> Tensor:
        return inputs.new_empty(shape if there else (0,), dtype=dtype if there else inputs.dtype)

    state = (directions, batch, size)
    outputs = new(True, dtypes.output, batch, steps, directions * size)
    hidden, cell = new(True, dtypes.output, *state), new(lstm, dtypes.output, *state)
    if not keep:
        return (outputs, hidden, cell, *(new(False, dtypes.state) for _ in range(SAVED)))
    if call.onednn and not recompute:
        spaces = [torch.library.get_ctx().new_dynamic_size() for _ in range(directions)]
        left = onednn.saved_shapes(dtypes, call.arguments, spaces)
        return (outputs, hidden, cell, *(_or_empty(t, inputs) for t in left))
    triton, kept = call.backend == "triton", not recompute
    norm = kept and call.arguments.input_gain is not None
    # An Elman's opened gate is its state, but for zoneout; the kernels keep it all the same.
    gates = kept and (triton or lstm or gru or call.options.zoned)
    packed = batch * steps if gates or norm else 0
    rows = batch + batch * steps
    if call.lengths is not None:  # a size of its own for each that an output shows
        rows = torch.library.get_ctx().new_dynamic_size()
        packed = torch.library.get_ctx().new_dynamic_size() if gates or norm else 0
    states_dtype = dtypes.output if triton else dtypes.state
    saved = Saved(
        gates=new(gates, dtypes.product, directions, packed, sums),
        states=new(True, states_dtype, directions, rows, size),
        cells=new(lstm, dtypes.state, directions, rows, size),
        extra=new(kept and gru, dtypes.product, directions, packed, size),
        seen=new(triton and _reads_apart(call), dtypes.product, directions, rows, size),
        input_products=new(norm, dtypes.product, directions, packed, sums),
        recurrent_products=new(norm, dtypes.product, directions, packed, sums),
    )
    return (outputs, hidden, cell, *saved)


def _reads_apart(call: _Call) -> bool:
    """Whether the recurrent product reads something else than the states (triton backend)."""
    dtypes, options = call.precision, call.options
    masked = call.arguments.hidden_mask is not None or options.resets is not None
    return masked or dtypes.product != dtypes.output


@torch.library.register_fake("kernels::recurrence_backward", lib=_library)
def _backward_fake(*flat: Any) -> tuple[Tensor, ...]:
    call, wanted = _Call(flat), flat[-1]
    inputs = call.arguments.inputs
    return tuple(
        torch.empty_like(t, memory_format=torch.contiguous_format)
        if want and t is not None
        else inputs.new_empty(0)
        for t, want in zip(call.arguments, wanted, strict=True)
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    flat = inputs[:CALL]
    saved = output[3:]
    places = [k for k, value in enumerate(flat) if isinstance(value, Tensor)]
    ctx.save_for_backward(*(flat[k] for k in places), *saved)
    ctx.places = places
    ctx.rest = [None if isinstance(value, Tensor) else value for value in flat]
    ctx.mark_non_differentiable(*saved)
    ctx.set_materialize_grads(False)


def _autograd(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
    count = len(ctx.places)
    tensors, saved = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
    flat = list(ctx.rest)
    for place, tensor in zip(ctx.places, tensors, strict=True):
        flat[place] = tensor
    call = _Call(tuple(flat))
    wanted = list(ctx.needs_input_grad[: len(Arguments._fields)])
    cell = grads[2] if call.kind == "lstm" else None
    if torch.is_grad_enabled():  # create_graph: these gradients are differentiated again
        found = _differentiable_backward(call, (*grads[:2], cell), wanted)
    else:
        found = torch.ops.kernels.recurrence_backward(*flat, *saved, *grads[:2], cell, wanted)
        found = [f if want else None for f, want in zip(found, wanted, strict=True)]
    return (*found, *(None,) * (CALL + 2 - len(wanted)))


torch.library.register_autograd("kernels::recurrence", _autograd, setup_context=_save, lib=_library)


def _differentiable_backward(
    call: _Call, grads: tuple[Tensor | None, ...], wanted: list[bool]
) -> list[Tensor | None]:
    """The same gradients by autograd through the reference, so that they have gradients too."""
    leaves = second_derivative.views(call.arguments)
    arguments = Arguments(*second_derivative.exact(leaves, call.precision.state))
    options, parts = call.options, []
    for d, backward in enumerate(call.reverse):
        own = [None if t is None else t[d] for t in (*arguments[1:], *options[1:3])]
        *tensors, hidden_mask, gain, recurrent, shown, shift, zone_hidden, zone_cell = own
        norm = None if gain is None else GateNorm(gain, recurrent, shown, shift)
        parts.append(
            reference.recurrence(
                arguments.inputs,
                *tensors,
                kind=call.kind,
                lengths=call.lengths,
                reverse=backward,
                hidden_mask=hidden_mask,
                norm=norm,
                zoneout=options.zoneout,
                zone_hidden=zone_hidden,
                zone_cell=zone_cell,
                resets=options.resets,
            )
        )
    sequences, hidden, cell = zip(*parts, strict=True)
    after = torch.stack(cell) if call.kind == "lstm" else None
    results = (torch.cat(sequences, 2), torch.stack(hidden), after)
    return second_derivative.gradients(results, grads, leaves, wanted)
