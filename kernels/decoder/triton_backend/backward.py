"""Backward through the decoder's steps, the mirror of ``forward.py``. Phases of a step:

    output   d_raw W_o: gradients of the context and of the top layer's output
    attend   of the scores and the query, of context gate and sentinel's key
                                                                (a program takes a whole row)
    query    d_query W_q, and what the context gate sends, added to that of the top layer's output;
             what the sentinel sends into its gate, and into the top layer's cell or state
    norm     of layer normalisation, then of the cell           (a program takes a whole row)
    layer    d_gates W: gradients of a layer's input and of its state one step earlier, of the
             top layer with the share of the sentinel's gate

What ends a phase goes on in the same tile where nothing else is missing: the gradient of a layer's
output goes through its mask and its cell at once, that of the fed vector through tanh. The
gradients of weights, keys and values are products over all steps, after the loop.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.decoder.triton_backend.attend import attend_row_backward
from kernels.decoder.triton_backend.backward_phases import (
    hidden_part,
    into_layer,
    into_sentinel,
    norm_row,
)
from kernels.decoder.triton_backend.forward import VARYING
from kernels.decoder.triton_backend.products import multiply, next_phase


@triton.jit(do_not_specialize=VARYING)
def backward_kernel(
    weight_first,  # (C, IN + H)
    weight_deep,  # (L-1, C, 2H)
    gates,  # (L, T, B, C) activated
    states,  # (L, T+1, B, H)
    cells,  # (L, T+1, B, H) float32, LSTM
    shown,  # (L, T, B, H) or states[:, 1:]
    gain,  # (L, H) float32, NORM
    statistics,  # (L, T, B, 2) float32, NORM
    between,  # (L-1, T or 1, B, H), BETWEEN
    sentinel_weight,  # (H, IN' + H), SENTINEL
    sentinel_gates,  # (T, B, H) opened
    sentinels,  # (T, B, H)
    sentinel_key,  # (Q, H)
    sentinel_keys,  # (T, B, Q) float32
    sentinel_alpha,  # (T, B) float32
    gate_weight,  # (G, H), G > 0
    betas,  # (T, B, G) float32
    ungated,  # (T, B, D)
    query_weight,  # (Q, H), QUERY
    queries,  # (T, B, Q) float32, QUERY
    keys,
    values,
    score,
    lengths,
    alpha,  # (T, B, S) float32
    output_weight,  # (A, D + H)
    output_mask,
    raw,  # (T, B, A) before the mask
    d_vectors,  # (T, B, A)
    d_alpha,  # (T, B, S), D_ALPHA
    d_raw,  # (T, B, A) -> of the sums before tanh; FEED: [T-1] given, the others made here
    d_contexts,  # (T, B, D) -> of the contexts before their gate
    d_betas,  # (T, B, G) -> of the sums of the context gate, G > 0
    d_sentinel_gates,  # (T, B, H) -> of the sums of the sentinel's gate, SENTINEL
    d_sentinel_keys,  # (T, B, Q) ->
    d_sentinel_scores,  # (T, B) float32 ->
    d_top,  # (B, H) float32, scratch
    d_scores,  # (T, B, S) float32 ->
    d_queries,  # (T, B, Q) ->
    d_skip,  # (B, H) float32, scratch, RESIDUAL
    d_shown,  # (L, T, B, H) float32 ->, NORM: of the normalised outputs
    d_hidden,  # (L, B, H) float32: of the final states -> of the initial ones
    d_cell,
    d_gates,  # (L, T, B, C) -> of the sums
    d_feed,  # (B, A) float32 -> of the initial one, FEED
    counter,
    status,
    scale,
    first_step,
    last_step,  # exclusive; taken from the last to the first
    first_layer,
    last_layer,  # exclusive; likewise
    layers,
    steps,
    batch,
    sources,
    shown_rows,
    between_rows,
    output_mask_rows,
    programs,
    first_program,
    PHASE: tl.constexpr,
    KIND: tl.constexpr,
    H: tl.constexpr,
    A: tl.constexpr,
    D: tl.constexpr,
    Q: tl.constexpr,
    FEED: tl.constexpr,
    ADDITIVE: tl.constexpr,
    QUERY: tl.constexpr,
    G: tl.constexpr,
    SENTINEL: tl.constexpr,
    DEEP: tl.constexpr,
    NORM: tl.constexpr,
    RESIDUAL: tl.constexpr,
    BETWEEN: tl.constexpr,
    MASK: tl.constexpr,
    RAGGED: tl.constexpr,
    D_ALPHA: tl.constexpr,
    ROWS_OF_TILE: tl.constexpr,
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
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
    OF_X: tl.constexpr = 3 * H if KIND == "gru" else C  # gate columns that the input has part in
    program = tl.program_id(0) + first_program
    wide = batch.to(tl.int64)
    row_tiles = tl.cdiv(batch, ROWS_OF_TILE)
    hidden_tiles = tl.cdiv(H, COLUMNS)
    last = layers - 1
    passed = 0
    for back in range(0, last_step - first_step):
        t = last_step - 1 - back
        # The top layer at this step, into which output and query phase lead.
        layer = last * wide
        of_gates = gates + (layer * steps + t * wide) * C
        to_gates = d_gates + (layer * steps + t * wide) * C
        before = (layer * (steps + 1) + t * wide) * H
        to_shown = d_shown + (layer * steps + t * wide) * H
        to_sentinel = d_sentinel_gates + t * wide * H
        top_normed = (NORM >> last) & 1 == 1 if NORM > 0 else NORM == -1

        if ALL or PHASE == "output":
            passed = next_phase(passed, counter, programs, status, ALL, MAX_SPIN, True)
            context_tiles = tl.cdiv(D, COLUMNS)
            for tile in range(program, row_tiles * (context_tiles + hidden_tiles), programs):
                b = (tile % row_tiles) * ROWS_OF_TILE + tl.arange(0, ROWS_OF_TILE)
                part = tile // row_tiles
                of_context = part < context_tiles
                place = tl.where(of_context, 0, D)  # where the part's columns begin
                width = tl.where(of_context, D, H)
                part -= tl.where(of_context, 0, context_tiles)
                column = part * COLUMNS + tl.arange(0, COLUMNS)
                total = tl.zeros((ROWS_OF_TILE, COLUMNS), tl.float32)
                total = multiply(
                    total, d_raw + t * wide * A, b, output_weight + place, column, column < width,
                    batch, A, A, 1, D + H, INNER, STAGES, PRECISION,
                )  # fmt: skip
                active = (b < batch)[:, None] & (column < width)[None, :]
                if of_context:
                    to = d_contexts + t * wide * D + b[:, None] * D + column[None, :]
                    tl.store(to, total.to(d_contexts.dtype.element_ty), mask=active)
                elif D > 0:
                    tl.store(d_top + b[:, None] * H + column[None, :], total, mask=active)
                else:
                    into_layer(
                        total, b[:, None], column[None, :], active, between, False, of_gates,
                        states + before, cells + before, d_hidden + layer * H, d_cell + layer * H,
                        to_gates, d_skip, to_shown, top_normed, KIND, H, BETWEEN, RESIDUAL,
                    )  # fmt: skip

        if D > 0 and (ALL or PHASE == "attend"):
            passed = next_phase(passed, counter, programs, status, ALL, MAX_SPIN)
            for one in range(program, batch, programs):
                length = sources
                if RAGGED:
                    length = tl.minimum(tl.load(lengths + one), sources)
                query = shown + (last * shown_rows.to(tl.int64) + t * wide + one) * H
                if QUERY:
                    query = queries + (t * wide + one) * Q
                first = (one + 0 * wide) * sources
                row = t * wide + one
                attend_row_backward(
                    query, keys + first * Q, values + first * D, score, alpha + row * sources,
                    d_contexts + row * D, d_alpha + row * sources, d_scores + row * sources,
                    d_queries + row * Q, scale, length, sources,
                    betas + row * G, ungated + row * D, d_betas + row * G, sentinels + row * H,
                    sentinel_keys + row * Q, sentinel_alpha + row, d_sentinel_scores + row,
                    d_sentinel_keys + row * Q,
                    Q, D, ADDITIVE, D_ALPHA, G, SENTINEL, BS, BQ, BD,
                )  # fmt: skip

        if D > 0 and (ALL or PHASE == "query"):
            passed = next_phase(passed, counter, programs, status, ALL, MAX_SPIN)
            for tile in range(program, row_tiles * hidden_tiles, programs):
                b = (tile % row_tiles) * ROWS_OF_TILE + tl.arange(0, ROWS_OF_TILE)
                column = (tile // row_tiles) * COLUMNS + tl.arange(0, COLUMNS)
                active = (b < batch)[:, None] & (column < H)[None, :]
                at = b[:, None] * H + column[None, :]
                if SENTINEL:
                    into_sentinel(
                        b, column, active, d_contexts + t * wide * D, sentinel_alpha + t * wide,
                        d_sentinel_keys + t * wide * Q, sentinel_key,
                        sentinel_gates + t * wide * H, states + before + wide * H,
                        cells + before + wide * H, to_sentinel, d_hidden + layer * H,
                        d_cell + layer * H, batch,
                        KIND, H, Q, ROWS_OF_TILE, COLUMNS, INNER, STAGES, PRECISION,
                    )  # fmt: skip
                total = tl.load(d_top + at, mask=active, other=0.0, cache_modifier=".cg")
                of_query = d_queries + t * wide * Q
                if QUERY:
                    total = multiply(
                        total, of_query, b, query_weight, column, column < H, batch,
                        Q, Q, 1, H, INNER, STAGES, PRECISION,
                    )  # fmt: skip
                else:
                    more = tl.load(of_query + at, mask=active, other=0.0, cache_modifier=".cg")
                    total += more.to(tl.float32)
                if G > 0:
                    total = multiply(
                        total, d_betas + t * wide * G, b, gate_weight, column, column < H, batch,
                        G, G, 1, H, INNER, STAGES, PRECISION,
                    )  # fmt: skip
                into_layer(
                    total, b[:, None], column[None, :], active, between, False, of_gates,
                    states + before, cells + before, d_hidden + layer * H, d_cell + layer * H,
                    to_gates, d_skip, to_shown, top_normed, KIND, H, BETWEEN, RESIDUAL,
                )  # fmt: skip

        for down in range(0, last_layer - first_layer):
            n = last_layer - 1 - down
            layer = n * wide
            of_gates = gates + (layer * steps + t * wide) * C
            to_gates = d_gates + (layer * steps + t * wide) * C
            before = (layer * (steps + 1) + t * wide) * H
            normed = (NORM >> n) & 1 == 1 if NORM > 0 else NORM == -1
            if NORM != 0 and (ALL or PHASE == "norm"):
                if normed:
                    passed = next_phase(passed, counter, programs, status, ALL, MAX_SPIN)
                    for one in range(program, batch, programs):
                        norm_row(
                            one, d_shown + (layer * steps + t * wide) * H,
                            statistics + (layer * steps + t * wide) * 2, gain + n * H, of_gates,
                            states + before, states + before + wide * H, cells + before,
                            d_hidden + layer * H, d_cell + layer * H, to_gates, KIND, H, BROW,
                        )  # fmt: skip
            if ALL or PHASE == "layer":
                passed = next_phase(passed, counter, programs, status, ALL, MAX_SPIN)
                if n == 0:
                    fed_tiles = tl.cdiv(IN, COLUMNS)
                    for tile in range(program, row_tiles * (fed_tiles + hidden_tiles), programs):
                        b = (tile % row_tiles) * ROWS_OF_TILE + tl.arange(0, ROWS_OF_TILE)
                        part = tile // row_tiles
                        if part < fed_tiles:
                            column = part * COLUMNS + tl.arange(0, COLUMNS)
                            total = tl.zeros((ROWS_OF_TILE, COLUMNS), tl.float32)
                            total = multiply(
                                total, to_gates, b, weight_first, column, column < IN, batch,
                                OF_X, C, 1, IN + H, INNER, STAGES, PRECISION,
                            )  # fmt: skip
                            if SENTINEL and not DEEP:
                                total = multiply(
                                    total, to_sentinel, b, sentinel_weight, column, column < IN,
                                    batch, H, H, 1, IN + H, INNER, STAGES, PRECISION,
                                )  # fmt: skip
                            active = (b < batch)[:, None] & (column < IN)[None, :]
                            at = b[:, None] * A + column[None, :]
                            if t == 0:
                                tl.store(d_feed + at, total, mask=active)
                            else:
                                earlier = (t - 1) * wide * A + at
                                total += tl.load(d_vectors + earlier, mask=active, other=0.0).to(
                                    tl.float32
                                )
                                if MASK:
                                    total *= tl.load(
                                        output_mask
                                        + (t - 1) * output_mask_rows.to(tl.int64) * A + at,
                                        mask=active, other=0.0,
                                    ).to(tl.float32)  # fmt: skip
                                y = tl.load(raw + earlier, mask=active, other=0.0).to(tl.float32)
                                total *= 1.0 - y * y
                                tl.store(
                                    d_raw + earlier, total.to(d_raw.dtype.element_ty), mask=active
                                )
                        else:
                            hidden_part(
                                b, part - fed_tiles, to_gates, weight_first + IN, d_hidden, batch,
                                to_sentinel, sentinel_weight + IN, True,
                                KIND, H, IN + H, SENTINEL and not DEEP, ROWS_OF_TILE, COLUMNS,
                                INNER, STAGES, PRECISION,
                            )  # fmt: skip
                else:
                    weight = weight_deep + (n - 1 + 0 * wide) * C * 2 * H
                    below = (n - 1) * wide
                    for tile in range(program, row_tiles * 2 * hidden_tiles, programs):
                        b = (tile % row_tiles) * ROWS_OF_TILE + tl.arange(0, ROWS_OF_TILE)
                        part = tile // row_tiles
                        if part < hidden_tiles:
                            column = part * COLUMNS + tl.arange(0, COLUMNS)
                            active = (b < batch)[:, None] & (column < H)[None, :]
                            total = tl.zeros((ROWS_OF_TILE, COLUMNS), tl.float32)
                            total = multiply(
                                total, to_gates, b, weight, column, column < H, batch,
                                OF_X, C, 1, 2 * H, INNER, STAGES, PRECISION,
                            )  # fmt: skip
                            if SENTINEL and DEEP:
                                if n == last:
                                    total = multiply(
                                        total, to_sentinel, b, sentinel_weight, column,
                                        column < H, batch,
                                        H, H, 1, 2 * H, INNER, STAGES, PRECISION,
                                    )  # fmt: skip
                            if RESIDUAL:
                                total += tl.load(
                                    d_skip + b[:, None] * H + column[None, :], mask=active,
                                    other=0.0, cache_modifier=".cg",
                                )  # fmt: skip
                            mask = between + (
                                (n - 1) * tl.maximum(between_rows * steps, batch).to(tl.int64)
                                + t * between_rows.to(tl.int64)
                            ) * H  # fmt: skip
                            waits = (NORM >> (n - 1)) & 1 == 1 if NORM > 0 else NORM == -1
                            below_before = (below * (steps + 1) + t * wide) * H
                            into_layer(
                                total, b[:, None], column[None, :], active, mask, True,
                                gates + (below * steps + t * wide) * C,
                                states + below_before, cells + below_before,
                                d_hidden + below * H, d_cell + below * H,
                                d_gates + (below * steps + t * wide) * C, d_skip,
                                d_shown + (below * steps + t * wide) * H, waits,
                                KIND, H, BETWEEN, RESIDUAL,
                            )  # fmt: skip
                        else:
                            hidden_part(
                                b, part - hidden_tiles, to_gates, weight + H,
                                d_hidden + layer * H, batch,
                                to_sentinel, sentinel_weight + H, n == last,
                                KIND, H, 2 * H, SENTINEL and DEEP, ROWS_OF_TILE, COLUMNS,
                                INNER, STAGES, PRECISION,
                            )  # fmt: skip
