"""The phase ``layer`` of one step of search, its normalisation, and the sentinel's gate."""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.common.cells import (
    elman_forward,
    gru_forward,
    lstm_forward,
    sigmoid,
    tanh,
)
from kernels.decoder.triton_backend.step.products import multiply_joined


@triton.jit
def layer_tile(
    tile, sums, bias, x, rows, feed, hidden, cell, weight, hidden_out, cell_out, shown, batch,
    KIND: tl.constexpr, X: tl.constexpr, F: tl.constexpr, H: tl.constexpr,
    SUMMED: tl.constexpr, GATHER: tl.constexpr, SHOWN: tl.constexpr, RESIDUAL: tl.constexpr,
    BM: tl.constexpr, BH: tl.constexpr, BK: tl.constexpr, STAGES: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """A layer's cell for BM rows and BH units; hidden, cell and what is written are the layer's.

    x (., X) is read at ``rows`` (N,) with GATHER. SUMMED: sums (., C) hold its share of the gates
    with the bias, and x is not read. SHOWN: the output goes to ``shown``, too, with x added where
    there is a RESIDUAL.
    """
    GATES: tl.constexpr = 4 if (KIND == "lstm" or KIND == "gru") else 1
    across = tl.cdiv(H, BH)
    unit = (tile % across) * BH
    b = (tile // across) * BM + tl.arange(0, BM)
    j = unit + tl.arange(0, BH)
    live = b < batch
    own = j < H
    active = live[:, None] & own[None, :]
    at = b[:, None] * H + j[None, :]
    x_at = b.to(tl.int64)
    if GATHER:
        x_at = tl.load(rows + b, mask=live, other=0).to(tl.int64)
    # What the cell reads is asked for before the product, so that it is there after it.
    before = tl.load(hidden + at, mask=active, other=0.0).to(tl.float32)
    if KIND == "lstm":
        old = tl.load(cell + at, mask=active, other=0.0).to(tl.float32)
    if SUMMED:
        of_sums = sums + x_at[:, None] * (GATES * H) + j[None, :]
        s0 = tl.load(of_sums, mask=active, other=0.0).to(tl.float32)
        if GATES > 1:
            s1 = tl.load(of_sums + H, mask=active, other=0.0).to(tl.float32)
            s2 = tl.load(of_sums + 2 * H, mask=active, other=0.0).to(tl.float32)
            s3 = tl.load(of_sums + 3 * H, mask=active, other=0.0).to(tl.float32)
    else:
        s0 = tl.load(bias + j, mask=own, other=0.0)[None, :]
        if GATES > 1:
            s1 = tl.load(bias + H + j, mask=own, other=0.0)[None, :]
            s2 = tl.load(bias + 2 * H + j, mask=own, other=0.0)[None, :]
            s3 = tl.load(bias + 3 * H + j, mask=own, other=0.0)[None, :]

    column = tl.arange(0, GATES * BH)  # alternates between the gates of a unit
    gate = column % GATES
    total = tl.zeros((BM, GATES * BH), tl.float32)
    total = multiply_joined(
        total, weight, gate * H + unit + column // GATES, gate, unit + column // GATES < H,
        x, x_at, feed, hidden, b, live, X, F, H, X if SUMMED else 0, KIND == "gru",
        BK, STAGES, PRECISION,
    )  # fmt: skip
    if GATES == 1:
        new = elman_forward(total + s0, KIND == "relu")
    else:
        even, odd = total.reshape(BM, BH, 2, 2).split()
        p0, p2 = even.split()
        p1, p3 = odd.split()
        if KIND == "lstm":
            _, _, _, opened, kept = lstm_forward(p0 + s0, p1 + s1, p3 + s3, p2 + s2, old)
            new = opened * tanh(kept)
            tl.store(cell_out + at, kept.to(cell_out.dtype.element_ty), mask=active)
        else:
            _, _, _, new = gru_forward(p0 + s0, p1 + s1, p2 + s2, p3 + s3, before)
    tl.store(hidden_out + at, new.to(hidden_out.dtype.element_ty), mask=active)
    if SHOWN:
        if RESIDUAL:
            new += tl.load(x + at, mask=active, other=0.0, cache_modifier=".cg").to(tl.float32)
        tl.store(shown + at, new, mask=active)


@triton.jit
def norm_row(
    b, x, hidden, gain, shift, shown, normed,
    H: tl.constexpr, RESIDUAL: tl.constexpr, BROW: tl.constexpr,
):  # fmt: skip
    """shown[b] = hidden[b], where ``normed`` its layer normalisation, (+ x[b])."""
    j = tl.arange(0, BROW)
    own = j < H
    h = tl.load(hidden + b * H + j, mask=own, other=0.0, cache_modifier=".cg").to(tl.float32)
    mean = tl.sum(h, 0) / H
    centred = tl.where(own, h - mean, 0.0)
    inverse = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / H + 1e-5)
    y = centred * inverse * tl.load(gain + j, mask=own, other=0.0)
    y += tl.load(shift + j, mask=own, other=0.0)
    y = tl.where(normed, y, h)
    if RESIDUAL:
        y += tl.load(x + b * H + j, mask=own, other=0.0, cache_modifier=".cg").to(tl.float32)
    tl.store(shown + b * H + j, y, mask=own)


@triton.jit
def sentinel_tile(
    tile, x, rows, feed, hidden, weight, bias, opened, batch,
    X: tl.constexpr, F: tl.constexpr, H: tl.constexpr, GATHER: tl.constexpr, BM: tl.constexpr,
    BN: tl.constexpr, BK: tl.constexpr, STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """opened (N, H) = sigmoid(weight (H, X + F + H) [x; feed; hidden] + bias): the sentinel's gate,
    of the top layer's input and hidden state before (kernels/decoder/sentinel.py, equation 9)."""
    across = tl.cdiv(H, BN)
    b = (tile // across) * BM + tl.arange(0, BM)
    n = (tile % across) * BN + tl.arange(0, BN)
    live = b < batch
    x_at = b.to(tl.int64)
    if GATHER:
        x_at = tl.load(rows + b, mask=live, other=0).to(tl.int64)
    total = tl.zeros((BM, BN), tl.float32)
    total = multiply_joined(
        total, weight, n, n, n < H, x, x_at, feed, hidden, b, live, X, F, H, 0, False,
        BK, STAGES, PRECISION,
    )  # fmt: skip
    total += tl.load(bias + n, mask=n < H, other=0.0)[None, :]
    tl.store(
        opened + b[:, None] * H + n[None, :], sigmoid(total), mask=live[:, None] & (n < H)[None, :]
    )
