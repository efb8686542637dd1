"""The GRU through time: n = tanh(W x + r*(U h + b)), h' = (1-z)*n + z*h."""

from __future__ import annotations

import torch

from kernels.common.elementwise import tanh
from kernels.recurrence.layout import SumGradients, candidate_bias
from kernels.recurrence.torch_backend.steps import Steps
from kernels.recurrence.torch_backend.walk import BackwardWalk, ForwardWalk, GateGradients

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input


def forward(walk: ForwardWalk) -> None:
    size = walk.size
    bias = candidate_bias(walk.arguments, walk.dtypes)[:, None]  # (D, 1, H)
    for t in walk.steps:
        old_h, new_h = walk.hidden.before(t), walk.hidden.after[t]  # (D, n, H) each
        sums = walk.gates.load(t)  # (D, n, 3*H)
        recurrent_sums = walk.recurrent(walk.seen(old_h), t)
        sums[..., : 2 * size].add_(recurrent_sums[..., : 2 * size]).sigmoid_()
        r, z, candidate = sums.chunk(3, -1)
        recurrent = recurrent_sums[..., 2 * size :].add_(bias)
        if walk.extra is not None:
            walk.extra[t].copy_(recurrent)
        candidate.addcmul_(r, recurrent)
        tanh(candidate, candidate, walk.rough)
        torch.sub(old_h, candidate, out=new_h)
        new_h.mul_(z).add_(candidate)
        walk.zone_hidden.mix(new_h, old_h, t)
        walk.gates.store(t)


def backward(walk: BackwardWalk) -> SumGradients:
    """-> of the candidate's input sum, which differs from its recurrent one"""
    size = walk.size
    assert walk.saved.extra is not None  # kept or made again, for a GRU
    recurrent = Steps(walk.packing, walk.dtypes, walk.saved.extra)
    candidates = GateGradients(walk, size)
    keep, through = walk.scratch(), walk.scratch()
    for t in reversed(walk.steps):
        d_h, _, straight = walk.arrive(t, keep)
        zoned = walk.zone_hidden.part(d_h, t)
        opened, d_sums = walk.gates.load(t), walk.sums.room(t)  # (D, n, 3*H) each
        r, z, candidate = opened.chunk(3, -1)
        d_r, d_z, d_recurrent = d_sums.chunk(3, -1)
        d_candidate = candidates.room(t)
        torch.mul(d_h, z, out=straight)  # the part that goes straight to the old state
        torch.sub(d_h, straight, out=d_candidate)
        _tanh_backward(d_candidate, candidate, grad_input=d_candidate)
        torch.sub(walk.hidden.before(t), candidate, out=d_z)
        d_z.mul_(d_h)
        torch.mul(d_candidate, recurrent.load(t), out=d_r)
        d_reset_update = d_sums[..., : 2 * size]
        _sigmoid_backward(d_reset_update, opened[..., : 2 * size], grad_input=d_reset_update)
        torch.mul(d_candidate, r, out=d_recurrent)
        candidates.store(t)
        walk.send(t, straight if zoned is None else straight.add_(zoned), through)
    return candidates.result()


def input_sums(recurrent: SumGradients, candidates: SumGradients) -> SumGradients:
    """The gradients of all input sums."""
    size = candidates.all.size(2)
    return SumGradients(
        *(
            torch.cat([shared[..., : 2 * size], candidate], -1)
            for shared, candidate in zip(recurrent, candidates, strict=True)
        )
    )
