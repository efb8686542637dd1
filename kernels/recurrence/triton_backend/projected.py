"""The projected LSTM on a GPU: the torch backend's loop, whose cell is one kernel.

Between a step's gates and its new hidden state stand two products, W_hh h and W_hr m, which would
be two barriers a step in one kernel for all steps. They are torch's (cuBLAS), of both directions
at once; so are masks, resets and zoneout, where they are on.

Legend in ``kernels/recurrence/layout.py``.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kernels.common.cells import lstm_backward, lstm_forward, tanh
from kernels.common.launching import on_device
from kernels.recurrence.torch_backend.walk import BackwardWalk, ForwardWalk, Walk
from kernels.recurrence.triton_backend.normal import normalise, shown_cell_backward, unit_gain


def check_schedule(asked: str) -> None:
    """Raises RuntimeError where another schedule than "step" was asked for."""
    name = asked.split(" ")[0]
    if name not in ("", "step"):
        raise RuntimeError(
            f"schedule {name!r}: found weight_hr, a projected LSTM, which has two products a "
            "step; leave the choice to the rule, or use 'step'"
        )


def forward(walk: ForwardWalk) -> None:
    """Takes the place of ``torch_backend.lstm.forward``."""
    made, projection = walk.scratch(dtype=walk.dtypes.product), walk.projection
    assert projection is not None  # what this file is for
    with on_device(made.device):
        for t in walk.steps:
            old_h, old_c = walk.hidden.before(t), walk.cell.before(t)
            new_h, new_c = walk.hidden.after[t], walk.cell.after[t]
            recurrent = walk.recurrent(walk.seen(old_h), t)  # (D, n, 4*H)
            gates, made_t = walk.gates.kept[t], made[:, : new_c.size(1)]
            cell_kernel[_grid(gates)](
                gates, recurrent, old_c, new_c, made_t, *_norm(walk, made),
                *(part.stride(0) for part in (gates, recurrent, old_c, new_c, made_t)),
                gates.size(1), NORM=walk.cell_norm is not None, **tile(walk.size),
            )  # fmt: skip
            projection.into(new_h, made_t)
            walk.zone_hidden.mix(new_h, old_h, t)
            walk.zone_cell.mix(new_c, old_c, t)


def backward(walk: BackwardWalk) -> None:
    """Takes the place of ``torch_backend.lstm.backward``."""
    projection, norm = walk.projection, walk.cell_norm
    assert projection is not None  # what this file is for
    sent = walk.scratch(projection.size)
    with on_device(sent.device):
        for t in reversed(walk.steps):
            d_h, d_c = walk.arrive(t)
            straight = walk.zone_hidden.part(d_h, t)
            straight_c = walk.zone_cell.part(d_c, t)
            gates, old_c = walk.gates.kept[t], walk.cell.before(t)
            d_sums, made = walk.sums.room(t), projection.made[t]
            d_unit = projection.backward(d_h, t)  # (D, n, H)
            cell_backward_kernel[_grid(gates)](
                gates, old_c, d_unit, d_c, d_sums, made, *_norm(walk, d_c),
                *((d_c, d_c) if norm is None else (norm.d_gain, norm.d_shift)),
                *(part.stride(0) for part in (gates, old_c, d_unit, d_c, d_sums, made)),
                gates.size(1), NORM=norm is not None, **tile(walk.size),
            )  # fmt: skip
            if straight_c is not None:
                d_c.add_(straight_c)
            if walk.alive is not None:
                d_c.mul_(walk.alive[t])
            walk.send(t, straight, sent)


def _grid(gates: torch.Tensor) -> tuple[int, int]:
    """A program for each sequence and direction."""
    return gates.size(1), gates.size(0)


def _norm(walk: Walk, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Gain and shift of the cell; ``like`` stands for what is absent."""
    norm = walk.cell_norm
    return (like, like) if norm is None else (norm.gain, norm.shift)  # (D, 1, H)


def tile(size: int) -> dict[str, int]:
    """All units of a sequence in one program: layer normalisation sums over them."""
    padded = triton.next_power_of_2(size)
    return {"H": size, "BH": padded, "num_warps": min(16, max(1, padded // 128))}


@triton.jit
def _place(size, BH: tl.constexpr, H: tl.constexpr):
    """-> direction, sequence, units (1, BH), which of them exist"""
    j = tl.arange(0, BH)
    own = j < H
    d = tl.program_id(1).to(tl.int64)
    b = tl.program_id(0)
    return d, b, j[None, :], own, own[None, :] & (b < size)


# Strides, and the sequences of a step, change from call to call.
FORWARD_VARYING = [
    "gates_stride",
    "recurrent_stride",
    "old_stride",
    "new_stride",
    "made_stride",
    "size",
]


@triton.jit(do_not_specialize=FORWARD_VARYING)
def cell_kernel(
    gates,  # (D, n, 4*H) input sums; activated gates afterwards
    recurrent,  # (D, n, 4*H) W_hh h, normalised where gates are
    old,  # (D, n, H) float32, the cell
    new,  # (D, n, H) float32
    made,  # (D, n, H) o * tanh(c'), what the projection reads
    gain,  # (D, H) of the cell, NORM
    shift,
    gates_stride,  # distances between the two directions
    recurrent_stride,
    old_stride,
    new_stride,
    made_stride,
    size,  # n
    NORM: tl.constexpr,
    H: tl.constexpr,
    BH: tl.constexpr,
):
    d, b, j, own, active = _place(size, BH, H)
    x = gates + d * gates_stride + b * (4 * H) + j
    u = recurrent + d * recurrent_stride + b * (4 * H) + j
    cell = tl.load(old + d * old_stride + b * H + j, mask=active, other=0.0)
    s0 = tl.load(x, mask=active, other=0.0).to(tl.float32) + tl.load(u, mask=active, other=0.0)
    s1 = tl.load(x + H, mask=active, other=0.0).to(tl.float32)
    s1 += tl.load(u + H, mask=active, other=0.0)
    s2 = tl.load(x + 2 * H, mask=active, other=0.0).to(tl.float32)
    s2 += tl.load(u + 2 * H, mask=active, other=0.0)
    s3 = tl.load(x + 3 * H, mask=active, other=0.0).to(tl.float32)
    s3 += tl.load(u + 3 * H, mask=active, other=0.0)
    g0, g1, g2, g3, cell = lstm_forward(s0, s1, s2, s3, cell)
    shown = cell
    if NORM:
        normal, _ = normalise(cell, own, H)
        units = d * H + tl.arange(0, BH)
        shown = normal * unit_gain(gain + units, own) + unit_gain(shift + units, own)
    result = g3 * tanh(shown)
    tl.store(new + d * new_stride + b * H + j, cell, mask=active)
    tl.store(made + d * made_stride + b * H + j, result.to(made.dtype.element_ty), mask=active)
    tl.store(x, g0.to(gates.dtype.element_ty), mask=active)
    tl.store(x + H, g1.to(gates.dtype.element_ty), mask=active)
    tl.store(x + 2 * H, g2.to(gates.dtype.element_ty), mask=active)
    tl.store(x + 3 * H, g3.to(gates.dtype.element_ty), mask=active)


BACKWARD_VARYING = [
    "gates_stride",
    "old_stride",
    "unit_stride",
    "cell_stride",
    "sums_stride",
    "made_stride",
    "size",
]


@triton.jit(do_not_specialize=BACKWARD_VARYING)
def cell_backward_kernel(
    gates,  # (D, n, 4*H) activated
    old,  # (D, n, H) float32, the cell before the step
    d_unit,  # (D, n, H) float32, the gradient of o * tanh(c')
    d_cell,  # (D, n, H) float32, the gradient of c'; of c afterwards
    d_sums,  # (D, n, 4*H) float32 -> gradients of the gate sums
    made,  # (D, n, H) -> o * tanh(c') again, for the gradient of the projection
    gain,  # (D, H) of the cell, NORM
    shift,
    d_gain,  # (D, B, H) float32 -> summed up over the steps, NORM
    d_shift,
    gates_stride,  # distances between the two directions
    old_stride,
    unit_stride,
    cell_stride,
    sums_stride,
    made_stride,
    size,  # n
    NORM: tl.constexpr,
    H: tl.constexpr,
    BH: tl.constexpr,
):
    d, b, j, own, active = _place(size, BH, H)
    g = gates + d * gates_stride + b * (4 * H) + j
    g0 = tl.load(g, mask=active, other=0.0).to(tl.float32)
    g1 = tl.load(g + H, mask=active, other=0.0).to(tl.float32)
    g2 = tl.load(g + 2 * H, mask=active, other=0.0).to(tl.float32)
    g3 = tl.load(g + 3 * H, mask=active, other=0.0).to(tl.float32)
    cell = tl.load(old + d * old_stride + b * H + j, mask=active, other=0.0)
    arrived = tl.load(d_unit + d * unit_stride + b * H + j, mask=active, other=0.0)
    of_cell = d_cell + d * cell_stride + b * H + j
    dc = tl.load(of_cell, mask=active, other=0.0)
    new = g1 * cell + g0 * g2
    if NORM:
        units = d * H + tl.arange(0, BH)
        of_gain = d * cell_stride + b * H + j  # laid out as the running gradient of the cell
        shown, through = shown_cell_backward(
            new, g3, arrived, gain + units, shift + units, d_gain + of_gain, d_shift + of_gain,
            active, own, H,
        )  # fmt: skip
    else:
        shown = tanh(new)
        through = arrived * g3 * (1.0 - shown * shown)
    s0, s1, s2, s3, dc = lstm_backward(g0, g1, g2, g3, cell, shown, arrived, dc + through)
    tl.store(
        made + d * made_stride + b * H + j, (g3 * shown).to(made.dtype.element_ty), mask=active
    )
    tl.store(of_cell, dc, mask=active)
    s = d_sums + d * sums_stride + b * (4 * H) + j
    tl.store(s, s0, mask=active)
    tl.store(s + H, s1, mask=active)
    tl.store(s + 2 * H, s2, mask=active)
    tl.store(s + 3 * H, s3, mask=active)
