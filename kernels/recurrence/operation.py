"""The recurrence as one PyTorch operator with a backward pass, on the torch or triton backend.

``kernels.common.registration`` says what registering gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from kernels.common.capture import capturing
from kernels.common.lengths import check_length_values
from kernels.common.precision import Precision, exact, precision, without_autocast
from kernels.common.registration import Operation, Structure, register, register_backward
from kernels.common.shapes import unknown_size
from kernels.recurrence import masked_lengths, onednn, onnx, reference, torch_backend
from kernels.recurrence.layout import Arguments, Options, Saved
from kernels.recurrence.packing import Packing, empty_like_inputs, pack
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
    "Tensor? recurrent_gain, Tensor? cell_gain, Tensor? cell_shift, Tensor? weight_hr, "
    "float[] zoneout, Tensor? zone_hidden, Tensor? zone_cell, Tensor? resets, Tensor? lengths, "
    "str kind, bool[] reverse, str backend, "
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


_Padded = Tensor | None


class _Call:
    """The operator's flat arguments, taken apart."""

    def __init__(self, flat: Sequence[Any]) -> None:
        self.arguments, rest = Arguments(*flat[:ARGUMENTS]), flat[ARGUMENTS:CALL]
        self.options = Options(tuple(rest[0]), *rest[1:4])
        self.lengths, self.kind, reverse, self.backend = rest[4:8]
        self.reverse, self.precision = tuple(reverse), Precision(*rest[8:11])
        self.schedule = rest[11]

    def by_onednn(self, keep: bool, recompute: bool) -> bool:
        """Whether oneDNN's layer takes the torch backend's place."""
        asked = self.backend == "torch" and not recompute
        return asked and onednn.fits(
            self.kind, self.precision, self.arguments, self.options, self.lengths, keep
        )

    def laid_out(self, saved: Saved | None = None) -> tuple[Packing, Arguments, Options, _Padded]:
        """How the loop runs; with a mask of the padding (B, T) where it takes padding, too.
        ``saved``: what the forward pass left, whose layout the backward pass follows."""
        arguments, options, lengths = self.arguments, self.options, self.lengths
        batch, steps, _ = arguments.inputs.shape
        device = arguments.inputs.device
        if lengths is None or _on_cpu(lengths) or not capturing(device):
            if lengths is not None:  # not seen yet where a compiled graph runs
                check_length_values(lengths, steps)
            packing = pack(batch, steps, lengths, self.reverse, device)
            captured = saved is not None and saved.states.size(1) != batch + sum(packing.sizes)
            if not captured or lengths is None or _on_cpu(lengths):
                return packing, arguments, options, None
        elif saved is not None and saved.states.size(1) != batch * (steps + 1):
            raise RuntimeError(
                "lengths: found on the GPU while a CUDA graph captures a backward pass whose "
                "forward pass was not captured; capture both, or give lengths on the CPU"
            )
        lengths = lengths.to(device)
        padded = masked_lengths.padding(lengths, steps)
        packing = masked_lengths.pack_masked(batch, steps, lengths, self.reverse)
        arguments, options = masked_lengths.mask_call(self.kind, arguments, options, padded)
        return packing, arguments, options, padded


def _forward(*flat: Any) -> tuple[Tensor, ...]:
    call, (keep, recompute) = _Call(flat), flat[CALL:]
    inputs = call.arguments.inputs
    with without_autocast(inputs), torch.no_grad():
        if call.by_onednn(keep, recompute):
            results = onednn.forward(call.precision, call.arguments, call.reverse, keep)
        else:
            packing, arguments, options, padded = call.laid_out()
            results = _backend(call.backend).forward(
                call.kind,
                packing,
                call.precision,
                arguments,
                options,
                call.schedule,
                keep and not recompute,
            )
            if padded is not None:
                outputs = masked_lengths.without_padding(results.outputs, padded)
                results = results._replace(outputs=outputs)
    if not keep:
        outputs, hidden, cell, _ = results
        absent = [inputs.new_empty(0) for _ in range(SAVED)]  # an operator's results share nothing
        return (outputs, hidden, _or_empty(cell, inputs), *absent)
    saved = results.saved
    if recompute:
        remade: dict[str, Any] = dict.fromkeys(REMADE)
        saved = saved._replace(**remade)
    return tuple([_or_empty(t, inputs) for t in (*results[:3], *saved)])


def _backward(*flat: Any) -> tuple[Tensor, ...]:
    call = _Call(flat)
    left: list[Any] = [_or_none(t) for t in flat[CALL : CALL + SAVED]]
    saved = Saved(*left)
    *grads, wanted = flat[CALL + SAVED :]
    inputs = call.arguments.inputs
    with without_autocast(inputs), torch.no_grad():
        if onednn.left(saved):
            found = onednn.backward(
                call.precision, call.arguments, call.reverse, saved, tuple(grads), tuple(wanted)
            )
            return _filled(found, inputs)
        packing, arguments, options, padded = call.laid_out(saved)
        if padded is not None and grads[0] is not None:
            grads[0] = masked_lengths.without_padding(grads[0], padded)
        found = _backend(call.backend).backward(
            call.kind,
            packing,
            call.precision,
            arguments,
            options,
            call.schedule,
            saved,
            tuple(grads),
            tuple(wanted),
        )
    return _filled(found, inputs)


def _on_cpu(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu"


def _filled(tensors: Sequence[Tensor | None], like: Tensor) -> tuple[Tensor, ...]:
    """An empty tensor for each that is absent: an operator's results share no memory."""
    return tuple([_or_empty(tensor, like) for tensor in tensors])


def _or_empty(tensor: Tensor | None, like: Tensor) -> Tensor:
    return like.new_empty(0) if tensor is None else tensor


def _or_none(tensor: Tensor) -> Tensor | None:
    return None if tensor.dim() == 1 else tensor


def _forward_fake(*flat: Any) -> tuple[Tensor, ...]:
    call, (keep, recompute) = _Call(flat), flat[CALL:]
    inputs, dtypes = call.arguments.inputs, call.precision
    batch, steps, _ = inputs.shape
    directions, sums, size = call.arguments.weight_hh.shape  # P
    units = call.arguments.units  # H
    lstm, gru = call.kind == "lstm", call.kind == "gru"

    def new(there: bool, dtype: torch.dtype, *shape: Any) -> Tensor:
        return inputs.new_empty(shape if there else (0,), dtype=dtype if there else inputs.dtype)

    state = (directions, batch, size)
    outputs = empty_like_inputs(inputs, directions * size, dtypes.output)
    hidden = new(True, dtypes.output, *state)
    cell = new(lstm, dtypes.output, directions, batch, units)
    if not keep:
        return (outputs, hidden, cell, *(new(False, dtypes.state) for _ in range(SAVED)))
    if call.by_onednn(keep, recompute):
        spaces = [unknown_size(inputs, 0) for _ in range(directions)]  # of workspaces
        left = onednn.saved_shapes(dtypes, call.arguments, spaces)
        return (outputs, hidden, cell, *(_or_empty(t, inputs) for t in left))
    projected = call.arguments.weight_hr is not None  # triton: the torch backend's buffers
    triton, kept = call.backend == "triton" and not projected, not recompute
    norm = kept and call.arguments.input_gain is not None
    # An Elman's opened gate is its state, but for zoneout; the kernels keep it all the same.
    gates = kept and (triton or lstm or gru or call.options.zoned)
    packed: int | torch.SymInt = batch * steps if gates or norm else 0
    rows: int | torch.SymInt = batch + batch * steps
    if call.lengths is not None:  # a size of its own for each that an output shows
        rows = unknown_size(inputs, rows)
        packed = unknown_size(inputs, packed) if gates or norm else 0
    states_dtype = dtypes.output if triton else dtypes.state
    saved = Saved(
        gates=new(gates, dtypes.product, directions, packed, sums),
        states=new(True, states_dtype, directions, rows, size),
        cells=new(lstm, dtypes.state, directions, rows, units),
        extra=new(kept and gru, dtypes.product, directions, packed, size),
        seen=new(triton and _reads_apart(call), dtypes.product, directions, rows, size),
        input_products=new(norm, dtypes.product, directions, packed, sums),
        recurrent_products=new(norm, dtypes.product, directions, packed, sums),
    )
    return (outputs, hidden, cell, *(_or_empty(t, inputs) for t in saved))


def _reads_apart(call: _Call) -> bool:
    """Whether the recurrent product reads something else than the states (triton backend)."""
    dtypes, options = call.precision, call.options
    masked = call.arguments.hidden_mask is not None or options.resets is not None
    return masked or dtypes.product != dtypes.output


def _backward_fake(*flat: Any) -> tuple[Tensor, ...]:
    call, wanted = _Call(flat), flat[-1]
    inputs = call.arguments.inputs
    d_inputs = inputs.new_empty(0)
    if wanted[0]:
        d_inputs = empty_like_inputs(inputs, inputs.size(2), inputs.dtype)
    return d_inputs, *(
        torch.empty_like(t, memory_format=torch.contiguous_format)
        if want and t is not None
        else inputs.new_empty(0)
        for t, want in zip(call.arguments[1:], wanted[1:], strict=True)
    )


def _gradients(
    arguments: Structure,
    saved: Sequence[Tensor],
    grads: Sequence[Tensor | None],
    wanted: Structure,
) -> Sequence[Tensor]:
    d_outputs, d_hidden, d_cell = grads
    wanted = [bool(want) for want in wanted[:ARGUMENTS]]
    return torch.ops.kernels.recurrence_backward(
        *arguments[:CALL], *saved, d_outputs, d_hidden, d_cell, wanted
    )


def _by_reference(arguments: Structure) -> tuple[Tensor | None, ...]:
    call = _Call(arguments)
    own, options, parts = Arguments(*exact(call.arguments, call.precision)), call.options, []
    with without_autocast(own.inputs):
        for d, backward in enumerate(call.reverse):
            lead: list[Any] = [None if t is None else t[d] for t in (*own[1:], *options[1:3])]
            *tensors, mask, gain, recurrent, shown, shift, projection, zone_hidden, zone_cell = lead
            parts.append(
                reference.recurrence(
                    own.inputs,
                    *tensors,
                    kind=call.kind,
                    lengths=call.lengths,
                    reverse=backward,
                    hidden_mask=mask,
                    norm=None if gain is None else GateNorm(gain, recurrent, shown, shift),
                    zoneout=options.zoneout,
                    zone_hidden=zone_hidden,
                    zone_cell=zone_cell,
                    resets=options.resets,
                    weight_hr=projection,
                )
            )
    sequences, hidden, cell = zip(*parts, strict=True)
    after = torch.stack(cell) if call.kind == "lstm" else None
    results = (torch.cat(sequences, 2), torch.stack(hidden), after)
    return tuple(None if r is None else r.to(call.precision.output) for r in results)


def _exported(arguments: Structure) -> tuple[Tensor | None, ...]:
    call = _Call(arguments)
    return onnx.recurrence(
        call.kind, call.arguments, call.options, call.lengths, call.reverse, call.precision
    )


register(
    _library,
    Operation(
        "recurrence", _forward, _forward_fake, 3, _gradients, _by_reference, exported=_exported
    ),
)
register_backward(_library, "recurrence_backward", _backward, _backward_fake)
