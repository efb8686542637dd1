"""The LSTM through time: c' = f*c + i*g, h' = o*tanh(c'); with layer normalisation, of n(c'); with
a projection, h' = W_hr (o*tanh(c')) (Sak et al. 2014)."""

from __future__ import annotations

import torch

from kernels.common.elementwise import tanh
from kernels.recurrence.torch_backend.walk import BackwardWalk, ForwardWalk

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input


def forward(walk: ForwardWalk) -> None:
    size, scratch, rough = walk.size, walk.scratch(), walk.rough
    for t in walk.steps:
        old_h, old_c = walk.hidden.before(t), walk.cell.before(t)
        new_h, new_c = walk.hidden.after[t], walk.cell.after[t]  # (D, n, H) each
        sums = walk.recurrent.add_to(walk.gates.load(t), walk.seen(old_h), t)  # (D, n, 4*H)
        sums[..., : 2 * size].sigmoid_()
        i, f, g, o = sums.chunk(4, -1)
        tanh(g, g, rough)
        o.sigmoid_()
        torch.mul(f, old_c, out=new_c)
        new_c.addcmul_(i, g)
        shown = new_c if walk.cell_norm is None else walk.cell_norm(new_c)
        tanh_c = tanh(shown, scratch[:, : new_c.size(1)], rough)
        if walk.projection is None:
            torch.mul(o, tanh_c, out=new_h)
        else:
            walk.projection.into(new_h, tanh_c.mul_(o))
        walk.zone_hidden.mix(new_h, old_h, t)
        walk.zone_cell.mix(new_c, old_c, t)
        walk.gates.store(t)


def backward(walk: BackwardWalk) -> None:
    size, norm = walk.size, walk.cell_norm
    tanh_c, through = walk.scratch(), walk.scratch()
    sent = through if walk.projection is None else walk.scratch(walk.projection.size)
    for t in reversed(walk.steps):
        d_h, d_c, through_t, tanh_t = walk.arrive(t, through, tanh_c)
        straight = walk.zone_hidden.part(d_h, t)
        straight_c = walk.zone_cell.part(d_c, t)
        opened, d_sums = walk.gates.load(t), walk.sums.room(t)  # (D, n, 4*H) each
        i, f, g, o = opened.chunk(4, -1)
        d_i, d_f, d_g, d_o = d_sums.chunk(4, -1)
        old_c = walk.cell.before(t)
        made = walk.cell.after[t]  # what the step made of the cell, before zoneout
        if walk.zone_cell.on:
            made = torch.mul(f, old_c).addcmul_(i, g)
        # Cheaper than keeping it for all steps.
        tanh(made if norm is None else norm(made), tanh_t, walk.rough)
        d_unit = d_h  # the gradient of o*tanh(c'): (D, n, H)
        if walk.projection is not None:
            torch.mul(o, tanh_t, out=walk.projection.made[t])
            d_unit = walk.projection.backward(d_h, t)
        torch.mul(d_unit, tanh_t, out=d_o)
        _sigmoid_backward(d_o, o, grad_input=d_o)
        torch.mul(d_unit, o, out=through_t)
        _tanh_backward(through_t, tanh_t, grad_input=through_t)
        d_c.add_(through_t if norm is None else norm.backward(through_t, made))
        torch.mul(d_c, g, out=d_i)
        torch.mul(d_c, old_c, out=d_f)
        d_input_forget = d_sums[..., : 2 * size]
        _sigmoid_backward(d_input_forget, opened[..., : 2 * size], grad_input=d_input_forget)
        torch.mul(d_c, i, out=d_g)
        _tanh_backward(d_g, g, grad_input=d_g)
        d_c.mul_(f)
        if straight_c is not None:
            d_c.add_(straight_c)
        if walk.alive is not None:
            d_c.mul_(walk.alive[t])
        walk.send(t, straight, sent)
