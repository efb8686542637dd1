"""The phases of a step backward as device functions; ``backward.py`` says what each computes."""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.common.cells import (
    elman_backward,
    gru_backward,
    lstm_backward,
    tanh,
)
from kernels.decoder.triton_backend.products import multiply


@triton.jit
def cell_backward(
    d, b, j, active, gates, states_before, cells_before, d_hidden, d_cell, d_gates,
    KIND: tl.constexpr, H: tl.constexpr,
):  # fmt: skip
    """d: what reaches h' from this step; ``d_hidden`` (B, H) holds what the next step sent back and
    gets what goes straight to h (GRU), ``d_cell`` is replaced. Writes d_gates (B, C)."""
    GATES: tl.constexpr = 4 if (KIND == "lstm" or KIND == "gru") else 1
    C: tl.constexpr = GATES * H
    at = b * H + j
    of_gates = gates + b * C + j
    d += tl.load(d_hidden + at, mask=active, other=0.0, cache_modifier=".cg")
    g0 = tl.load(of_gates, mask=active, other=0.0).to(tl.float32)
    if GATES > 1:
        g1 = tl.load(of_gates + H, mask=active, other=0.0).to(tl.float32)
        g2 = tl.load(of_gates + 2 * H, mask=active, other=0.0).to(tl.float32)
        g3 = tl.load(of_gates + 3 * H, mask=active, other=0.0).to(tl.float32)
    to = d_gates + b * C + j
    kept = d_gates.dtype.element_ty
    if KIND == "lstm":
        cell = tl.load(cells_before + at, mask=active, other=0.0)
        dc = tl.load(d_cell + at, mask=active, other=0.0, cache_modifier=".cg")
        seen = tanh(g1 * cell + g0 * g3)
        dc += d * g2 * (1.0 - seen * seen)
        s0, s1, s3, s2, dc = lstm_backward(g0, g1, g3, g2, cell, seen, d, dc)
        tl.store(d_cell + at, dc, mask=active)
    elif KIND == "gru":
        h = tl.load(states_before + at, mask=active, other=0.0).to(tl.float32)
        s0, s1, s3, s2, straight = gru_backward(g0, g1, g2, g3, h, d)
        tl.store(d_hidden + at, straight, mask=active)
    else:
        s0 = elman_backward(g0, d, KIND == "relu")
    tl.store(to, s0.to(kept), mask=active)
    if GATES > 1:
        tl.store(to + H, s1.to(kept), mask=active)
        tl.store(to + 2 * H, s2.to(kept), mask=active)
        tl.store(to + 3 * H, s3.to(kept), mask=active)


@triton.jit
def into_layer(
    d, b, j, active, between, masked, gates, states_before, cells_before, d_hidden, d_cell,
    d_gates, d_skip, d_shown, normed,
    KIND: tl.constexpr, H: tl.constexpr, BETWEEN: tl.constexpr, RESIDUAL: tl.constexpr,
):  # fmt: skip
    """d: gradient of a layer's output, after its mask. Goes through mask and cell; where the layer
    is ``normed`` it waits in ``d_shown`` for the norm phase. ``d_skip`` (B, H) keeps what the
    residual passes on."""
    at = b * H + j
    if BETWEEN:
        if masked:
            d *= tl.load(between + at, mask=active, other=0.0).to(tl.float32)
    if RESIDUAL:
        tl.store(d_skip + at, d, mask=active)
    if normed:
        tl.store(d_shown + at, d, mask=active)
    else:
        cell_backward(
            d, b, j, active, gates, states_before, cells_before, d_hidden, d_cell, d_gates, KIND, H
        )


@triton.jit
def norm_row(
    b, d_shown, statistics, gain, gates, states_before, states, cells_before, d_hidden, d_cell,
    d_gates, KIND: tl.constexpr, H: tl.constexpr, BROW: tl.constexpr,
):  # fmt: skip
    """Through the layer normalisation of a row, and the cell."""
    j = tl.arange(0, BROW)[None, :]
    own = j < H
    at = b * H + j
    d = tl.load(d_shown + at, mask=own, other=0.0, cache_modifier=".cg")
    inverse = tl.load(statistics + 2 * b + 1)
    h = tl.load(states + at, mask=own, other=0.0).to(tl.float32)
    normal = tl.where(own, (h - tl.load(statistics + 2 * b)) * inverse, 0.0)
    d *= tl.load(gain + j, mask=own, other=0.0)
    mean = tl.sum(d, 1)[:, None] / H
    along = tl.sum(d * normal, 1)[:, None] / H
    d = inverse * (d - mean - normal * along)
    cell_backward(
        d, b, j, own, gates, states_before, cells_before, d_hidden, d_cell, d_gates, KIND, H
    )


@triton.jit
def into_sentinel(
    b, column, active, d_contexts, alpha, d_keys, key_weight, gates, states, cells, d_gates,
    d_hidden, d_cell, batch,
    KIND: tl.constexpr, H: tl.constexpr, Q: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    BK: tl.constexpr, STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The gradient of the sentinel s = g * m is alpha d_context + d_key W_s. Writes d_gates (B, H),
    of the sums of g; the share of m = tanh(c), or h, is added to what arrives at c, or h."""
    at = b[:, None] * H + column[None, :]
    d = tl.zeros((BM, BN), tl.float32)
    d = multiply(
        d, d_keys, b, key_weight, column, column < H, batch, Q, Q, 1, H, BK, STAGES, PRECISION
    )
    of_value = tl.load(d_contexts + at, mask=active, other=0.0, cache_modifier=".cg")
    d += tl.load(alpha + b, mask=b < batch, other=0.0)[:, None] * of_value.to(tl.float32)
    opened = tl.load(gates + at, mask=active, other=0.0).to(tl.float32)
    if KIND == "lstm":
        memory = tanh(tl.load(cells + at, mask=active, other=0.0))
        back = d * opened * (1.0 - memory * memory)
        to = d_cell + at
    else:
        memory = tl.load(states + at, mask=active, other=0.0).to(tl.float32)
        back = d * opened
        to = d_hidden + at
    d *= memory * opened * (1.0 - opened)
    tl.store(d_gates + at, d.to(d_gates.dtype.element_ty), mask=active)
    back += tl.load(to, mask=active, other=0.0, cache_modifier=".cg")
    tl.store(to, back, mask=active)
    tl.debug_barrier()  # the cell's gradient reads it, perhaps by other threads than wrote it


@triton.jit
def hidden_part(
    b, part, d_gates, weight, d_hidden, batch, d_sentinel, sentinel_weight, top,
    KIND: tl.constexpr, H: tl.constexpr,
    INNER: tl.constexpr, SENTINEL: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    BK: tl.constexpr, STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """d_hidden (B, H) = d_gates (B, C) times the recurrent columns of a layer's weight, plus what
    went straight (GRU), plus, SENTINEL, of the ``top`` layer, d_sentinel (B, H), of the sums of the
    sentinel's gate, times its recurrent columns."""
    C: tl.constexpr = 4 * H if (KIND == "lstm" or KIND == "gru") else H
    n = part * BN + tl.arange(0, BN)
    active = (b < batch)[:, None] & (n < H)[None, :]
    at = b[:, None] * H + n[None, :]
    total = tl.zeros((BM, BN), tl.float32)
    if KIND == "gru":  # the candidate's input part is not the state's
        total = tl.load(d_hidden + at, mask=active, other=0.0, cache_modifier=".cg")
        total = multiply(
            total, d_gates, b, weight, n, n < H, batch,
            2 * H, C, 1, INNER, BK, STAGES, PRECISION,
        )  # fmt: skip
        total = multiply(
            total, d_gates + 3 * H, b, weight + 3 * H * INNER, n, n < H, batch,
            H, C, 1, INNER, BK, STAGES, PRECISION,
        )  # fmt: skip
    else:
        total = multiply(
            total, d_gates, b, weight, n, n < H, batch, C, C, 1, INNER, BK, STAGES, PRECISION
        )
    if SENTINEL:
        if top:
            total = multiply(
                total, d_sentinel, b, sentinel_weight, n, n < H, batch,
                H, H, 1, INNER, BK, STAGES, PRECISION,
            )  # fmt: skip
    tl.store(d_hidden + at, total, mask=active)
