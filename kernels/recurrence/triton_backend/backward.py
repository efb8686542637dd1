"""Backward through the steps of packed sequences: the mirror of ``forward.py``.

A program owns BB sequences and BH hidden units: it turns the gradient of its units' states at
step t into those of their gate sums, for which the other programs then wait, because the
gradient of its units at step t-1 is a product over the gate sums of all units.

    d_hidden(t-1) = d_sums(t) W_hh + what goes straight + d_outputs(t-1)
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.common.barrier import wait_for_group
from kernels.common.cells import (
    elman_backward,
    gru_backward,
    lstm_backward,
    tanh,
)
from kernels.common.split_product import add_splits, no_sums
from kernels.recurrence.triton_backend.forward import (
    VARYING,
    first_row,
    row_before,
    row_block,
    weight_block,
)
from kernels.recurrence.triton_backend.normal import (
    normal_product_backward,
    shown_cell_backward,
)


@triton.jit
def load_columns(
    weight, unit, GATES: tl.constexpr, BH: tl.constexpr, H: tl.constexpr, KC: tl.constexpr,
    SPLITS: tl.constexpr,
):  # fmt: skip
    """The tile's columns of W_hh (G*H, H), as a tuple of blocks (``weight_block``), gate after
    gate."""
    j = unit + tl.arange(0, BH)
    blocks = ()  # type: tuple
    for gate in tl.static_range(0, GATES):
        for k in tl.static_range(0, H, KC):
            blocks = blocks + (weight_block(weight + gate * H * H, j, j < H, k, H, H, KC, SPLITS),)
    return blocks


@triton.jit(do_not_specialize=[*VARYING, "finish"])
def backward_kernel(
    gates,  # (D, N, G*H) activated
    weight,  # (D, G*H, H)
    states,  # (D, B+N, H)
    cells,  # (D, B+N, H) float32, LSTM
    extra,  # (D, N, H) U h + b of the GRU's candidate
    d_outputs,  # (D, N, H)
    d_hidden,  # (D, B, H) float32: of the final states; of the initial ones afterwards
    d_cell,
    d_sums,  # (D, N, G*H) -> gradients of the recurrent gate sums
    d_candidate,  # (D, N, H) -> and of the GRU's candidate's input sum
    products,  # (D, N, G*H) W_hh h before its normalisation, NORM
    gain,  # (D, G*H) of the recurrent products, NORM
    cell_gain,  # (D, H) LSTM, NORM
    cell_shift,
    d_products,  # (D, N, G*H) -> gradients of products, NORM
    d_cell_gain,  # (D, B, H) float32 -> summed up over the steps, LSTM, NORM
    d_cell_shift,
    starts,
    steps_of,
    hidden_mask,
    resets,
    zone_hidden,
    zone_cell,
    counters,
    status,
    zone_hidden_rate,
    zone_cell_rate,
    first_step,
    last_step,  # exclusive
    steps,  # T
    finish,  # whether the gradient of the initial state is completed in this launch
    batch,
    rows,
    tiles,
    first_program,
    H: tl.constexpr,
    KIND: tl.constexpr,
    SCHEDULE: tl.constexpr,
    RAGGED: tl.constexpr,
    MASKED: tl.constexpr,
    RESETS: tl.constexpr,
    ZONEOUT: tl.constexpr,
    NORM: tl.constexpr,  # layer normalisation; resident only, where a tile has all units
    BB: tl.constexpr,
    BH: tl.constexpr,
    KC: tl.constexpr,
    SPLITS: tl.constexpr,  # parts of K, for the warps
    AHEAD: tl.constexpr,  # blocks of gradients loaded before the first is multiplied, persistent
    PRECISION: tl.constexpr,
    MAX_SPIN: tl.constexpr,
):
    GATES: tl.constexpr = 4 if KIND == "lstm" else (3 if KIND == "gru" else 1)
    P: tl.constexpr = (H + BH - 1) // BH
    BLOCKS: tl.constexpr = (H + KC - 1) // KC  # of the inner side, in a gate
    program = tl.program_id(0) + first_program
    group = program // P
    unit = (program % P) * BH
    d = (group // tiles).to(tl.int64)
    first_sequence = (group % tiles) * BB
    b = first_sequence + tl.arange(0, BB)
    j = unit + tl.arange(0, BH)
    own = j < H
    gates += d * rows * GATES * H
    d_sums += d * rows * GATES * H
    weight += d * GATES * H * H
    states += d * (batch + rows) * H
    cells += d * (batch + rows) * H
    extra += d * rows * H
    d_outputs += d * rows * H
    d_candidate += d * rows * H
    resets += d * rows
    zone_hidden += d * rows * H
    zone_cell += d * rows * H
    products += d * rows * GATES * H
    d_products += d * rows * GATES * H
    gain += d * GATES * H
    product_dtype = d_sums.dtype.element_ty

    longest = steps
    if RAGGED:  # the tile's first sequence is its longest
        longest = tl.load(steps_of + first_sequence)
    here = (b < batch)[:, None] & own[None, :]
    of_tile = (d * batch + b)[:, None] * H + j[None, :]
    if MASKED:
        dropped = tl.load(hidden_mask + of_tile, mask=here, other=0.0).to(tl.float32)
    if SCHEDULE != "step":
        columns = load_columns(weight, unit, GATES, BH, H, KC, SPLITS)
    dh = tl.load(d_hidden + of_tile, mask=here, other=0.0, cache_modifier=".cg")
    dc = dh
    if KIND == "lstm":
        dc = tl.load(d_cell + of_tile, mask=here, other=0.0, cache_modifier=".cg")

    # One round more than steps: round t takes up what step t + 1 sent back, then works step t.
    # The last round, t = -1, completes the gradient of the initial state.
    top = tl.minimum(last_step, longest)
    r0 = tl.zeros((BB, BH), product_dtype)  # gradients of the gate sums, RESIDENT
    r1 = r0
    r2 = r0
    r3 = r0
    for back in range(0, top - first_step + finish):
        t = top - 1 - back
        later = t + 1
        start = first_row(starts, tl.maximum(t, 0), batch, RAGGED)
        size = batch
        if RAGGED:
            size = tl.load(starts + tl.maximum(t, 0) + 1) - start
        if t < first_step:
            size = 0
        active = (b < size)[:, None] & own[None, :]
        packed = (start + b).to(tl.int64)

        # What step t left: loaded before the wait, so that it arrives during it.
        of_gates = gates + packed[:, None] * (GATES * H) + j[None, :]
        of_units = packed[:, None] * H + j[None, :]
        before = (row_before(starts, tl.maximum(t, 0), batch, RAGGED) + b).to(tl.int64)
        of_before = before[:, None] * H + j[None, :]
        g0 = tl.load(of_gates, mask=active, other=0.0).to(tl.float32)
        if GATES > 1:
            g1 = tl.load(of_gates + H, mask=active, other=0.0).to(tl.float32)
            g2 = tl.load(of_gates + 2 * H, mask=active, other=0.0).to(tl.float32)
        if KIND == "lstm":
            g3 = tl.load(of_gates + 3 * H, mask=active, other=0.0).to(tl.float32)
            old = tl.load(cells + of_before, mask=active, other=0.0)
        if KIND == "gru":
            recurrent = tl.load(extra + of_units, mask=active, other=0.0).to(tl.float32)
            old = tl.load(states + of_before, mask=active, other=0.0).to(tl.float32)
        arriving = tl.load(d_outputs + of_units, mask=active, other=0.0).to(tl.float32)
        if ZONEOUT == 2:
            zoned_hidden = tl.load(zone_hidden + of_units, mask=active, other=0).to(tl.float32)
            zoned_cell = tl.load(zone_cell + of_units, mask=active, other=0).to(tl.float32)
        if RESETS:
            alive = 1.0 - tl.load(resets + packed, mask=b < size, other=0).to(tl.float32)

        # The product that step t + 1 sends back.
        # The resident schedule, whose r0 .. r3 begin as zeros, multiplies without asking: behind an
        # if its weights would leave shared memory. But an only product in the loop body makes the
        # prefetch pass of Triton 3.6 fail.
        if ((SCHEDULE == "resident") & (GATES > 1)) | (later < longest):
            at_most = tl.maximum(tl.minimum(later, longest - 1), 0)
            later_start = first_row(starts, at_most, batch, RAGGED)
            later_size = batch
            if RAGGED:
                later_size = tl.load(starts + at_most + 1) - later_start
            if later >= longest:
                later_size = 0
            later_row = (later_start + b).to(tl.int64)
            sent = later_row * (GATES * H)
            product = no_sums(SPLITS, BB, BH)
            if SCHEDULE == "resident":
                product = tl.dot(r0, columns[0], product, input_precision=PRECISION)
                if GATES > 1:
                    product = tl.dot(r1, columns[1], product, input_precision=PRECISION)
                    product = tl.dot(r2, columns[2], product, input_precision=PRECISION)
                if GATES > 3:
                    product = tl.dot(r3, columns[3], product, input_precision=PRECISION)
            elif SCHEDULE == "persistent":
                wait_for_group(counters + group, back * P, status, MAX_SPIN)
                blocks = ()  # type: tuple
                for block in tl.static_range(0, GATES * BLOCKS):
                    if block < AHEAD:
                        blocks = blocks + (
                            row_block(
                                d_sums + block // BLOCKS * H, sent, b < later_size,
                                block % BLOCKS * KC, H, KC, SPLITS,
                            ),
                        )  # fmt: skip
                for block in tl.static_range(0, GATES * BLOCKS):
                    if block + AHEAD < GATES * BLOCKS:
                        blocks = blocks + (
                            row_block(
                                d_sums + (block + AHEAD) // BLOCKS * H, sent, b < later_size,
                                (block + AHEAD) % BLOCKS * KC, H, KC, SPLITS,
                            ),
                        )  # fmt: skip
                    product = tl.dot(
                        blocks[block], columns[block], product, input_precision=PRECISION
                    )
            else:
                for block in range(0, GATES * BLOCKS):
                    gate, k = block // BLOCKS, block % BLOCKS * KC
                    ds = row_block(d_sums + gate * H, sent, b < later_size, k, H, KC, SPLITS)
                    w = weight_block(weight + gate * H * H, j, own, k, H, H, KC, SPLITS)
                    product = tl.dot(ds, w, product, input_precision=PRECISION)
            product = add_splits(product, SPLITS, BB, BH)
            if MASKED:
                product *= dropped
            if RESETS:
                cut = tl.load(resets + later_row, mask=b < later_size, other=0)
                product *= (1.0 - cut.to(tl.float32))[:, None]
            dh += tl.where((b < later_size)[:, None], product, 0.0)

        # The cell.
        if t >= first_step:
            d_new = dh + arriving
            straight = tl.zeros((BB, BH), tl.float32)  # to the hidden state before
            straight_cell = straight
            d_new_cell = dc
            if ZONEOUT == 1:
                straight = d_new * zone_hidden_rate
                straight_cell = dc * zone_cell_rate
            if ZONEOUT == 2:
                straight = d_new * zoned_hidden
                straight_cell = dc * zoned_cell
            if ZONEOUT > 0:
                d_new -= straight
                d_new_cell -= straight_cell
            if KIND == "lstm":
                if RESETS:
                    old *= alive[:, None]
                made = g1 * old + g0 * g2
                if NORM:
                    shown, d_made = shown_cell_backward(
                        made, g3, d_new, cell_gain + d * H + j, cell_shift + d * H + j,
                        d_cell_gain + of_tile, d_cell_shift + of_tile, active, own, H,
                    )  # fmt: skip
                else:
                    shown = tanh(made)
                    d_made = d_new * g3 * (1.0 - shown * shown)
                s0, s1, s2, s3, d_old = lstm_backward(
                    g0, g1, g2, g3, old, shown, d_new, d_new_cell + d_made
                )
                straight_cell += d_old
                if RESETS:
                    straight_cell *= alive[:, None]
                dc = tl.where(active, straight_cell, dc)
            elif KIND == "gru":
                if RESETS:
                    old *= alive[:, None]
                s0, s1, s2, d_n, d_old = gru_backward(g0, g1, g2, recurrent, old, d_new)
                straight += d_old
                tl.store(d_candidate + of_units, d_n.to(product_dtype), mask=active)
            else:
                s0 = elman_backward(g0, d_new, KIND == "relu")
            if RESETS:
                straight *= alive[:, None]
            dh = tl.where(active, straight, dh)
            to = d_sums + packed[:, None] * (GATES * H) + j[None, :]
            if NORM:  # the sums' gradients are kept; on go those of the products before
                raw = products + packed[:, None] * (GATES * H) + j[None, :]
                tl.store(to, s0.to(product_dtype), mask=active)
                s0 = normal_product_backward(s0, raw, gain + j, active, own, H)
                if GATES > 1:
                    tl.store(to + H, s1.to(product_dtype), mask=active)
                    tl.store(to + 2 * H, s2.to(product_dtype), mask=active)
                    s1 = normal_product_backward(s1, raw + H, gain + H + j, active, own, H)
                    s2 = normal_product_backward(s2, raw + 2 * H, gain + 2 * H + j, active, own, H)
                if GATES > 3:
                    tl.store(to + 3 * H, s3.to(product_dtype), mask=active)
                    s3 = normal_product_backward(s3, raw + 3 * H, gain + 3 * H + j, active, own, H)
                to = d_products + packed[:, None] * (GATES * H) + j[None, :]
            r0 = s0.to(product_dtype)
            tl.store(to, r0, mask=active)
            if GATES > 1:
                r1 = s1.to(product_dtype)
                r2 = s2.to(product_dtype)
                tl.store(to + H, r1, mask=active)
                tl.store(to + 2 * H, r2, mask=active)
            if GATES > 3:
                r3 = s3.to(product_dtype)
                tl.store(to + 3 * H, r3, mask=active)

    tl.store(d_hidden + of_tile, dh, mask=here)
    if KIND == "lstm":
        tl.store(d_cell + of_tile, dc, mask=here)
