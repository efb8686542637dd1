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

from kernels.decoder.triton_backend.attend import attend_row
from kernels.decoder.triton_backend.forward_phases import (
    after,
    gate_tile,
    layer_tile,
    norm_row,
    output_tile,
    query_tile,
)
from kernels.decoder.triton_backend.products import next_phase

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
