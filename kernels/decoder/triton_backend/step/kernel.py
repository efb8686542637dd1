"""One step of search as a kernel: every phase once, for both schedules.

    layer    sums of the gates as one product over [embedding; feed; hidden], and the cell; in the
             top one the sentinel's gate
    norm     layer normalisation of a layer's output          (a program takes a whole row)
    ask      all products of the top output: query, the output's share of it, the context gate;
             and the query's part of the scores, the sentinel's among them
    attend   softmax and context; where values went through the output's weight before, the output
    output   else: tanh of its product with the context

An LSTM of one layer is layer, ask, attend: two waits. Schedule "step" launches each phase,
"persistent" launches once, its programs meeting at a barrier.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.common.barrier import arrive, wait_for_others
from kernels.decoder.triton_backend.products import next_phase
from kernels.decoder.triton_backend.step.ask import ask_tile, ask_weight
from kernels.decoder.triton_backend.step.attend import attend_tile, output_tile
from kernels.decoder.triton_backend.step.layer import layer_tile, norm_row, sentinel_tile

# Numbers that change from call to call: specialising on them would compile again.
VARYING = [
    "scale",
    "first_layer",
    "last_layer",
    "batch",
    "beams",
    "sources",
    "programs",
    "first_program",
]


@triton.jit
def leave(passed, counter, programs):
    """Back to zero for the next launch: the last program to come has seen all others pass the last
    barrier. A launch that cleared it beforehand would cost as much as a phase. Programs that gave
    up waiting (MAX_SPIN) come here, too; after a launch that never ended, ``joined_step`` clears.
    """
    if passed > 1:
        tl.debug_barrier()
        if tl.atomic_add(counter + 1, 1, sem="acq_rel", scope="gpu") == programs - 1:
            tl.store(counter, 0)
            tl.store(counter + 1, 0)


@triton.jit(do_not_specialize=VARYING)
def step_kernel(
    inputs,  # (U, E), or (U, C) with SUMMED
    rows,  # (N,) integers, GATHER
    first,  # (C, E + F + H), F = A with FEED, else 0
    deep,  # (L-1, C, 2H)
    biases,  # (L, C) float32
    ask,  # ([Q +] A + G, H)
    score,  # (Q,) float32, ADDITIVE
    gate_bias,  # (G,) float32
    context_weight,  # (A, D), unless FOLDED
    gain,  # (L, H) float32, NORM
    shift,
    sentinel_weight,  # (H, inputs of the top layer + H), SENTINEL
    sentinel_bias,  # (H,) float32
    sentinel_key,  # (Q, H)
    hidden,  # (L, N, H)
    cell,  # (L, N, H), LSTM
    feed,  # (N, A), FEED
    keys,  # (B, S, Q)
    values,  # (B, S, D), or (B, S, A): FOLDED
    padded,  # (B, S) bool, RAGGED
    hidden_out,  # (L, N, H)
    cell_out,  # (L, N, H), LSTM
    shown,  # (L, N, H) float32, SHOWN: outputs of the layers; else hidden_out
    parts,  # (BLOCKS, N, S) float32
    sums,  # (N, A) float32
    gates,  # (N, G) float32
    opened,  # (N, H) float32, SENTINEL: its gate
    contexts,  # (N, D) float32, unless FOLDED
    alpha,  # (N, S)
    vectors,  # (N, A)
    counter,  # (2,) int32: arrivals and departures, zero before and after
    status,  # (1,) int32
    scale,
    first_layer,
    last_layer,  # exclusive
    batch,  # N
    beams,  # K
    sources,  # S
    programs,
    first_program,
    PHASE: tl.constexpr,  # "all", or the only one
    KIND: tl.constexpr,
    E: tl.constexpr,
    H: tl.constexpr,
    A: tl.constexpr,
    D: tl.constexpr,
    Q: tl.constexpr,  # 0: no attention
    G: tl.constexpr,  # 0: no context gate
    FEED: tl.constexpr,
    QUERY: tl.constexpr,
    ADDITIVE: tl.constexpr,
    NORM: tl.constexpr,  # bit n: layer n is normalised
    RESIDUAL: tl.constexpr,
    SHOWN: tl.constexpr,
    SUMMED: tl.constexpr,
    GATHER: tl.constexpr,
    FOLDED: tl.constexpr,
    RAGGED: tl.constexpr,
    SENTINEL: tl.constexpr,  # 1, else 0; then not FOLDED
    LAYERS: tl.constexpr,
    CELL_ROWS: tl.constexpr,  # tiles of the layer phase: rows, units
    CELL_UNITS: tl.constexpr,
    CELL_STAGES: tl.constexpr,
    ROWS_OF_TILE: tl.constexpr,  # and of the other products: rows, columns
    COLUMNS: tl.constexpr,
    STAGES: tl.constexpr,
    ROWS: tl.constexpr,  # of these, the ones that can be there: a power of two
    WHOLE: tl.constexpr,  # their inner side, where their weight is read early, else 0
    INNER: tl.constexpr,  # block of the products' inner side
    SCORES: tl.constexpr,  # source positions at once, ask
    BLOCKS: tl.constexpr,  # of the query's columns; NB: the power of two from there
    NB: tl.constexpr,
    BEAMS: tl.constexpr,  # hypotheses of a source at once
    POSITIONS: tl.constexpr,  # source positions at once, attend
    ATTENDED: tl.constexpr,  # columns of values at once
    BROW: tl.constexpr,
    PRECISION: tl.constexpr,
    MAX_SPIN: tl.constexpr,
):
    ALL: tl.constexpr = PHASE == "all"
    C: tl.constexpr = (4 if (KIND == "lstm" or KIND == "gru") else 1) * H
    F: tl.constexpr = A if FEED else 0
    program = tl.program_id(0) + first_program
    layer_rows = batch.to(tl.int64) * H
    row_tiles = tl.cdiv(batch, ROWS_OF_TILE)
    cell_tiles = tl.cdiv(batch, CELL_ROWS) * tl.cdiv(H, CELL_UNITS)
    passed = 0
    for n in range(first_layer, last_layer):
        at = n * layer_rows
        x = shown + at - layer_rows
        if ALL or PHASE == "layer":
            passed = next_phase(passed, counter, programs, status, ALL, MAX_SPIN, True)
            if n == 0:
                for tile in range(program, cell_tiles, programs):
                    layer_tile(
                        tile, inputs, biases, inputs, rows, feed, hidden, cell, first,
                        hidden_out, cell_out, shown, batch,
                        KIND, E, F, H, SUMMED, GATHER, SHOWN and NORM == 0, False,
                        CELL_ROWS, CELL_UNITS, INNER, CELL_STAGES, PRECISION,
                    )  # fmt: skip
            else:
                if LAYERS > 1:
                    for tile in range(program, cell_tiles, programs):
                        layer_tile(
                            tile, biases, biases + n * C, x, rows, x, hidden + at, cell + at,
                            deep + (n - 1 + 0 * layer_rows) * C * 2 * H, hidden_out + at,
                            cell_out + at, shown + at, batch,
                            KIND, H, 0, H, False, False, SHOWN and NORM == 0, RESIDUAL,
                            CELL_ROWS, CELL_UNITS, INNER, CELL_STAGES, PRECISION,
                        )  # fmt: skip
            if SENTINEL:
                if n == LAYERS - 1:  # from the last program on: the first have more to do
                    across = row_tiles * tl.cdiv(H, COLUMNS)
                    for tile in range(programs - 1 - program, across, programs):
                        if LAYERS > 1:
                            sentinel_tile(
                                tile, x, rows, x, hidden + at, sentinel_weight, sentinel_bias,
                                opened, batch, H, 0, H, False, ROWS_OF_TILE, COLUMNS, INNER,
                                STAGES, PRECISION,
                            )  # fmt: skip
                        else:
                            sentinel_tile(
                                tile, inputs, rows, feed, hidden, sentinel_weight, sentinel_bias,
                                opened, batch, E, F, H, GATHER, ROWS_OF_TILE, COLUMNS, INNER,
                                STAGES, PRECISION,
                            )  # fmt: skip
        if NORM > 0 and (ALL or PHASE == "norm"):
            passed = next_phase(passed, counter, programs, status, ALL, MAX_SPIN)
            for b in range(program, batch, programs):
                if RESIDUAL and n > 0:
                    norm_row(
                        b, x, hidden_out + at, gain + n * H, shift + n * H, shown + at,
                        ((NORM >> n) & 1) > 0, H, True, BROW,
                    )  # fmt: skip
                else:
                    norm_row(
                        b, x, hidden_out + at, gain + n * H, shift + n * H, shown + at,
                        ((NORM >> n) & 1) > 0, H, False, BROW,
                    )  # fmt: skip
    CELL: tl.constexpr = KIND == "lstm"
    top = shown + (LAYERS - 1) * layer_rows
    memory = hidden_out + (LAYERS - 1) * layer_rows  # of the sentinel
    if CELL:
        memory = cell_out + (LAYERS - 1) * layer_rows
    if ALL or PHASE == "ask":
        across = BLOCKS + tl.cdiv(A, COLUMNS) + tl.cdiv(G, COLUMNS)
        if WHOLE > 0:
            if ALL:  # a layer phase came before
                arrive(counter)
            tiles = batch * across
            early = ask_weight(program, tiles, ask, H, A, Q, G, QUERY, COLUMNS, WHOLE)
            if ALL:
                wait_for_others(counter, passed * programs, status, MAX_SPIN)
            passed += 1
            for tile in range(program, tiles, programs):
                ask_tile(
                    tile, early, top, ask, score, keys, gate_bias, parts, sums, gates, vectors,
                    opened, memory, sentinel_key, batch, beams, sources, scale, H, A, Q, G, QUERY,
                    ADDITIVE, 1, COLUMNS, 1, SCORES, WHOLE, INNER, STAGES, PRECISION, SENTINEL,
                    CELL,
                )  # fmt: skip
                early = ask_weight(tile + programs, tiles, ask, H, A, Q, G, QUERY, COLUMNS, WHOLE)
        else:
            passed = next_phase(passed, counter, programs, status, ALL, MAX_SPIN)
            for tile in range(program, row_tiles * across, programs):
                ask_tile(
                    tile, program, top, ask, score, keys, gate_bias, parts, sums, gates, vectors,
                    opened, memory, sentinel_key, batch, beams, sources, scale, H, A, Q, G, QUERY,
                    ADDITIVE, ROWS_OF_TILE, COLUMNS, ROWS, SCORES, WHOLE, INNER, STAGES,
                    PRECISION, SENTINEL, CELL,
                )  # fmt: skip
    if Q > 0 and (ALL or PHASE == "attend"):
        passed = next_phase(passed, counter, programs, status, ALL, MAX_SPIN)
        WIDTH: tl.constexpr = A if FOLDED else D
        of_source = tl.cdiv(beams, BEAMS) * tl.cdiv(WIDTH, ATTENDED)
        for tile in range(program, (batch // beams) * of_source, programs):
            attend_tile(
                tile, parts, padded, values, sums, gates, alpha, contexts, vectors, opened, memory,
                batch, beams, sources, WIDTH, FOLDED, G, RAGGED, BLOCKS, NB, BEAMS, POSITIONS,
                ATTENDED, SENTINEL, CELL,
            )  # fmt: skip
    if Q > 0 and not FOLDED and (ALL or PHASE == "output"):
        passed = next_phase(passed, counter, programs, status, ALL, MAX_SPIN)
        for tile in range(program, row_tiles * tl.cdiv(A, COLUMNS), programs):
            output_tile(
                tile, contexts, context_weight, sums, vectors, batch,
                D, A, ROWS_OF_TILE, COLUMNS, INNER, STAGES, PRECISION,
            )  # fmt: skip
    if ALL:
        leave(passed, counter, programs)
