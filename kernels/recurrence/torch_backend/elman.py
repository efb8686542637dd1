"""The Elman network through time: h' = tanh(W x + U h + b), or relu."""

from __future__ import annotations

import torch

from kernels.common.elementwise import tanh
from kernels.recurrence.torch_backend.walk import BackwardWalk, ForwardWalk

_tanh_backward = torch.ops.aten.tanh_backward.grad_input
_relu_backward = torch.ops.aten.threshold_backward.grad_input


def forward(walk: ForwardWalk, kind: str) -> None:
    for t in walk.steps:
        old_h, new_h = walk.hidden.before(t), walk.hidden.after[t]  # (D, n, H) each
        sums = walk.recurrent.add_to(walk.gates.load(t), walk.seen(old_h), t)
        if kind == "tanh":
            tanh(sums, new_h, walk.rough)
        else:
            torch.clamp_min(sums, 0, out=new_h)
        if walk.zone_hidden.on:
            sums.copy_(new_h)
            walk.gates.store(t)
            walk.zone_hidden.mix(new_h, old_h, t)


def backward(walk: BackwardWalk, kind: str) -> None:
    through = walk.scratch()
    for t in reversed(walk.steps):
        d_h, _ = walk.arrive(t)
        straight = walk.zone_hidden.part(d_h, t)
        opened = walk.gates.load(t) if walk.zone_hidden.on else walk.hidden.after[t]
        if kind == "tanh":
            _tanh_backward(d_h, opened, grad_input=walk.sums.room(t))
        else:
            _relu_backward(d_h, opened, 0, grad_input=walk.sums.room(t))
        walk.send(t, straight, through)
