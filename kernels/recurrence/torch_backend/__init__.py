"""The recurrences without an autograd tape through time, for CPU and where no kernel exists.

The input product of all steps is one product before the loop; dW_ih, dW_hh and the gradient
of the inputs are single products after the backward loop (``layout.py``, which has the legend of
shapes, too). The loop keeps what is truly sequential: the recurrent product and in-place
element-wise maths.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kernels.precision import Precision
from kernels.recurrence.layout import (
    Arguments,
    Options,
    Results,
    Saved,
    SumGradients,
    before,
    collect,
    initial,
    input_sums,
    ordered,
    pack_gradient,
    results,
    running,
)
from kernels.recurrence.packing import Packing

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input
_relu_backward = torch.ops.aten.threshold_backward.grad_input


def forward(
    kind: str,
    packing: Packing,
    found: Precision,
    arguments: Arguments,
    options: Options,
    schedule: str,
    keep: bool,
) -> Results:
    """The sequence; without ``keep``, what only the backward pass needs is left out. There is one
    schedule here, whatever is asked for."""
    assert not options.any, "zoneout and resets take the reference's path here"
    size = arguments.weight_hh.size(2)
    gates = input_sums(kind, packing, found, arguments)  # (D, N, G*H), gates in the end
    states = initial(packing, found, arguments, arguments.hidden, found.state)
    cells = extra = None
    if kind == "lstm":
        cells = initial(packing, found, arguments, arguments.cell, found.state)
    if keep and kind == "gru":
        extra = gates.new_empty(gates.size(0), gates.size(1), size)
    saved = Saved(gates, states, cells, extra, None)
    batch = arguments.inputs.size(0)
    product = _RecurrentProduct(arguments.weight_hh.transpose(1, 2), found, batch)
    mask = ordered(packing, found, arguments.hidden_mask)  # (D, B, H)
    if kind == "lstm":
        _lstm_forward(packing, found, saved, product, mask)
    elif kind == "gru":
        bias = None if arguments.bias_hh is None else arguments.bias_hh[:, 2 * size :]
        _gru_forward(packing, found, saved, product, mask, bias)
    else:
        _elman_forward(kind, packing, found, saved, product, mask)
    return results(packing, found, arguments.inputs, saved)


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


def backward(
    kind: str,
    packing: Packing,
    found: Precision,
    arguments: Arguments,
    options: Options,
    schedule: str,
    saved: Saved,
    grads: tuple[Tensor | None, ...],
    wanted: tuple[bool, ...],
) -> tuple[Tensor | None, ...]:
    """Gradients of every argument, None where not wanted."""
    assert not options.any, "zoneout and resets take the reference's path here"
    grad_outputs, grad_hidden, grad_cell = grads
    batch, states = arguments.inputs.size(0), saved.states
    mask = ordered(packing, found, arguments.hidden_mask)
    arriving = pack_gradient(packing, found, grad_outputs, states)
    loop = _Loop(
        packing,
        saved,
        None if arriving is None else arriving.split(packing.sizes, 1),
        running(packing, found, grad_hidden, states, batch),
        running(packing, found, grad_cell, states, batch) if kind == "lstm" else None,
        mask,
        torch.zeros_like(mask) if wanted[7] else None,
        _RecurrentProduct(arguments.weight_hh, found, batch),
    )
    if kind == "lstm":
        sums = recurrent_sums = _lstm_backward(loop, found)
    elif kind == "gru":
        sums, recurrent_sums = _gru_backward(loop, found)
    else:
        sums = recurrent_sums = _elman_backward(loop, found, kind)
    of_states = (loop.hidden, loop.cell, loop.grad_mask)
    seen = _seen(loop)
    return collect(packing, found, arguments, wanted, seen, sums, recurrent_sums, of_states)


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

    def result(self) -> SumGradients:
        return SumGradients(self.all, (self.all if self.total is None else self.total).sum(1))


def _lstm_backward(loop: _Loop, found: Precision) -> SumGradients:
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


def _gru_backward(loop: _Loop, found: Precision) -> tuple[SumGradients, SumGradients]:
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
    input_sums = SumGradients(
        *(
            torch.cat([shared[..., : 2 * size], candidate], -1)
            for shared, candidate in zip(recurrent_sums, own, strict=True)
        )
    )
    return input_sums, recurrent_sums


def _elman_backward(loop: _Loop, found: Precision, kind: str) -> SumGradients:
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


def _seen(loop: _Loop) -> Tensor:
    """The state that each step's recurrent product saw: (D, N, H)."""
    seen = before(loop.packing, loop.saved.states)
    if loop.mask is None:
        return seen
    seen = seen.clone()
    for part, n in zip(seen.split(loop.packing.sizes, 1), loop.packing.sizes, strict=True):
        part.mul_(loop.mask[:, :n])
    return seen
