"""The recurrences without an autograd tape through time, for CPU and where no kernel exists.

The input product of all steps is one product before the loop; dW_ih, dW_hh and the gradient
of the inputs are single products after the backward loop. The loop keeps what is truly
sequential: the recurrent product and in-place element-wise maths. Padding is never computed.
Directions lie side by side in the leading dimension D, so that a bidirectional layer is one
loop.

Legend: D directions (1 or 2), B batch, T steps, N packed steps (sum of lengths), n sequences
active at a step, I input features, H hidden, G gates (LSTM 4, GRU 3, Elman 1).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from kernels.precision import Precision, precision
from kernels.recurrence import reference
from kernels.recurrence.packing import Packing, pack

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input
_relu_backward = torch.ops.aten.threshold_backward.grad_input


class Arguments(NamedTuple):
    """What a recurrence is differentiated by; every weight and state leads with D."""

    inputs: Tensor  # (B, T, I)
    weight_ih: Tensor  # (D, G*H, I)
    weight_hh: Tensor  # (D, G*H, H)
    bias_ih: Tensor | None  # (D, G*H)
    bias_hh: Tensor | None  # (D, G*H)
    hidden: Tensor | None  # (D, B, H)
    cell: Tensor | None  # (D, B, H)
    hidden_mask: Tensor | None  # (D, B, H)


class Saved(NamedTuple):
    """What the forward pass leaves for the backward pass, packed."""

    gates: Tensor  # (D, N, G*H) after their activations, in the product dtype
    states: Tensor  # (D, B+N, H) the initial hidden states, then those after each step
    cells: Tensor | None  # (D, B+N, H), LSTM only
    extra: Tensor | None  # (D, N, H) U h + b of the GRU's candidate, in the product dtype


def recurrence(
    arguments: Arguments, *, kind: str, lengths: Tensor | None, reverse: tuple[bool, ...]
) -> tuple[Tensor, Tensor, Tensor | None]:
    """-> outputs (B, T, D*H), hidden (D, B, H), cell (D, B, H) or None."""
    inputs = arguments.inputs
    packing = pack(inputs.size(0), inputs.size(1), lengths, reverse, inputs.device)
    found = precision(inputs)
    wanted = torch.is_grad_enabled() and any(
        tensor is not None and tensor.requires_grad for tensor in arguments
    )
    if wanted:
        outputs, hidden, cell = _Recurrence.apply(
            kind, packing, found, lengths, reverse, *arguments
        )
    else:
        outputs, hidden, cell, _ = _forward(kind, packing, found, arguments, keep=False)
    return outputs, hidden, cell


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        kind: str,
        packing: Packing,
        found: Precision,
        lengths: Tensor | None,
        reverse: tuple[bool, ...],
        *tensors: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        outputs, hidden, cell, saved = _forward(
            kind, packing, found, Arguments(*tensors), keep=True
        )
        ctx.save_for_backward(*tensors, *saved)
        ctx.kind, ctx.packing, ctx.precision = kind, packing, found
        ctx.lengths, ctx.reverse = lengths, reverse
        ctx.set_materialize_grads(False)
        return outputs, hidden, cell

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        count = len(Arguments._fields)
        arguments, saved = Arguments(*ctx.saved_tensors[:count]), Saved(*ctx.saved_tensors[count:])
        wanted = ctx.needs_input_grad[5:]
        if torch.is_grad_enabled():  # create_graph: these gradients are differentiated again
            found = _differentiable_backward(ctx, arguments, grads, wanted)
        else:
            found = _backward(ctx.kind, ctx.packing, ctx.precision, arguments, saved, grads, wanted)
        return None, None, None, None, None, *found


def _forward(
    kind: str, packing: Packing, found: Precision, arguments: Arguments, keep: bool
) -> tuple[Tensor, Tensor, Tensor | None, Saved]:
    inputs = arguments.inputs
    directions, size = arguments.weight_hh.size(0), arguments.weight_hh.size(2)
    with torch.autocast(inputs.device.type, enabled=False), torch.no_grad():
        gates = _input_sums(kind, packing, found, arguments)  # (D, N, G*H), gates in the end
        states = _initial(packing, found, arguments.hidden, inputs, directions, size)
        cells = extra = None
        if kind == "lstm":
            cells = _initial(packing, found, arguments.cell, inputs, directions, size)
        if keep and kind == "gru":
            extra = gates.new_empty(directions, gates.size(1), size)
        saved = Saved(gates, states, cells, extra)
        product = _RecurrentProduct(arguments.weight_hh.transpose(1, 2), found, inputs.size(0))
        mask = _ordered(packing, found, arguments.hidden_mask)  # (D, B, H)
        if kind == "lstm":
            _lstm_forward(packing, found, saved, product, mask)
        elif kind == "gru":
            bias = None if arguments.bias_hh is None else arguments.bias_hh[:, 2 * size :]
            _gru_forward(packing, found, saved, product, mask, bias)
        else:
            _elman_forward(kind, packing, found, saved, product, mask)
        outputs = _unpack(packing, inputs, states[:, inputs.size(0) :], found.output)
        hidden = states.index_select(1, packing.last).to(found.output)  # (D, B, H)
        cell = None
        if cells is not None:
            cell = cells.index_select(1, packing.last).to(found.output)
    return outputs, hidden, cell, saved


def _input_sums(kind: str, packing: Packing, found: Precision, arguments: Arguments) -> Tensor:
    """W_ih x + b_ih + b_hh for every packed step: (D, N, G*H) in the product dtype.

    The b_hh of the GRU's candidate stays out: it stands inside the reset gate's product.
    """
    bias = arguments.bias_ih
    if arguments.bias_hh is not None:
        added = arguments.bias_hh
        if kind == "gru":
            added = added.clone()
            added[:, -arguments.weight_hh.size(2) :] = 0
        bias = added if bias is None else bias + added
    packed = _packed_inputs(packing, found, arguments.inputs)
    weight = arguments.weight_ih.to(found.product).transpose(1, 2)  # (D, I, G*H)
    directions, _, width = weight.shape
    sums = weight.new_empty(directions, packed[0].size(0), width)
    for d, x in enumerate(packed):
        if bias is None:
            torch.mm(x, weight[d], out=sums[d])
        else:
            torch.addmm(bias[d].to(found.product), x, weight[d], out=sums[d])
    return sums


def _packed_inputs(packing: Packing, found: Precision, inputs: Tensor) -> list[Tensor]:
    """Per direction, the inputs in the order of the loop: (N, I)."""
    flat = inputs.to(found.product).reshape(-1, inputs.size(2))  # (B*T, I)
    return [flat.index_select(0, rows) for rows in packing.rows]


def _ordered(packing: Packing, found: Precision, tensor: Tensor | None) -> Tensor | None:
    """(D, B, H) in the state dtype and the order of the packing."""
    if tensor is None:
        return None
    tensor = tensor.to(found.state)
    return tensor if packing.order is None else tensor.index_select(1, packing.order)


def _initial(
    packing: Packing, found: Precision, state: Tensor | None, inputs: Tensor, *sizes: int
) -> Tensor:
    """A buffer (D, B+N, H) whose first B rows are the initial state."""
    directions, size = sizes
    batch = inputs.size(0)
    buffer = inputs.new_empty(directions, batch + sum(packing.sizes), size, dtype=found.state)
    if state is None:
        buffer[:, :batch].zero_()
    else:
        buffer[:, :batch] = _ordered(packing, found, state)
    return buffer


def _unpack(packing: Packing, inputs: Tensor, states: Tensor, dtype: torch.dtype) -> Tensor:
    """(D, N, H) -> (B, T, D*H), zero where there is padding."""
    directions, _, size = states.shape
    batch, steps = inputs.shape[:2]
    make = states.new_empty if packing.full else states.new_zeros
    outputs = make(batch * steps, directions * size, dtype=dtype)
    for d, rows in enumerate(packing.rows):
        outputs[:, d * size : (d + 1) * size].index_copy_(0, rows, states[d].to(dtype))
    return outputs.view(batch, steps, directions * size)


class _RecurrentProduct:
    """x W for every direction: operands in the product dtype, results in the state dtype.

    Its scratch memory is reused by every step.
    """

    def __init__(self, weight: Tensor, found: Precision, batch: int) -> None:
        self.weight = weight.to(found.product).contiguous()  # (D, K, M)
        self.same = found.product == found.state
        directions, inner, outer = weight.shape
        self.result = weight.new_empty(directions * batch * outer, dtype=found.state)
        if not self.same:
            self.operand = self.weight.new_empty(directions * batch * inner)
            self.product = self.weight.new_empty(directions * batch * outer)

    def __call__(self, x: Tensor) -> Tensor:
        """(D, n, K) -> (D, n, M), valid until the next call."""
        return self.into(self._room(self.result, x, self.weight.size(2)), x)

    def into(self, out: Tensor, x: Tensor) -> Tensor:
        if self.same:
            return self._multiply(x, out)
        if x.dtype != self.weight.dtype:
            x = self._room(self.operand, x, x.size(2)).copy_(x)
        return out.copy_(self._multiply(x, self._room(self.product, x, self.weight.size(2))))

    def add_to(self, out: Tensor, x: Tensor) -> Tensor:
        if not self.same:  # casting into fp32 first is twice as fast as a mixed addition
            return out.add_(self(x))
        if x.size(0) == 1:
            out[0].addmm_(x[0], self.weight[0])
            return out
        return out.baddbmm_(x, self.weight)

    def _multiply(self, x: Tensor, out: Tensor) -> Tensor:
        if x.size(0) == 1:
            torch.mm(x[0], self.weight[0], out=out[0])
        else:
            torch.bmm(x, self.weight, out=out)
        return out

    @staticmethod
    def _room(buffer: Tensor, x: Tensor, width: int) -> Tensor:
        directions, rows, _ = x.shape
        return buffer[: directions * rows * width].view(directions, rows, width)


class _Steps:
    """A buffer (D, N, W) in the product dtype, on which a loop works step by step.

    The work is done in the state dtype: in place where that is the same, else in scratch
    memory, which stays in cache; the big buffer is then half as large.
    """

    def __init__(self, packing: Packing, found: Precision, buffer: Tensor) -> None:
        self.kept = buffer.split(packing.sizes, 1)  # per step (D, n, W)
        self.scratch = None
        if buffer.dtype != found.state and packing.sizes:
            shape = (buffer.size(0), packing.sizes[0], buffer.size(2))
            self.scratch = buffer.new_empty(shape, dtype=found.state)

    def room(self, t: int) -> Tensor:
        """(D, n, W) in the state dtype, to be written."""
        return self.kept[t] if self.scratch is None else self.scratch[:, : self.kept[t].size(1)]

    def load(self, t: int) -> Tensor:
        """(D, n, W) in the state dtype, holding step t."""
        return self.kept[t] if self.scratch is None else self.room(t).copy_(self.kept[t])

    def store(self, t: int) -> Tensor:
        """Keeps what was written into the room of step t; -> (D, n, W) in the product dtype."""
        return self.kept[t] if self.scratch is None else self.kept[t].copy_(self.room(t))


def _previous(packing: Packing, buffer: Tensor, batch: int) -> list[Tensor]:
    """Per step, the rows of (D, B+N, H) that hold the state before it: (D, n, H)."""
    before = buffer.split([batch, *packing.sizes], 1)
    return [state[:, :n] for state, n in zip(before, packing.sizes, strict=False)]


def _lstm_forward(
    packing: Packing,
    found: Precision,
    saved: Saved,
    product: _RecurrentProduct,
    mask: Tensor | None,
) -> None:
    states, cells = saved.states, saved.cells
    batch, size = states.size(1) - saved.gates.size(1), states.size(2)
    gates = _Steps(packing, found, saved.gates)
    old_h, old_c = _previous(packing, states, batch), _previous(packing, cells, batch)
    new_h, new_c = (buffer[:, batch:].split(packing.sizes, 1) for buffer in (states, cells))
    scratch = states.new_empty(states.size(0), batch, size)
    for t, n in enumerate(packing.sizes):
        seen = old_h[t] if mask is None else old_h[t] * mask[:, :n]
        sums = product.add_to(gates.load(t), seen)  # (D, n, 4*H)
        sums[..., : 2 * size].sigmoid_()
        i, f, g, o = sums.chunk(4, -1)
        g.tanh_()
        o.sigmoid_()
        torch.mul(f, old_c[t], out=new_c[t])
        new_c[t].addcmul_(i, g)
        tanh_c = torch.tanh(new_c[t], out=scratch[:, :n])
        torch.mul(o, tanh_c, out=new_h[t])
        gates.store(t)


def _gru_forward(
    packing: Packing,
    found: Precision,
    saved: Saved,
    product: _RecurrentProduct,
    mask: Tensor | None,
    bias: Tensor | None,
) -> None:
    states = saved.states
    batch, size = states.size(1) - saved.gates.size(1), states.size(2)
    gates = _Steps(packing, found, saved.gates)
    bias = states.new_zeros(1, 1, 1) if bias is None else bias.to(found.state)[:, None]  # (D, 1, H)
    old_h = _previous(packing, states, batch)
    new_h = states[:, batch:].split(packing.sizes, 1)
    kept = None if saved.extra is None else saved.extra.split(packing.sizes, 1)
    for t, n in enumerate(packing.sizes):
        seen = old_h[t] if mask is None else old_h[t] * mask[:, :n]
        sums, recurrent_sums = gates.load(t), product(seen)  # (D, n, 3*H) each
        sums[..., : 2 * size].add_(recurrent_sums[..., : 2 * size]).sigmoid_()
        r, z, candidate = sums.chunk(3, -1)
        recurrent = recurrent_sums[..., 2 * size :].add_(bias)
        if kept is not None:
            kept[t].copy_(recurrent)
        candidate.addcmul_(r, recurrent).tanh_()
        torch.sub(old_h[t], candidate, out=new_h[t])
        new_h[t].mul_(z).add_(candidate)
        gates.store(t)


def _elman_forward(
    kind: str,
    packing: Packing,
    found: Precision,
    saved: Saved,
    product: _RecurrentProduct,
    mask: Tensor | None,
) -> None:
    states = saved.states
    batch = states.size(1) - saved.gates.size(1)
    gates = _Steps(packing, found, saved.gates)
    old_h = _previous(packing, states, batch)
    new_h = states[:, batch:].split(packing.sizes, 1)
    for t, n in enumerate(packing.sizes):
        seen = old_h[t] if mask is None else old_h[t] * mask[:, :n]
        sums = product.add_to(gates.load(t), seen)  # (D, n, H)
        if kind == "tanh":
            torch.tanh(sums, out=new_h[t])
        else:
            torch.clamp_min(sums, 0, out=new_h[t])


class _Loop(NamedTuple):
    """What the backward loops share; all in the state dtype."""

    packing: Packing
    saved: Saved
    arriving: tuple[Tensor, ...] | None  # per step, the gradient of its output: (D, n, H)
    hidden: Tensor  # (D, B, H) the running gradient of the hidden state, changed in place
    cell: Tensor | None  # (D, B, H) and of the cell
    mask: Tensor | None  # (D, B, H)
    grad_mask: Tensor | None  # (D, B, H) summed up here when wanted
    product: _RecurrentProduct  # by W_hh


def _backward(
    kind: str,
    packing: Packing,
    found: Precision,
    arguments: Arguments,
    saved: Saved,
    grads: tuple[Tensor | None, ...],
    wanted: tuple[bool, ...],
) -> tuple[Tensor | None, ...]:
    """Gradients of every argument, None where not wanted."""
    grad_outputs, grad_hidden, grad_cell = grads
    batch, states = arguments.inputs.size(0), saved.states
    mask = _ordered(packing, found, arguments.hidden_mask)
    with torch.autocast(states.device.type, enabled=False):
        loop = _Loop(
            packing,
            saved,
            _pack_gradient(packing, found, grad_outputs, states),
            _running(packing, found, grad_hidden, states, batch),
            _running(packing, found, grad_cell, states, batch) if kind == "lstm" else None,
            mask,
            torch.zeros_like(mask) if wanted[7] else None,
            _RecurrentProduct(arguments.weight_hh, found, batch),
        )
        if kind == "lstm":
            input_sums = recurrent_sums = _lstm_backward(loop, found)
        elif kind == "gru":
            input_sums, recurrent_sums = _gru_backward(loop, found)
        else:
            input_sums = recurrent_sums = _elman_backward(loop, found, kind)
        return _collect(found, arguments, wanted, loop, input_sums, recurrent_sums)


def _pack_gradient(
    packing: Packing, found: Precision, grad: Tensor | None, states: Tensor
) -> tuple[Tensor, ...] | None:
    """(B, T, D*H) -> per step (D, n, H)"""
    if grad is None:
        return None
    grad = grad.reshape(-1, grad.size(2)).to(found.state)  # (B*T, D*H)
    parts = grad.chunk(states.size(0), 1)
    packed = states.new_empty(len(parts), packing.rows[0].numel(), states.size(2))  # (D, N, H)
    for d, rows in enumerate(packing.rows):
        torch.index_select(parts[d], 0, rows, out=packed[d])
    return packed.split(packing.sizes, 1)


def _running(
    packing: Packing, found: Precision, grad: Tensor | None, states: Tensor, batch: int
) -> Tensor:
    """The gradient of a final state, (D, B, H): where each sequence ends, the loop takes it up."""
    if grad is None:
        return states.new_zeros(states.size(0), batch, states.size(2))
    return _ordered(packing, found, grad).clone()


class _SumGradients(NamedTuple):
    """The gradients of the gate sums."""

    all: Tensor  # (D, N, G*H) in the product dtype
    total: Tensor  # (D, G*H) their sum over steps and sequences, in the state dtype


class _GateGradients:
    """Collects the gradients of gate sums step by step."""

    def __init__(self, packing: Packing, found: Precision, like: Tensor, width: int) -> None:
        shape = (like.size(0), like.size(1), width)
        self.all = like.new_empty(shape, dtype=found.product)
        self.steps = _Steps(packing, found, self.all)
        # Where the kept gradients are rounded, their sum is made from the unrounded ones.
        scratch = self.steps.scratch
        self.total = None if scratch is None else torch.zeros_like(scratch)

    def store(self, t: int) -> Tensor:
        if self.total is not None:
            room = self.steps.room(t)
            self.total[:, : room.size(1)].add_(room)
        return self.steps.store(t)

    def result(self) -> _SumGradients:
        return _SumGradients(self.all, (self.all if self.total is None else self.total).sum(1))


def _lstm_backward(loop: _Loop, found: Precision) -> _SumGradients:
    packing, cells = loop.packing, loop.saved.cells
    batch, size = loop.hidden.size(1), loop.hidden.size(2)
    gates = _Steps(packing, found, loop.saved.gates)
    old_c, new_c = _previous(packing, cells, batch), cells[:, batch:].split(packing.sizes, 1)
    found_sums = _GateGradients(packing, found, loop.saved.gates, 4 * size)
    tanh_c, through = torch.empty_like(loop.hidden), torch.empty_like(loop.hidden)
    for t in reversed(range(len(packing.sizes))):
        d_h, d_c, through_t, tanh_t = _active(loop, t, through, tanh_c)
        opened, d_sums = gates.load(t), found_sums.steps.room(t)  # (D, n, 4*H) each
        i, f, g, o = opened.chunk(4, -1)
        d_i, d_f, d_g, d_o = d_sums.chunk(4, -1)
        torch.tanh(new_c[t], out=tanh_t)  # cheaper than keeping it for all steps
        torch.mul(d_h, tanh_t, out=d_o)
        _sigmoid_backward(d_o, o, grad_input=d_o)
        torch.mul(d_h, o, out=through_t)
        d_c.add_(_tanh_backward(through_t, tanh_t, grad_input=through_t))
        torch.mul(d_c, g, out=d_i)
        torch.mul(d_c, old_c[t], out=d_f)
        d_input_forget = d_sums[..., : 2 * size]
        _sigmoid_backward(d_input_forget, opened[..., : 2 * size], grad_input=d_input_forget)
        torch.mul(d_c, i, out=d_g)
        _tanh_backward(d_g, g, grad_input=d_g)
        d_c.mul_(f)
        _into_hidden(loop, t, found_sums.store(t), d_h)
    return found_sums.result()


def _gru_backward(loop: _Loop, found: Precision) -> tuple[_SumGradients, _SumGradients]:
    """-> of the input sums and of the recurrent sums, which differ in the candidate"""
    packing, states = loop.packing, loop.saved.states
    size = loop.hidden.size(2)
    gates = _Steps(packing, found, loop.saved.gates)
    recurrent = _Steps(packing, found, loop.saved.extra)
    old_h = _previous(packing, states, loop.hidden.size(1))
    sums = _GateGradients(packing, found, loop.saved.gates, 3 * size)
    candidates = _GateGradients(packing, found, loop.saved.gates, size)
    keep, through = torch.empty_like(loop.hidden), torch.empty_like(loop.hidden)
    for t in reversed(range(len(packing.sizes))):
        d_h, _, straight, through_t = _active(loop, t, keep, through)
        opened, d_sums = gates.load(t), sums.steps.room(t)  # (D, n, 3*H) each
        r, z, candidate = opened.chunk(3, -1)
        d_r, d_z, d_recurrent = d_sums.chunk(3, -1)
        d_candidate = candidates.steps.room(t)
        torch.mul(d_h, z, out=straight)  # the part that goes straight to the old state
        torch.sub(d_h, straight, out=d_candidate)
        _tanh_backward(d_candidate, candidate, grad_input=d_candidate)
        torch.sub(old_h[t], candidate, out=d_z)
        d_z.mul_(d_h)
        torch.mul(d_candidate, recurrent.load(t), out=d_r)
        d_reset_update = d_sums[..., : 2 * size]
        _sigmoid_backward(d_reset_update, opened[..., : 2 * size], grad_input=d_reset_update)
        torch.mul(d_candidate, r, out=d_recurrent)
        candidates.store(t)
        into = _into_hidden(loop, t, sums.store(t), through_t)
        torch.add(straight, into, out=d_h)
    recurrent_sums, own = sums.result(), candidates.result()
    input_sums = _SumGradients(
        *(
            torch.cat([shared[..., : 2 * size], candidate], -1)
            for shared, candidate in zip(recurrent_sums, own, strict=True)
        )
    )
    return input_sums, recurrent_sums


def _elman_backward(loop: _Loop, found: Precision, kind: str) -> _SumGradients:
    packing, states = loop.packing, loop.saved.states
    new_h = states[:, loop.hidden.size(1) :].split(packing.sizes, 1)
    sums = _GateGradients(packing, found, loop.saved.gates, loop.hidden.size(2))
    for t in reversed(range(len(packing.sizes))):
        d_h, _ = _active(loop, t)
        if kind == "tanh":
            _tanh_backward(d_h, new_h[t], grad_input=sums.steps.room(t))
        else:
            _relu_backward(d_h, new_h[t], 0, grad_input=sums.steps.room(t))
        _into_hidden(loop, t, sums.store(t), d_h)
    return sums.result()


def _active(loop: _Loop, t: int, *scratch: Tensor) -> tuple[Tensor | None, ...]:
    """The running gradients of the sequences active at step t, of the hidden state with that
    of the step's output added, then of the cell; and as much of the scratch: (D, n, H)."""
    n = loop.packing.sizes[t]
    d_h = loop.hidden[:, :n]
    if loop.arriving is not None:
        d_h.add_(loop.arriving[t])
    d_c = None if loop.cell is None else loop.cell[:, :n]
    return (d_h, d_c, *(room[:, :n] for room in scratch))


def _into_hidden(loop: _Loop, t: int, d_sums: Tensor, out: Tensor) -> Tensor:
    """The gradient that the recurrent product sends to the state before step t: (D, n, H)."""
    into = loop.product.into(out, d_sums)
    if loop.mask is None:
        return into
    n = d_sums.size(1)
    if loop.grad_mask is not None:
        old_h = _previous(loop.packing, loop.saved.states, loop.hidden.size(1))[t]
        loop.grad_mask[:, :n].addcmul_(into, old_h)
    return into.mul_(loop.mask[:, :n])


def _collect(
    found: Precision,
    arguments: Arguments,
    wanted: tuple[bool, ...],
    loop: _Loop,
    input_sums: _SumGradients,
    recurrent_sums: _SumGradients,
) -> tuple[Tensor | None, ...]:
    """The gradients that are one product over all steps, and the rest in their order and dtype."""
    packing, inputs = loop.packing, arguments.inputs
    grads: list[Tensor | None] = [None] * len(arguments)
    if wanted[0]:
        grads[0] = _input_gradient(packing, found, arguments, input_sums.all)
    if wanted[1]:
        packed = _packed_inputs(packing, found, inputs)
        grads[1] = torch.stack([d.t() @ x for d, x in zip(input_sums.all, packed, strict=True)])
    if wanted[2]:
        before = _states_before(loop).to(found.product)  # (D, N, H)
        grads[2] = torch.stack([d.t() @ h for d, h in zip(recurrent_sums.all, before, strict=True)])
    if wanted[3]:
        grads[3] = input_sums.total
    if wanted[4]:
        grads[4] = recurrent_sums.total
    grads[5:] = [loop.hidden, loop.cell, loop.grad_mask]
    for k in (5, 6, 7):
        if grads[k] is not None and packing.order is not None:
            grads[k] = torch.empty_like(grads[k]).index_copy_(1, packing.order, grads[k])
    return tuple(
        grad.to(argument.dtype) if want and argument is not None and grad is not None else None
        for grad, argument, want in zip(grads, arguments, wanted, strict=True)
    )


def _states_before(loop: _Loop) -> Tensor:
    """The state that each step's recurrent product saw: (D, N, H)."""
    states, steps = loop.saved.states, loop.saved.gates.size(1)
    previous = loop.packing.previous
    before = states[:, :steps] if previous is None else states.index_select(1, previous)
    if loop.mask is None:
        return before
    before = before.clone()
    for part, n in zip(before.split(loop.packing.sizes, 1), loop.packing.sizes, strict=True):
        part.mul_(loop.mask[:, :n])
    return before


def _input_gradient(
    packing: Packing, found: Precision, arguments: Arguments, d_input: Tensor
) -> Tensor:
    """(B, T, I), zero where there is padding."""
    inputs = arguments.inputs
    total: Tensor | None = None
    for d, rows in enumerate(packing.rows):
        packed = (d_input[d] @ arguments.weight_ih[d].to(found.product)).to(inputs.dtype)  # (N, I)
        flat = packed.new_zeros(inputs.size(0) * inputs.size(1), inputs.size(2))
        flat.index_copy_(0, rows, packed)
        total = flat if total is None else total.add_(flat)
    return total.view(inputs.shape)


def _differentiable_backward(
    ctx: Any, arguments: Arguments, grads: tuple[Tensor | None, ...], wanted: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    """The same gradients by autograd through the reference, so that they have gradients too."""
    outputs = []
    for d, backward in enumerate(ctx.reverse):
        outputs.append(
            reference.recurrence(
                arguments.inputs,
                *(None if tensor is None else tensor[d] for tensor in arguments[1:7]),
                kind=ctx.kind,
                lengths=ctx.lengths,
                reverse=backward,
                hidden_mask=None if arguments.hidden_mask is None else arguments.hidden_mask[d],
            )
        )
    sequences, hidden, cell = zip(*outputs, strict=True)
    results = [torch.cat(sequences, 2), torch.stack(hidden)]
    if ctx.kind == "lstm":
        results.append(torch.stack(cell))
    pairs = [(r, g) for r, g in zip(results, grads, strict=False) if g is not None]
    found = iter(
        torch.autograd.grad(
            [result for result, _ in pairs],
            [tensor for tensor, want in zip(arguments, wanted, strict=True) if want],
            [grad.to(result.dtype) for result, grad in pairs],
            create_graph=True,
            allow_unused=True,
        )
    )
    return tuple(next(found) if want else None for want in wanted)
