"""Launches of the loop's kernels: one for each phase and step, or one for all.

Neither reads anything back from the device, so a loop can be captured in a CUDA graph (with its
lengths on the device). Static buffers are the caller's matter: nothing here outlives a call.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from kernels.backend import interpreted
from kernels.common.chip import chip_of, power_of_two
from kernels.common.cuda_graphs import replay
from kernels.common.launching import Fixed, Kernel, Launch, Pointers, on_device
from kernels.common.settings import debug_spins, input_precision
from kernels.decoder.call import Call
from kernels.decoder.triton_backend.backward import backward_kernel
from kernels.decoder.triton_backend.forward import forward_kernel
from kernels.decoder.triton_backend.pointers import (
    BackwardPointers,
    ForwardPointers,
    backward_pointers,
    forward_pointers,
)
from kernels.decoder.triton_backend.prepare import Buffers, Prepared
from kernels.decoder.triton_backend.tiles import (
    Problem,
    Tiles,
    key_width,
    pick,
    query_products,
)

INTERPRETED_PROGRAMS = 1  # the interpreter runs one after the other: a second would wait for ever
Phase = tuple[str, int, int]  # its name, the layer it is for (0 otherwise), its tiles
FORWARD = Kernel(forward_kernel, ForwardPointers)
BACKWARD = Kernel(backward_kernel, BackwardPointers)
_WRITTEN = frozenset(  # by the kernels, in either pass
    [
        "gates", "states", "carry", "cells", "shown", "statistics", "sentinel_gates", "sentinels",
        "sentinel_keys", "sentinel_alpha", "betas", "ungated", "queries", "alpha", "contexts",
        "raw", "vectors", "fed", "d_raw", "d_contexts", "d_betas", "d_sentinel_gates",
        "d_sentinel_keys", "d_sentinel_scores", "d_top", "d_scores", "d_queries", "d_skip",
        "d_shown", "d_hidden", "d_cell", "d_gates", "d_feed",
    ]
)  # fmt: skip
_cheapest = lru_cache(maxsize=1024)(pick)


def problem_of(call: Call, source: int, backward: bool) -> Problem:
    weights, (layers, batch, size) = call.weights, call.state.hidden.shape
    memory = call.memory
    return Problem(
        call.kind,
        batch,
        size,
        weights.output.size(0),
        0 if memory is None else memory.values.size(2),
        0 if memory is None or weights.query is None else weights.query.size(0),
        source,
        layers,
        call.state.feed is not None,
        torch.finfo(call.dtypes.product).bits // 8,
        backward,
        call.inputs.size(1),
        0 if weights.gate is None else weights.gate.size(0),
        weights.sentinel is not None,
    )


def norms_of(call: Call) -> int:
    """Bit n: layer n has layer normalisation; -1: all layers have."""
    there = [layer.norm_weight is not None for layer in call.weights.layers]
    return -1 if all(there) else sum(1 << n for n, normed in enumerate(there) if normed)


def forward_loop(
    call: Call,
    prepared: Prepared,
    made: Buffers,
    save: bool,
) -> None:
    """All steps, into ``made``; ``save``: with what the backward pass needs."""
    source = 0 if prepared.keys is None else prepared.keys.size(1)
    problem = problem_of(call, source, False)
    tiles = _cheapest(problem, chip_of(call.inputs.device), call.schedule)
    counter, status = _barrier(tiles, call.inputs.device)
    pointers = forward_pointers(prepared, made, counter, status)
    options = options_of(call, prepared)._replace(
        shown=call.shown,
        apart=made.fed is not None and call.dtypes.product != call.dtypes.output,
        save=save,
    )
    fixed = constants(problem, tiles, options, input_precision(prepared.first))
    phases = list(forward_phases(problem, tiles, options.norms))
    numbers = _numbers(call, prepared, made, source)
    _launch(FORWARD, pointers, numbers, fixed, phases, problem, tiles)


def backward_loop(
    call: Call,
    prepared: Prepared,
    made: Buffers,
    d_vectors: Tensor,
    d_alpha: Tensor | None,
    grads: dict[str, Any],
) -> None:
    """All steps from the last to the first; ``grads`` by the names of ``backward_kernel``."""
    source = 0 if prepared.keys is None else prepared.keys.size(1)
    problem = problem_of(call, source, True)
    tiles = _cheapest(problem, chip_of(call.inputs.device), call.schedule)
    counter, status = _barrier(tiles, call.inputs.device)
    pointers = backward_pointers(prepared, made, d_vectors, d_alpha, grads, counter, status)
    options = options_of(call, prepared)._replace(d_alpha=d_alpha is not None)
    fixed = constants(problem, tiles, options, input_precision(prepared.first))
    phases = list(backward_phases(problem, tiles, options.norms))
    numbers = _numbers(call, prepared, made, source)
    _launch(BACKWARD, pointers, numbers, fixed, phases, problem, tiles)


def forward_phases(problem: Problem, tiles: Tiles, norms: int) -> Iterator[Phase]:
    """The phases of one step, in their order; ``norms``: see ``norms_of``."""
    batch = problem.batch
    rows = triton.cdiv(batch, tiles.rows)
    cells = triton.cdiv(batch, tiles.cell_rows) * triton.cdiv(problem.size, tiles.cell_units)
    for layer in range(problem.layers):
        yield "layer", layer, cells
        if norms >> layer & 1:
            yield "norm", layer, batch
    asked = query_products(problem)
    if asked:
        yield "query", 0, rows * sum(triton.cdiv(one.columns, tiles.columns) for one in asked)
    if problem.values:
        yield "attend", 0, batch
    yield "output", 0, rows * triton.cdiv(problem.width, tiles.columns)


def backward_phases(problem: Problem, tiles: Tiles, norms: int) -> Iterator[Phase]:
    """The phases of one step, in their order; ``norms``: see ``norms_of``."""
    rows = triton.cdiv(problem.batch, tiles.rows)
    hidden = triton.cdiv(problem.size, tiles.columns)
    yield "output", 0, rows * (triton.cdiv(problem.values, tiles.columns) + hidden)
    if problem.values:
        yield "attend", 0, problem.batch
        yield "query", 0, rows * hidden
    for layer in reversed(range(problem.layers)):
        if norms >> layer & 1:
            yield "norm", layer, problem.batch
        inside = hidden
        if layer == 0:
            inside = triton.cdiv(problem.width, tiles.columns) if problem.fed else 0
        yield "layer", layer, rows * (inside + hidden)


def _barrier(tiles: Tiles, device: torch.device) -> tuple[Tensor | None, Tensor | None]:
    """The counter (1,) and the status (1,) of programs that wait for each other."""
    if tiles.schedule != "persistent":
        return None, None
    zeros = torch.zeros(5, dtype=torch.int32, device=device)  # both at a multiple of 16 bytes
    return zeros, zeros.narrow(0, 4, 1)


def _numbers(call: Call, prepared: Prepared, made: Buffers, source: int) -> dict[str, int | float]:
    """Numbers that both kernels take and that stay the same over a loop."""
    layers, batch, _ = call.state.hidden.shape

    def mask_rows(mask: Tensor | None, at: int) -> int:
        return batch if mask is not None and mask.size(at) > 1 else 0

    return {
        "scale": call.scale,
        "layers": layers,
        "steps": call.inputs.size(1),
        "batch": batch,
        "sources": source,
        "shown_rows": made.shown.stride(0) // made.shown.size(3),
        "between_rows": mask_rows(prepared.between, 1),
        "output_mask_rows": mask_rows(prepared.output_mask, 0),
        "first_program": 0,
    }


class Options(NamedTuple):
    """What a loop has beyond its sizes; each choice is a kernel of its own."""

    additive: bool
    norms: int  # see norms_of
    residual: bool
    between: bool  # dropout masks between layers
    mask: bool  # and on the attentional vector
    ragged: bool
    shown: bool = False  # forward: layers' outputs are no states
    apart: bool = False  # forward: the next step is fed another dtype than the results have
    save: bool = True  # forward
    d_alpha: bool = False  # backward


def options_of(call: Call, prepared: Prepared) -> Options:
    return Options(
        prepared.score is not None,
        norms_of(call),
        call.residual and len(call.weights.layers) > 1,
        prepared.between is not None,
        prepared.output_mask is not None,
        prepared.lengths is not None,
    )


def constants(problem: Problem, tiles: Tiles, options: Options, precision: str) -> dict[str, Any]:
    """Constants shared by both kernels, except PHASE."""
    keys = key_width(problem) if problem.values else 0
    found = {
        "KIND": problem.kind,
        "H": problem.size,
        "A": problem.width,
        "D": problem.values,
        "Q": keys,
        "FEED": problem.fed,
        "ADDITIVE": options.additive,
        "QUERY": problem.queries > 0,
        "G": problem.gate,
        "SENTINEL": problem.sentinel,
        "DEEP": problem.layers > 1 and problem.sentinel,
        "NORM": options.norms,
        "RESIDUAL": options.residual,
        "BETWEEN": options.between,
        "MASK": options.mask,
        "RAGGED": options.ragged,
        "ROWS_OF_TILE": tiles.rows,
        "COLUMNS": tiles.columns,
        "INNER": tiles.inner,
        "BS": tiles.row_block,
        "BQ": max(16, power_of_two(keys)),
        "BD": max(16, power_of_two(problem.values)),
        "BROW": max(16, power_of_two(problem.size)),
        "STAGES": tiles.stages,
        "PRECISION": precision,
        "MAX_SPIN": debug_spins(),
    }
    if problem.backward:
        return found | {"D_ALPHA": options.d_alpha}
    return found | {
        "SHOWN": options.shown,
        "APART": options.apart,
        "SAVE": options.save,
        "CELL_ROWS": tiles.cell_rows,
        "CELL_UNITS": tiles.cell_units,
    }


def _launch(
    kernel: Kernel,
    named: ForwardPointers | BackwardPointers,
    numbers: dict[str, int | float],
    fixed: dict[str, Any],
    phases: list[Phase],
    problem: Problem,
    tiles: Tiles,
) -> None:
    options: dict[str, Any] = {"num_warps": tiles.warps, "num_stages": 1}

    def loop(own: ForwardPointers | BackwardPointers) -> None:
        pointers = Pointers(own, own.states)
        launches: dict[str, Launch] = {}

        def run(phase: str, steps: tuple[int, int], layers: tuple[int, int], programs: int) -> None:
            launch = launches.get(phase)
            if launch is None:
                of_phase = Fixed({"PHASE": phase, **fixed}, options)
                launch = launches[phase] = kernel.bind(pointers, numbers, of_phase)
            launch(
                (programs,), first_step=steps[0], last_step=steps[1], first_layer=layers[0],
                last_layer=layers[1], programs=programs,
            )  # fmt: skip

        if tiles.schedule == "persistent":
            # More programs than the largest phase has tiles would only wait.
            programs = min(tiles.programs, max(count for *_, count in phases))
            if interpreted():
                programs = INTERPRETED_PROGRAMS
            else:
                options["launch_cooperative_grid"] = True
            run("all", (0, problem.steps), (0, problem.layers), programs)
            return
        steps = range(problem.steps)
        for t in reversed(steps) if problem.backward else steps:
            for phase, layer, count in phases:
                layers = (layer, layer + 1) if phase in ("layer", "norm") else (0, 0)
                run(phase, (t, t + 1), layers, count)

    with on_device(named.states.device):
        if tiles.schedule == "persistent":
            loop(named)
        else:
            values = [tuple(part.items()) for part in (numbers, fixed, options)]
            replay((named.__class__.__name__, *values, tuple(phases)), named, _WRITTEN, loop)
    if named.status is not None and debug_spins() and int(named.status):
        raise RuntimeError(
            f"attention_decoder, schedule {tiles.schedule!r}: a barrier was not reached by all "
            f"programs within {debug_spins()} reads; the results are wrong. Please report the "
            "sizes."
        )
