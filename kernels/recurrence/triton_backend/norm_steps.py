"""The step schedule of layer normalisation: per step one product W_hh h by torch (cuBLAS), of both
directions at once, and one kernel for the rest, whose programs hold whole sequences' units.

Normalising reduces over all hidden units between the product and the cell, and the LSTM once more
before its output: in the persistent schedule that would be two or three barriers a step.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.common.cells import (
    elman_backward,
    elman_forward,
    gru_backward,
    gru_forward,
    lstm_backward,
    lstm_forward,
    tanh,
)
from kernels.recurrence.triton_backend.normal import (
    normal_product,
    normal_product_backward,
    normalise,
    shown_cell_backward,
    unit_gain,
)

VARYING = [
    "zone_hidden_rate",
    "zone_cell_rate",
    "start",
    "before",
    "product_start",
    "size",
    "next_size",
    "later_size",
    "batch",
    "rows",
    "product_rows",
    "tiles",
    "work",
]


@triton.jit
def normalised_product(
    products, place, gain, gate: tl.constexpr, active, own, j, GATES: tl.constexpr, H: tl.constexpr
):
    """n(W_hh h) * gain of one gate."""
    product = tl.load(
        products + place[:, None] * (GATES * H) + gate * H + j[None, :], mask=active, other=0.0
    ).to(tl.float32)
    return normal_product(product, products, gain + gate * H + j, active, own, H, False)


@triton.jit(do_not_specialize=VARYING)
def norm_forward_kernel(
    sums,  # (D, N, G*H) input sums; activated gates afterwards
    products,  # (D, R, G*H) W_hh h
    gain,  # (D, G*H)
    cell_gain,  # (D, H) LSTM
    cell_shift,
    candidate_bias,  # (D, H) b_hh of the GRU's candidate, float32
    states,  # (D, B+N, H)
    seen,  # (D, B+N, H) what the product reads; ``states`` where that is the same
    cells,  # (D, B+N, H) float32, LSTM
    extra,  # (D, N, H) the candidate's recurrent sum, GRU
    hidden_mask,  # (D, B, H) MASKED
    resets,  # (D, N) uint8, RESETS
    zone_hidden,  # (D, N, H) uint8, ZONEOUT 2
    zone_cell,
    zone_hidden_rate,  # ZONEOUT 1: the expectation
    zone_cell_rate,
    start,  # where the step begins in the N rows
    before,  # where the states before it begin in the B + N rows
    product_start,  # where its products begin in their R rows
    size,  # sequences at this step
    next_size,  # and at the next
    batch,
    rows,  # N
    product_rows,  # R
    tiles,
    H: tl.constexpr,
    KIND: tl.constexpr,
    MASKED: tl.constexpr,
    RESETS: tl.constexpr,
    ZONEOUT: tl.constexpr,
    SEEN: tl.constexpr,
    SAVE: tl.constexpr,
    BB: tl.constexpr,
    BH: tl.constexpr,  # at least H
):
    GATES: tl.constexpr = 4 if KIND == "lstm" else (3 if KIND == "gru" else 1)
    d = (tl.program_id(0) // tiles).to(tl.int64)
    b = (tl.program_id(0) % tiles) * BB + tl.arange(0, BB)
    j = tl.arange(0, BH)
    own = j < H
    active = (b < size)[:, None] & own[None, :]
    packed = d * rows + start + b
    x = sums + packed[:, None] * (GATES * H) + j[None, :]
    place = d * product_rows + product_start + b
    gain += d * GATES * H
    of_before = (d * (batch + rows) + before + b)[:, None] * H + j[None, :]
    of_units = packed[:, None] * H + j[None, :]

    hidden = tl.load(states + of_before, mask=active, other=0.0).to(tl.float32)
    cell = hidden
    if KIND == "lstm":
        cell = tl.load(cells + of_before, mask=active, other=0.0)
    if RESETS:
        alive = 1.0 - tl.load(resets + packed, mask=b < size, other=0).to(tl.float32)
        hidden *= alive[:, None]
        cell *= alive[:, None]
    old_cell = cell
    x0 = tl.load(x, mask=active, other=0.0).to(tl.float32)
    x0 += normalised_product(products, place, gain, 0, active, own, j, GATES, H)
    if GATES == 1:
        new = elman_forward(x0, KIND == "relu")
        if SAVE:
            tl.store(x, new.to(sums.dtype.element_ty), mask=active)
    else:
        x1 = tl.load(x + H, mask=active, other=0.0).to(tl.float32)
        x1 += normalised_product(products, place, gain, 1, active, own, j, GATES, H)
        x2 = tl.load(x + 2 * H, mask=active, other=0.0).to(tl.float32)
        recurrent = normalised_product(products, place, gain, 2, active, own, j, GATES, H)
        if KIND == "gru":
            recurrent += unit_gain(candidate_bias + d * H + j, own)
            o0, o1, o2, new = gru_forward(x0, x1, x2, recurrent, hidden)
            if SAVE:
                tl.store(extra + of_units, recurrent.to(extra.dtype.element_ty), mask=active)
        else:
            x3 = tl.load(x + 3 * H, mask=active, other=0.0).to(tl.float32)
            x3 += normalised_product(products, place, gain, 3, active, own, j, GATES, H)
            o0, o1, o2, o3, cell = lstm_forward(x0, x1, x2 + recurrent, x3, cell)
            normal, _ = normalise(cell, own, H)
            shown_cell = normal * unit_gain(cell_gain + d * H + j, own)
            new = o3 * tanh(shown_cell + unit_gain(cell_shift + d * H + j, own))
            if SAVE:
                tl.store(x + 3 * H, o3.to(sums.dtype.element_ty), mask=active)
        if SAVE:
            tl.store(x, o0.to(sums.dtype.element_ty), mask=active)
            tl.store(x + H, o1.to(sums.dtype.element_ty), mask=active)
            tl.store(x + 2 * H, o2.to(sums.dtype.element_ty), mask=active)
    if ZONEOUT == 1:
        new = zone_hidden_rate * hidden + (1.0 - zone_hidden_rate) * new
        cell = zone_cell_rate * old_cell + (1.0 - zone_cell_rate) * cell
    if ZONEOUT == 2:
        new = tl.where(tl.load(zone_hidden + of_units, mask=active, other=0) != 0, hidden, new)
        if KIND == "lstm":
            kept = tl.load(zone_cell + of_units, mask=active, other=0) != 0
            cell = tl.where(kept, old_cell, cell)

    to = (d * (batch + rows) + batch + start + b)[:, None] * H + j[None, :]
    tl.store(states + to, new.to(states.dtype.element_ty), mask=active)
    if KIND == "lstm":
        tl.store(cells + to, cell, mask=active)
    if SEEN:
        if MASKED:
            dropped = hidden_mask + (d * batch + b)[:, None] * H + j[None, :]
            new *= tl.load(dropped, mask=active, other=0.0)
        if RESETS:
            cut = tl.load(resets + packed + size, mask=b < next_size, other=0)
            new *= (1.0 - cut.to(tl.float32))[:, None]
        tl.store(seen + to, new.to(seen.dtype.element_ty), mask=active)


@triton.jit(do_not_specialize=VARYING)
def norm_backward_kernel(
    gates,  # (D, N, G*H) activated
    products,  # (D, N, G*H) W_hh h
    gain,  # (D, G*H)
    cell_gain,  # (D, H) LSTM
    cell_shift,
    states,  # (D, B+N, H)
    cells,  # (D, B+N, H) float32, LSTM
    extra,  # (D, N, H) GRU
    d_outputs,  # (D, N, H)
    sent,  # (D, B, H) what the next step's product sends back
    d_hidden,  # (D, B, H) float32, running
    d_cell,
    d_sums,  # (D, N, G*H) -> gradients of the recurrent sums, normalised
    d_products,  # (D, N, G*H) -> and of the products
    d_candidate,  # (D, N, H) -> and of the GRU's candidate's input sum
    d_cell_gain,  # (D, B, H) float32 -> summed up over the steps, LSTM
    d_cell_shift,
    hidden_mask,
    resets,
    zone_hidden,
    zone_cell,
    zone_hidden_rate,
    zone_cell_rate,
    start,
    before,
    size,
    later_size,  # sequences at the next step, whose rows begin at start + size
    work,  # 0: only take up what was sent, for the initial state; then size is 0
    batch,
    rows,
    tiles,
    H: tl.constexpr,
    KIND: tl.constexpr,
    MASKED: tl.constexpr,
    RESETS: tl.constexpr,
    ZONEOUT: tl.constexpr,
    BB: tl.constexpr,
    BH: tl.constexpr,
):
    GATES: tl.constexpr = 4 if KIND == "lstm" else (3 if KIND == "gru" else 1)
    product_dtype = d_sums.dtype.element_ty
    d = (tl.program_id(0) // tiles).to(tl.int64)
    b = (tl.program_id(0) % tiles) * BB + tl.arange(0, BB)
    j = tl.arange(0, BH)
    own = j < H
    of_tile = (d * batch + b)[:, None] * H + j[None, :]
    packed = d * rows + start + b

    # What step t + 1 sends back.
    later = (b < later_size)[:, None] & own[None, :]
    arrived = tl.load(sent + of_tile, mask=later, other=0.0).to(tl.float32)
    if MASKED:
        arrived *= tl.load(hidden_mask + of_tile, mask=later, other=0.0)
    if RESETS:
        cut = tl.load(resets + packed + size, mask=b < later_size, other=0)
        arrived *= (1.0 - cut.to(tl.float32))[:, None]
    here = (b < batch)[:, None] & own[None, :]
    d_new = tl.load(d_hidden + of_tile, mask=here, other=0.0) + arrived

    if work == 0:
        tl.store(d_hidden + of_tile, d_new, mask=here)
    else:
        active = (b < size)[:, None] & own[None, :]
        of_gates = packed[:, None] * (GATES * H) + j[None, :]
        of_units = packed[:, None] * H + j[None, :]
        of_before = (d * (batch + rows) + before + b)[:, None] * H + j[None, :]
        gain += d * GATES * H
        d_new += tl.load(d_outputs + of_units, mask=active, other=0.0).to(tl.float32)
        straight = tl.zeros((BB, BH), tl.float32)  # to the hidden state before
        if ZONEOUT == 1:
            straight = d_new * zone_hidden_rate
        if ZONEOUT == 2:
            straight = d_new * tl.load(zone_hidden + of_units, mask=active, other=0).to(tl.float32)
        d_new -= straight
        if RESETS:
            alive = 1.0 - tl.load(resets + packed, mask=b < size, other=0).to(tl.float32)
        g0 = tl.load(gates + of_gates, mask=active, other=0.0).to(tl.float32)
        if GATES > 1:
            g1 = tl.load(gates + of_gates + H, mask=active, other=0.0).to(tl.float32)
            g2 = tl.load(gates + of_gates + 2 * H, mask=active, other=0.0).to(tl.float32)
        if KIND == "lstm":
            g3 = tl.load(gates + of_gates + 3 * H, mask=active, other=0.0).to(tl.float32)
            old = tl.load(cells + of_before, mask=active, other=0.0)
            if RESETS:
                old *= alive[:, None]
            dc = tl.load(d_cell + of_tile, mask=active, other=0.0)
            straight_cell = tl.zeros((BB, BH), tl.float32)
            if ZONEOUT == 1:
                straight_cell = dc * zone_cell_rate
            if ZONEOUT == 2:
                kept = tl.load(zone_cell + of_units, mask=active, other=0)
                straight_cell = dc * kept.to(tl.float32)
            dc -= straight_cell
            shown, d_made = shown_cell_backward(
                g1 * old + g0 * g2, g3, d_new, cell_gain + d * H + j, cell_shift + d * H + j,
                d_cell_gain + of_tile, d_cell_shift + of_tile, active, own, H,
            )  # fmt: skip
            s0, s1, s2, s3, d_old = lstm_backward(g0, g1, g2, g3, old, shown, d_new, dc + d_made)
            straight_cell += d_old
            if RESETS:
                straight_cell *= alive[:, None]
            tl.store(d_cell + of_tile, straight_cell, mask=active)
        elif KIND == "gru":
            recurrent = tl.load(extra + of_units, mask=active, other=0.0).to(tl.float32)
            old = tl.load(states + of_before, mask=active, other=0.0).to(tl.float32)
            if RESETS:
                old *= alive[:, None]
            s0, s1, s2, d_n, d_old = gru_backward(g0, g1, g2, recurrent, old, d_new)
            straight += d_old
            tl.store(d_candidate + of_units, d_n.to(product_dtype), mask=active)
        else:
            s0 = elman_backward(g0, d_new, KIND == "relu")
        if RESETS:
            straight *= alive[:, None]
        tl.store(d_hidden + of_tile, straight, mask=active)

        raw, to, past = products + of_gates, d_sums + of_gates, d_products + of_gates
        tl.store(to, s0.to(product_dtype), mask=active)
        s0 = normal_product_backward(s0, raw, gain + j, active, own, H)
        tl.store(past, s0.to(product_dtype), mask=active)
        if GATES > 1:
            tl.store(to + H, s1.to(product_dtype), mask=active)
            s1 = normal_product_backward(s1, raw + H, gain + H + j, active, own, H)
            tl.store(past + H, s1.to(product_dtype), mask=active)
            tl.store(to + 2 * H, s2.to(product_dtype), mask=active)
            s2 = normal_product_backward(s2, raw + 2 * H, gain + 2 * H + j, active, own, H)
            tl.store(past + 2 * H, s2.to(product_dtype), mask=active)
        if GATES > 3:
            tl.store(to + 3 * H, s3.to(product_dtype), mask=active)
            s3 = normal_product_backward(s3, raw + 3 * H, gain + 3 * H + j, active, own, H)
            tl.store(past + 3 * H, s3.to(product_dtype), mask=active)
