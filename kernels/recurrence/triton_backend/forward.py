"""Forward over the steps of packed sequences: one kernel for the three schedules.

A program holds BB sequences and BH hidden units of one direction; P programs, which together
hold all units, form a group. Per step:

    step        one launch a step; weights are read again each time
    resident    P = 1: weights and state stay in the program for the whole sequence
    persistent  weights stay, the hidden state goes through L2, a barrier per step in each group

Rows are those of ``kernels.recurrence.packing``: step t concerns sequences 0 .. sizes[t]-1, in rows
starts[t] .. of (N, ...) buffers; the state before step t lies in rows before(t) of (B+N, ...) ones.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.common.barrier import wait_for_group
from kernels.common.cells import (
    elman_forward,
    gru_forward,
    lstm_forward,
    tanh,
)
from kernels.common.split_product import add_splits, no_sums, split_inner
from kernels.recurrence.triton_backend.normal import normal_product, normalise, unit_gain


@triton.jit
def first_row(starts, t, batch, RAGGED: tl.constexpr):
    """Where step t begins in the packed rows."""
    if RAGGED:
        return tl.load(starts + t)
    else:
        return t * batch


@triton.jit
def row_before(starts, t, batch, RAGGED: tl.constexpr):
    """Where the states before step t begin in the B + N rows of states."""
    if t == 0:
        row = 0
    else:
        row = batch + first_row(starts, t - 1, batch, RAGGED)
    return row


@triton.jit
def gate_columns(unit, GATES: tl.constexpr, SLOTS: tl.constexpr, BH: tl.constexpr, H: tl.constexpr):
    """The rows of W_hh behind the columns of a tile's product: SLOTS columns for each unit, one per
    gate (four for the GRU, whose last stays empty) -> rows (SLOTS*BH,), which of them exist."""
    column = tl.arange(0, SLOTS * BH)
    gate = column % SLOTS
    own = unit + column // SLOTS
    return gate * H + own, (gate < GATES) & (own < H)


@triton.jit
def load_weights(
    weight, unit, GATES: tl.constexpr, SLOTS: tl.constexpr, BH: tl.constexpr, H: tl.constexpr,
    KC: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """W_hh transposed for the units of a tile, as a tuple of blocks (``weight_block``)."""
    rows, there = gate_columns(unit, GATES, SLOTS, BH, H)
    blocks = ()  # type: tuple
    for k in tl.static_range(0, H, KC):
        blocks = blocks + (weight_block(weight, rows * H, there, k, 1, H, KC, SPLITS),)
    return blocks


@triton.jit
def weight_block(
    weight, column, there, k, BY_INNER: tl.constexpr, H: tl.constexpr, KC: tl.constexpr,
    SPLITS: tl.constexpr,
):  # fmt: skip
    """KC numbers of H from ``k`` on, BY_INNER apart, of each column, which begins at ``column``
    (N,) -> (KC, N), or (SPLITS, KC/SPLITS, N) if K is split."""
    if SPLITS == 1:
        inner = k + tl.arange(0, KC)
        return tl.load(
            weight + column[None, :] + inner[:, None] * BY_INNER,
            mask=there[None, :] & (inner[:, None] < H),
            other=0.0,
        )
    else:
        parts = split_inner(k, KC, SPLITS)
        return tl.load(
            weight + column[None, None, :] + parts[:, :, None] * BY_INNER,
            mask=there[None, None, :] & (parts[:, :, None] < H),
            other=0.0,
        )


@triton.jit
def row_block(rows, row, there, k, H: tl.constexpr, KC: tl.constexpr, SPLITS: tl.constexpr):
    """KC numbers of H from ``k`` on, of each row, which begins at ``row`` (BB,) -> (BB, KC), or
    (SPLITS, BB, KC/SPLITS). Other programs wrote them: they are read past L1."""
    if SPLITS == 1:
        inner = k + tl.arange(0, KC)
        return tl.load(
            rows + row[:, None] + inner[None, :],
            mask=there[:, None] & (inner[None, :] < H),
            other=0.0,
            cache_modifier=".cg",
        )
    else:
        parts = split_inner(k, KC, SPLITS)
        return tl.load(
            rows + row[None, :, None] + parts[:, None, :],
            mask=there[None, :, None] & (parts[:, None, :] < H),
            other=0.0,
            cache_modifier=".cg",
        )


# Numbers that change from call to call: specialising on them (divisible by 16, equal to 1) would
# compile again for another batch or length.
VARYING = [
    "zone_hidden_rate",
    "zone_cell_rate",
    "first_step",
    "last_step",
    "steps",
    "batch",
    "rows",
    "tiles",
    "first_program",
]


@triton.jit(do_not_specialize=VARYING)
def forward_kernel(
    sums,  # (D, N, G*H) input sums; activated gates afterwards
    weight,  # (D, G*H, H)
    candidate_bias,  # (D, H) b_hh of the GRU's candidate, float32
    states,  # (D, B+N, H)
    seen,  # (D, B+N, H) what the recurrent product reads; ``states`` where that is the same
    cells,  # (D, B+N, H) float32, LSTM
    extra,  # (D, N, H) U h + b of the GRU's candidate
    starts,  # (T+1,) first packed row of each step, RAGGED
    steps_of,  # (B,) falling lengths, RAGGED
    hidden_mask,  # (D, B, H) MASKED
    resets,  # (D, N) uint8, RESETS
    zone_hidden,  # (D, N, H) uint8, ZONEOUT 2
    zone_cell,
    products,  # (D, N, G*H) W_hh h before its normalisation, NORM and SAVE
    gain,  # (D, G*H) of the recurrent products, NORM
    cell_gain,  # (D, H) LSTM, NORM
    cell_shift,
    counters,  # (groups,) int32, zero
    status,  # (1,) int32
    zone_hidden_rate,  # ZONEOUT 1: the expectation
    zone_cell_rate,
    first_step,
    last_step,  # exclusive
    steps,  # T
    batch,
    rows,  # N
    tiles,  # batch tiles in a direction
    first_program,
    H: tl.constexpr,
    KIND: tl.constexpr,  # "lstm" | "gru" | "tanh" | "relu"
    SCHEDULE: tl.constexpr,
    RAGGED: tl.constexpr,
    MASKED: tl.constexpr,
    RESETS: tl.constexpr,
    ZONEOUT: tl.constexpr,  # 0 none, 1 the expectation, 2 masks
    SEEN: tl.constexpr,  # ``seen`` is a buffer of its own
    SAVE: tl.constexpr,  # gates are kept for the backward pass
    NORM: tl.constexpr,  # layer normalisation; resident only, where a tile has all units
    BB: tl.constexpr,
    BH: tl.constexpr,
    KC: tl.constexpr,
    SPLITS: tl.constexpr,  # parts of K, for the warps
    AHEAD: tl.constexpr,  # blocks of states loaded before the first is multiplied, persistent
    PRECISION: tl.constexpr,
    MAX_SPIN: tl.constexpr,
):
    GATES: tl.constexpr = 4 if KIND == "lstm" else (3 if KIND == "gru" else 1)
    SLOTS: tl.constexpr = 1 if GATES == 1 else 4
    P: tl.constexpr = (H + BH - 1) // BH
    program = tl.program_id(0) + first_program
    group = program // P
    unit = (program % P) * BH
    d = (group // tiles).to(tl.int64)
    first_sequence = (group % tiles) * BB
    b = first_sequence + tl.arange(0, BB)
    j = unit + tl.arange(0, BH)
    own = j < H
    sums += d * rows * GATES * H
    weight += d * GATES * H * H
    states += d * (batch + rows) * H
    seen += d * (batch + rows) * H
    cells += d * (batch + rows) * H
    extra += d * rows * H
    resets += d * rows
    zone_hidden += d * rows * H
    zone_cell += d * rows * H
    products += d * rows * GATES * H
    gain += d * GATES * H
    product_dtype = weight.dtype.element_ty

    longest = steps
    if RAGGED:  # the tile's first sequence is its longest
        longest = tl.load(steps_of + first_sequence)
    here = (b < batch)[:, None] & own[None, :]
    if MASKED:
        dropped = tl.load(
            hidden_mask + (d * batch + b)[:, None] * H + j[None, :], mask=here, other=0.0
        ).to(tl.float32)
    if KIND == "gru":
        bias = tl.load(candidate_bias + d * H + j, mask=own, other=0.0)
    if SCHEDULE != "step":
        weights = load_weights(weight, unit, GATES, SLOTS, BH, H, KC, SPLITS)

    row = row_before(starts, first_step, batch, RAGGED) + b
    at = row.to(tl.int64)[:, None] * H + j[None, :]
    hidden = tl.load(states + at, mask=here, other=0.0, cache_modifier=".cg").to(tl.float32)
    cell = hidden
    if KIND == "lstm":
        cell = tl.load(cells + at, mask=here, other=0.0, cache_modifier=".cg")
    if SCHEDULE == "resident":
        operand = tl.load(seen + at, mask=here, other=0.0)

    for t in range(first_step, tl.minimum(last_step, longest)):
        start = first_row(starts, t, batch, RAGGED)
        size = batch
        if RAGGED:
            size = tl.load(starts + t + 1) - start
        now = (b < size)[:, None]
        active = now & own[None, :]
        packed = (start + b).to(tl.int64)
        x = sums + packed[:, None] * (GATES * H) + j[None, :]
        x0 = tl.load(x, mask=active, other=0.0, cache_modifier=".cg").to(tl.float32)
        if GATES > 1:
            x1 = tl.load(x + H, mask=active, other=0.0, cache_modifier=".cg").to(tl.float32)
            x2 = tl.load(x + 2 * H, mask=active, other=0.0, cache_modifier=".cg").to(tl.float32)
        if GATES > 3:
            x3 = tl.load(x + 3 * H, mask=active, other=0.0, cache_modifier=".cg").to(tl.float32)
        if RESETS:
            alive = 1.0 - tl.load(resets + packed, mask=b < size, other=0).to(tl.float32)
            hidden *= alive[:, None]
            if KIND == "lstm":
                cell *= alive[:, None]

        # The recurrent product.
        product = no_sums(SPLITS, BB, SLOTS * BH)
        if SCHEDULE == "resident":
            product = tl.dot(operand, weights[0], product, input_precision=PRECISION)
        else:
            if SCHEDULE == "persistent":
                if t > first_step:
                    wait_for_group(counters + group, (t - first_step) * P, status, MAX_SPIN)
            from_row = (row_before(starts, t, batch, RAGGED) + b).to(tl.int64) * H
            if SCHEDULE == "persistent":
                blocks = ()  # type: tuple
                for k in tl.static_range(0, H, KC):
                    if k < AHEAD * KC:
                        blocks = blocks + (row_block(seen, from_row, b < size, k, H, KC, SPLITS),)
                for k in tl.static_range(0, H, KC):
                    if k + AHEAD * KC < H:
                        blocks = blocks + (
                            row_block(seen, from_row, b < size, k + AHEAD * KC, H, KC, SPLITS),
                        )
                    product = tl.dot(
                        blocks[k // KC], weights[k // KC], product, input_precision=PRECISION
                    )
            else:
                columns, there = gate_columns(unit, GATES, SLOTS, BH, H)
                for k in range(0, H, KC):
                    h = row_block(seen, from_row, b < size, k, H, KC, SPLITS)
                    w = weight_block(weight, columns * H, there, k, 1, H, KC, SPLITS)
                    product = tl.dot(h, w, product, input_precision=PRECISION)
        product = add_splits(product, SPLITS, BB, SLOTS * BH)

        # The cell.
        old_cell = cell
        raw = products + packed[:, None] * (GATES * H) + j[None, :]
        if GATES == 1:
            if NORM:
                product = normal_product(product, raw, gain + j, active, own, H, SAVE)
            new = elman_forward(x0 + product, KIND == "relu")
            if SAVE:
                tl.store(x, new.to(sums.dtype.element_ty), mask=active)
        else:
            even, odd = product.reshape(BB, BH, 2, 2).split()
            p0, p2 = even.split()
            p1, p3 = odd.split()
            if NORM:
                p0 = normal_product(p0, raw, gain + j, active, own, H, SAVE)
                p1 = normal_product(p1, raw + H, gain + H + j, active, own, H, SAVE)
                p2 = normal_product(p2, raw + 2 * H, gain + 2 * H + j, active, own, H, SAVE)
                if GATES > 3:
                    p3 = normal_product(p3, raw + 3 * H, gain + 3 * H + j, active, own, H, SAVE)
            if KIND == "gru":
                recurrent = p2 + bias[None, :]
                o0, o1, o2, new = gru_forward(x0 + p0, x1 + p1, x2, recurrent, hidden)
                if SAVE:
                    tl.store(
                        extra + packed[:, None] * H + j[None, :],
                        recurrent.to(extra.dtype.element_ty),
                        mask=active,
                    )
            else:
                o0, o1, o2, o3, cell = lstm_forward(x0 + p0, x1 + p1, x2 + p2, x3 + p3, cell)
                shown_cell = cell
                if NORM:
                    normal, _ = normalise(cell, own, H)
                    shown_cell = normal * unit_gain(cell_gain + d * H + j, own)
                    shown_cell += unit_gain(cell_shift + d * H + j, own)
                new = o3 * tanh(shown_cell)
                if SAVE:
                    tl.store(x + 3 * H, o3.to(sums.dtype.element_ty), mask=active)
            if SAVE:
                tl.store(x, o0.to(sums.dtype.element_ty), mask=active)
                tl.store(x + H, o1.to(sums.dtype.element_ty), mask=active)
                tl.store(x + 2 * H, o2.to(sums.dtype.element_ty), mask=active)
        if ZONEOUT == 1:
            new = zone_hidden_rate * hidden + (1.0 - zone_hidden_rate) * new
            if KIND == "lstm":
                cell = zone_cell_rate * old_cell + (1.0 - zone_cell_rate) * cell
        if ZONEOUT == 2:
            zoned = packed[:, None] * H + j[None, :]
            new = tl.where(tl.load(zone_hidden + zoned, mask=active, other=0) != 0, hidden, new)
            if KIND == "lstm":
                kept = tl.load(zone_cell + zoned, mask=active, other=0) != 0
                cell = tl.where(kept, old_cell, cell)
        hidden = new

        # What the next step needs.
        to = (batch + packed)[:, None] * H + j[None, :]
        tl.store(states + to, hidden.to(states.dtype.element_ty), mask=active)
        if KIND == "lstm":
            tl.store(cells + to, cell, mask=active)
        shown = hidden
        if MASKED:
            shown *= dropped
        if RESETS:
            if t + 1 < longest:
                next_start = first_row(starts, t + 1, batch, RAGGED)
                next_size = batch
                if RAGGED:
                    next_size = tl.load(starts + t + 2) - next_start
                cut = tl.load(resets + next_start + b, mask=b < next_size, other=0)
                shown *= (1.0 - cut.to(tl.float32))[:, None]
        if SEEN:
            tl.store(seen + to, shown.to(product_dtype), mask=active)
        if SCHEDULE == "resident":
            operand = shown.to(product_dtype)
