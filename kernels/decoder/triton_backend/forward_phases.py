"""The phases of a step forward as device functions; ``forward.py`` says what each computes."""

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
from kernels.decoder.triton_backend.products import multiply


@triton.jit
def add_layer_product(
    total, rows, b, weight, unit, place, batch,
    WIDTH: tl.constexpr, INNER: tl.constexpr, H: tl.constexpr, GATES: tl.constexpr,
    LEFT_OUT: tl.constexpr, BH: tl.constexpr, BK: tl.constexpr, STAGES: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Adds rows (B, WIDTH) times columns ``place`` .. of a layer's weight (C, INNER); the columns
    of a tile alternate between the gates of a unit. LEFT_OUT: the gate without it, or -1."""
    column = tl.arange(0, GATES * BH)
    gate = column % GATES
    own = unit + column // GATES
    there = (own < H) & (gate != LEFT_OUT)
    return multiply(
        total, rows, b, weight + place, gate * H + own, there, batch,
        WIDTH, WIDTH, INNER, 1, BK, STAGES, PRECISION,
    )  # fmt: skip


@triton.jit
def layer_tile(
    tile, sums, biases, x, hidden, weight, gates, states, carry, cells_before, cells,
    shown, between, batch,
    FIRST: tl.constexpr, KIND: tl.constexpr, IN: tl.constexpr, H: tl.constexpr,
    SAVE: tl.constexpr, SHOWN: tl.constexpr, RESIDUAL: tl.constexpr, BETWEEN: tl.constexpr,
    masked, BM: tl.constexpr, BH: tl.constexpr, BK: tl.constexpr, STAGES: tl.constexpr,
    PRECISION: tl.constexpr,
    shows=True, top=False, sentinel_weight=0, sentinel_bias=0, sentinel_gates=0, sentinels=0,
    SENTINEL: tl.constexpr = False,
):  # fmt: skip
    """A layer's cell for BM rows and BH units; all pointers at this step's rows of the layer.

    FIRST: ``sums`` (B, C) hold the embedding's share and the biases, else ``biases`` (C,) do;
    x (B, IN), IN the layer's input inside the loop. ``masked``: whether the mask after it applies.
    ``shows``: False where a norm phase follows, which makes what SHOWN asks for.
    SENTINEL: where the layer is the ``top`` one, ``sentinels`` (B, H) get
    sigmoid(sentinel_weight [x; hidden] + bias) * tanh(c') (or h'), and ``sentinel_gates`` (B, H),
    which with FIRST hold the embedding's share and the bias, the sigmoid (SAVE).
    """
    GATES: tl.constexpr = 4 if (KIND == "lstm" or KIND == "gru") else 1
    C: tl.constexpr = GATES * H
    across = tl.cdiv(H, BH)
    unit = (tile % across) * BH
    b = (tile // across) * BM + tl.arange(0, BM)
    j = unit + tl.arange(0, BH)
    own = j < H
    active = (b < batch)[:, None] & own[None, :]
    at = b[:, None] * H + j[None, :]

    if FIRST:
        of_sums = sums + b[:, None] * C + j[None, :]
        s0 = tl.load(of_sums, mask=active, other=0.0, cache_modifier=".cg").to(tl.float32)
        if GATES > 1:
            s1 = tl.load(of_sums + H, mask=active, other=0.0, cache_modifier=".cg")
            s2 = tl.load(of_sums + 2 * H, mask=active, other=0.0, cache_modifier=".cg")
            s3 = tl.load(of_sums + 3 * H, mask=active, other=0.0, cache_modifier=".cg")
    else:
        s0 = tl.load(biases + j, mask=own, other=0.0)[None, :]
        if GATES > 1:
            s1 = tl.load(biases + H + j, mask=own, other=0.0)[None, :]
            s2 = tl.load(biases + 2 * H + j, mask=own, other=0.0)[None, :]
            s3 = tl.load(biases + 3 * H + j, mask=own, other=0.0)[None, :]

    total = tl.zeros((BM, GATES * BH), tl.float32)
    if IN > 0:
        total = add_layer_product(
            total, x, b, weight, unit, 0, batch, IN, IN + H, H, GATES, 3 if KIND == "gru" else -1,
            BH, BK, STAGES, PRECISION,
        )  # fmt: skip
    total = add_layer_product(
        total, hidden, b, weight, unit, IN, batch, H, IN + H, H, GATES, 2 if KIND == "gru" else -1,
        BH, BK, STAGES, PRECISION,
    )  # fmt: skip

    to = gates + b[:, None] * C + j[None, :]
    if GATES == 1:
        new = elman_forward(total + s0, KIND == "relu")
        o0 = new
    else:
        even, odd = total.reshape(BM, BH, 2, 2).split()
        p0, p2 = even.split()
        p1, p3 = odd.split()
        if KIND == "lstm":
            old = tl.load(cells_before + at, mask=active, other=0.0, cache_modifier=".cg")
            o0, o1, o3, o2, cell = lstm_forward(p0 + s0, p1 + s1, p3 + s3, p2 + s2, old)
            new = o2 * tanh(cell)
            tl.store(cells + at, cell, mask=active)
        else:
            old = tl.load(carry + at, mask=active, other=0.0, cache_modifier=".cg")
            o3 = p3 + s3
            o0, o1, o2, new = gru_forward(p0 + s0, p1 + s1, p2 + s2, o3, old)
    if SAVE:
        kept = gates.dtype.element_ty
        tl.store(to, o0.to(kept), mask=active)
        if GATES > 1:
            tl.store(to + H, o1.to(kept), mask=active)
            tl.store(to + 2 * H, o2.to(kept), mask=active)
            tl.store(to + 3 * H, o3.to(kept), mask=active)
    tl.store(carry + at, new, mask=active)
    tl.store(states + at, new.to(states.dtype.element_ty), mask=active)
    if SHOWN:
        if shows:
            y = new
            if RESIDUAL and not FIRST:
                y += tl.load(x + at, mask=active, other=0.0, cache_modifier=".cg").to(tl.float32)
            if BETWEEN:
                if masked:
                    y *= tl.load(between + at, mask=active, other=0.0).to(tl.float32)
            tl.store(shown + at, y.to(shown.dtype.element_ty), mask=active)
    if SENTINEL:
        if top:
            added = tl.zeros((BM, BH), tl.float32)
            if IN > 0:
                added = multiply(
                    added, x, b, sentinel_weight, j, own, batch, IN, IN, IN + H, 1, BK, STAGES,
                    PRECISION,
                )  # fmt: skip
            added = multiply(
                added, hidden, b, sentinel_weight + IN, j, own, batch, H, H, IN + H, 1, BK, STAGES,
                PRECISION,
            )  # fmt: skip
            if FIRST:
                of_gate = tl.load(sentinel_gates + at, mask=active, other=0.0, cache_modifier=".cg")
                added += of_gate.to(tl.float32)
            else:
                added += tl.load(sentinel_bias + j, mask=own, other=0.0)[None, :]
            opened = sigmoid(added)
            if SAVE:
                to_gates = opened.to(sentinel_gates.dtype.element_ty)
                tl.store(sentinel_gates + at, to_gates, mask=active)
            if KIND == "lstm":
                opened *= tanh(cell)
            else:
                opened *= new
            tl.store(sentinels + at, opened.to(sentinels.dtype.element_ty), mask=active)


@triton.jit
def norm_row(
    b, x, carry, gain, shift, statistics, shown, between, residual, masked,
    H: tl.constexpr, RESIDUAL: tl.constexpr, BETWEEN: tl.constexpr, BROW: tl.constexpr,
):  # fmt: skip
    """Layer normalisation of a row (H,) of ``carry``, the residual and the mask after it;
    ``statistics`` (B, 2) get mean and 1 / deviation."""
    j = tl.arange(0, BROW)
    own = j < H
    h = tl.load(carry + b * H + j, mask=own, other=0.0, cache_modifier=".cg")
    # As the backward pass finds it among the states: of units that are nearly equal, rounding is as
    # large as what tells them apart, and statistics of other numbers would not centre these.
    h = h.to(shown.dtype.element_ty).to(tl.float32)
    mean = tl.sum(h, 0) / H
    centred = tl.where(own, h - mean, 0.0)
    inverse = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / H + 1e-5)
    tl.store(statistics + 2 * b, mean)
    tl.store(statistics + 2 * b + 1, inverse)
    y = centred * inverse * tl.load(gain + j, mask=own, other=0.0)
    y += tl.load(shift + j, mask=own, other=0.0)
    if RESIDUAL:
        if residual:
            y += tl.load(x + b * H + j, mask=own, other=0.0, cache_modifier=".cg").to(tl.float32)
    if BETWEEN:
        if masked:
            y *= tl.load(between + b * H + j, mask=own, other=0.0).to(tl.float32)
    tl.store(shown + b * H + j, y.to(shown.dtype.element_ty), mask=own)


@triton.jit
def query_tile(
    tile, top, weight, queries, batch, H: tl.constexpr, Q: tl.constexpr, BM: tl.constexpr,
    BN: tl.constexpr, BK: tl.constexpr, STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """queries (B, Q) = top (B, H) weight (Q, H)^T"""
    across = tl.cdiv(Q, BN)
    b = (tile // across) * BM + tl.arange(0, BM)
    n = (tile % across) * BN + tl.arange(0, BN)
    total = tl.zeros((BM, BN), tl.float32)
    total = multiply(
        total, top, b, weight, n, n < Q, batch, H, H, H, 1, BK, STAGES, PRECISION
    )  # fmt: skip
    active = (b < batch)[:, None] & (n < Q)[None, :]
    tl.store(queries + b[:, None] * Q + n[None, :], total, mask=active)


@triton.jit
def gate_tile(
    tile, top, weight, bias, betas, batch, H: tl.constexpr, G: tl.constexpr, BM: tl.constexpr,
    BN: tl.constexpr, BK: tl.constexpr, STAGES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """betas (B, G) = sigmoid(top (B, H) weight (G, H)^T + bias (G,))"""
    across = tl.cdiv(G, BN)
    b = (tile // across) * BM + tl.arange(0, BM)
    n = (tile % across) * BN + tl.arange(0, BN)
    total = tl.zeros((BM, BN), tl.float32)
    total = multiply(
        total, top, b, weight, n, n < G, batch, H, H, H, 1, BK, STAGES, PRECISION
    )  # fmt: skip
    total = sigmoid(total + tl.load(bias + n, mask=n < G, other=0.0)[None, :])
    active = (b < batch)[:, None] & (n < G)[None, :]
    tl.store(betas + b[:, None] * G + n[None, :], total, mask=active)


@triton.jit
def output_tile(
    tile, context, top, weight, mask, raw, vectors, fed, batch,
    H: tl.constexpr, D: tl.constexpr, A: tl.constexpr, MASK: tl.constexpr, FED: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, STAGES: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """tanh(weight (A, D + H) [context; top]) -> raw, times its mask -> vectors and, where the next
    step reads another dtype (FED), fed. D 0: no context."""
    across = tl.cdiv(A, BN)
    b = (tile // across) * BM + tl.arange(0, BM)
    n = (tile % across) * BN + tl.arange(0, BN)
    total = tl.zeros((BM, BN), tl.float32)
    if D > 0:
        total = multiply(
            total, context, b, weight, n, n < A, batch, D, D, D + H, 1, BK, STAGES, PRECISION
        )
    total = multiply(
        total, top, b, weight + D, n, n < A, batch, H, H, D + H, 1, BK, STAGES, PRECISION
    )
    active = (b < batch)[:, None] & (n < A)[None, :]
    at = b[:, None] * A + n[None, :]
    y = tanh(total)
    if MASK:
        tl.store(raw + at, y.to(raw.dtype.element_ty), mask=active)
        y *= tl.load(mask + at, mask=active, other=0.0).to(tl.float32)
    tl.store(vectors + at, y.to(vectors.dtype.element_ty), mask=active)
    if FED:
        tl.store(fed + at, y.to(fed.dtype.element_ty), mask=active)


@triton.jit
def after(program, begun, programs):
    """The first tile of a program where ``begun`` tiles of another kind come before, in turn."""
    return (program + programs - begun % programs) % programs
