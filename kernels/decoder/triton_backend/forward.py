"""Forward through the decoder's steps: each phase of a step once, for both schedules.

    layer    sums of the gates as one product over [input; hidden], and the cell; above the top
             layer's cell the sentinel, whose gate is one more product over the same rows
    norm     layer normalisation of a layer's output          (a program takes a whole row)
    query    W_q h, the context gate, the sentinel's key: tiles of up to three products
    attend   scores, softmax, context                          (a program takes a whole row)
    output   tanh(W_o [context; h]) times its mask

A phase reads what all programs of the phase before have written. Schedule "step" launches each
phase of each step by itself; "persistent" launches once, its programs share the tiles of a
phase and wait for each other between phases.

Buffers are time-major. C gate columns of a layer, G gates of a unit: LSTM i f o g, GRU r z n_x n_h
(the candidate's input and hidden part apart), Elman a; weights are (C, I + H) on [input; hidden].
"""

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
from kernels.decoder.triton_backend.attend import attend_row
from kernels.decoder.triton_backend.products import multiply, next_phase

# Numbers that change from call to call: specialising on them would compile again.
VARYING = [
    "scale",
    "first_step",
    "last_step",
    "first_layer",
    "last_layer",
    "layers",
    "steps",
    "batch",
    "sources",
    "shown_rows",
    "between_rows",
    "output_mask_rows",
    "programs",
    "first_program",
]


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


@triton.jit(do_not_specialize=VARYING)
def forward_kernel(
    biases,  # (L-1, C) float32
    weight_first,  # (C, IN + H), IN = A with FEED, else 0
    weight_deep,  # (L-1, C, 2H)
    gates,  # (L, T, B, C): [0] the embedding's share and biases -> activated, SAVE
    states,  # (L, T+1, B, H), [:, 0] initial
    carry,  # (L, B, H) float32: initial hidden states -> final ones
    cells,  # (L, T+1, B, H) float32, LSTM; [:, 0] initial
    shown,  # (L, T, B, H), SHOWN: outputs of the layers; else states[:, 1:] itself
    gain,  # (L, H) float32, NORM
    shift,
    statistics,  # (L, T, B, 2) float32, NORM
    between,  # (L-1, T or 1, B, H), BETWEEN
    sentinel_weight,  # (H, IN' + H) on the top layer's [input; hidden], SENTINEL
    sentinel_bias,  # (H,) float32, of a deep one
    sentinel_gates,  # (T, B, H): of one layer the embedding's share and bias -> opened, SAVE
    sentinels,  # (T, B, H)
    sentinel_key,  # (Q, H)
    sentinel_keys,  # (T, B, Q) float32
    sentinel_alpha,  # (T, B) float32, SAVE
    gate_weight,  # (G, H), G > 0
    gate_bias,  # (G,) float32
    betas,  # (T, B, G) float32
    ungated,  # (T, B, D), SAVE: contexts before the gate
    query_weight,  # (Q, H), QUERY
    queries,  # (T, B, Q) float32, QUERY
    keys,  # (B, S, Q)
    values,  # (B, S, D)
    score,  # (Q,), additive scores
    lengths,  # (B,) int32, RAGGED
    alpha,  # (T, B, S) float32
    contexts,  # (T, B, D)
    output_weight,  # (A, D + H)
    output_mask,  # (T or 1, B, A), MASK
    raw,  # (T, B, A), MASK
    vectors,  # (T, B, A)
    fed,  # (T+1, B, A), FEED: what the steps are fed; [1:] is ``vectors`` unless APART
    counter,  # (1,) int32, zero
    status,  # (1,) int32
    scale,
    first_step,
    last_step,  # exclusive
    first_layer,
    last_layer,  # exclusive
    layers,  # L
    steps,  # T
    batch,
    sources,  # S
    shown_rows,  # rows of a layer in ``shown``
    between_rows,  # rows from one step's mask to the next: B or 0
    output_mask_rows,
    programs,
    first_program,
    PHASE: tl.constexpr,  # "all", or the only one
    KIND: tl.constexpr,
    H: tl.constexpr,
    A: tl.constexpr,
    D: tl.constexpr,  # 0: no attention
    Q: tl.constexpr,
    FEED: tl.constexpr,
    ADDITIVE: tl.constexpr,
    QUERY: tl.constexpr,
    G: tl.constexpr,  # columns of the context gate; 0: none
    SENTINEL: tl.constexpr,
    NORM: tl.constexpr,  # bit n: layer n has layer normalisation; -1: all have
    RESIDUAL: tl.constexpr,
    BETWEEN: tl.constexpr,
    MASK: tl.constexpr,
    RAGGED: tl.constexpr,
    SHOWN: tl.constexpr,
    DEEP: tl.constexpr,  # SENTINEL: whether the top layer is not the first
    APART: tl.constexpr,
    SAVE: tl.constexpr,
    CELL_ROWS: tl.constexpr,  # tiles of the layer phase: rows, units
    CELL_UNITS: tl.constexpr,
    ROWS_OF_TILE: tl.constexpr,  # and of the other products: rows, columns
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,  # block of the products' inner side
    BS: tl.constexpr,
    BQ: tl.constexpr,
    BD: tl.constexpr,
    BROW: tl.constexpr,
    STAGES: tl.constexpr,
    PRECISION: tl.constexpr,
    MAX_SPIN: tl.constexpr,
):
    ALL: tl.constexpr = PHASE == "all"
    GATES: tl.constexpr = 4 if (KIND == "lstm" or KIND == "gru") else 1
    C: tl.constexpr = GATES * H
    IN: tl.constexpr = A if FEED else 0
    program = tl.program_id(0) + first_program
    wide = batch.to(tl.int64)  # rows of all steps and layers may pass 2^31 elements
    cell_tiles = tl.cdiv(batch, CELL_ROWS) * tl.cdiv(H, CELL_UNITS)
    row_tiles = tl.cdiv(batch, ROWS_OF_TILE)
    passed = 0
    for t in range(first_step, last_step):
        for n in range(first_layer, last_layer):
            layer = n * wide  # rows of the layers before are ``layer`` times T, T+1 or 1
            old = (layer * (steps + 1) + t * wide) * H
            new = old + wide * H
            to = shown + (n * shown_rows.to(tl.int64) + t * wide) * H
            x = shown + ((n - 1) * shown_rows.to(tl.int64) + t * wide) * H
            mask = between + (n * tl.maximum(between_rows * steps, batch).to(tl.int64)
                              + t * between_rows.to(tl.int64)) * H  # fmt: skip
            masked = n + 1 < layers
            normed = (NORM >> n) & 1 == 1 if NORM > 0 else NORM == -1
            is_top = n + 1 == layers
            of_gates = gates + (layer * steps + t * wide) * C
            if ALL or PHASE == "layer":
                passed = next_phase(passed, counter, programs, status, ALL, MAX_SPIN, True)
                if n == 0:
                    for tile in range(program, cell_tiles, programs):
                        layer_tile(
                            tile, of_gates, biases,
                            fed + t * wide * A, states + old, weight_first, of_gates,
                            states + new, carry, cells + old, cells + new, to, mask, batch,
                            True, KIND, IN, H, SAVE, SHOWN and NORM != -1, RESIDUAL, BETWEEN,
                            masked, CELL_ROWS, CELL_UNITS, INNER, STAGES, PRECISION,
                            not normed, is_top, sentinel_weight, sentinel_bias,
                            sentinel_gates + t * wide * H, sentinels + t * wide * H,
                            SENTINEL and not DEEP,
                        )  # fmt: skip
                else:
                    for tile in range(program, cell_tiles, programs):
                        layer_tile(
                            tile, of_gates, biases + (n - 1) * C, x, states + old,
                            weight_deep + (n - 1 + 0 * wide) * C * 2 * H, of_gates,
                            states + new, carry + layer * H, cells + old, cells + new, to, mask,
                            batch,
                            False, KIND, H, H, SAVE, SHOWN and NORM != -1, RESIDUAL, BETWEEN,
                            masked, CELL_ROWS, CELL_UNITS, INNER, STAGES, PRECISION,
                            not normed, is_top, sentinel_weight, sentinel_bias,
                            sentinel_gates + t * wide * H, sentinels + t * wide * H,
                            SENTINEL and DEEP,
                        )  # fmt: skip
            if NORM != 0 and (ALL or PHASE == "norm"):
                if normed:
                    passed = next_phase(passed, counter, programs, status, ALL, MAX_SPIN)
                    for b in range(program, batch, programs):
                        norm_row(
                            b, x, carry + layer * H, gain + n * H, shift + n * H,
                            statistics + (layer * steps + t * wide) * 2, to, mask, n > 0, masked,
                            H, RESIDUAL, BETWEEN, BROW,
                        )  # fmt: skip
        top = shown + ((layers - 1) * shown_rows.to(tl.int64) + t * wide) * H
        context = contexts + t * wide * D
        of_queries = queries + t * wide * Q
        of_keys = sentinel_keys + t * wide * Q
        of_betas = betas + t * wide * G
        if (QUERY or G > 0 or SENTINEL) and (ALL or PHASE == "query"):
            passed = next_phase(passed, counter, programs, status, ALL, MAX_SPIN)
            query_tiles = row_tiles * tl.cdiv(Q if QUERY else 0, COLUMNS)
            gate_tiles = row_tiles * tl.cdiv(G, COLUMNS)
            key_tiles = row_tiles * tl.cdiv(Q if SENTINEL else 0, COLUMNS)
            if QUERY:
                for tile in range(program, query_tiles, programs):
                    query_tile(
                        tile, top, query_weight, of_queries, batch, H, Q, ROWS_OF_TILE, COLUMNS,
                        INNER, STAGES, PRECISION,
                    )  # fmt: skip
            # Each kind's tiles begin with the program after the one before's last.
            if SENTINEL:
                for tile in range(after(program, query_tiles, programs), key_tiles, programs):
                    query_tile(
                        tile, sentinels + t * wide * H, sentinel_key, of_keys, batch, H, Q,
                        ROWS_OF_TILE, COLUMNS, INNER, STAGES, PRECISION,
                    )  # fmt: skip
            if G > 0:
                begun = query_tiles + key_tiles
                for tile in range(after(program, begun, programs), gate_tiles, programs):
                    gate_tile(
                        tile, top, gate_weight, gate_bias, of_betas, batch, H, G, ROWS_OF_TILE,
                        COLUMNS, INNER, STAGES, PRECISION,
                    )  # fmt: skip
        if D > 0 and (ALL or PHASE == "attend"):
            passed = next_phase(passed, counter, programs, status, ALL, MAX_SPIN)
            for b in range(program, batch, programs):
                length = sources
                if RAGGED:
                    length = tl.minimum(tl.load(lengths + b), sources)
                query = top + b * H
                if QUERY:
                    query = of_queries + b * Q
                first = (b + 0 * wide) * sources
                attend_row(
                    query, keys + first * Q, values + first * D, score,
                    alpha + (t * wide + b) * sources, context + b * D, scale, length, sources,
                    Q, D, ADDITIVE, BS, BQ, BD,
                    of_betas + b * G, ungated + (t * wide + b) * D,
                    sentinels + (t * wide + b) * H, of_keys + b * Q, sentinel_alpha + t * wide + b,
                    G, SENTINEL, SAVE,
                )  # fmt: skip
        if ALL or PHASE == "output":
            passed = next_phase(passed, counter, programs, status, ALL, MAX_SPIN)
            for tile in range(program, row_tiles * tl.cdiv(A, COLUMNS), programs):
                output_tile(
                    tile, context, top, output_weight,
                    output_mask + t * output_mask_rows.to(tl.int64) * A, raw + t * wide * A,
                    vectors + t * wide * A, fed + (t + 1) * wide * A, batch,
                    H, D, A, MASK, APART, ROWS_OF_TILE, COLUMNS, INNER, STAGES, PRECISION,
                )  # fmt: skip
