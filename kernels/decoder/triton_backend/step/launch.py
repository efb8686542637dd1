"""Launches of a step's kernel, one for each phase or one for all. Nothing is read back from the
device and nothing allocated depends on data, so a step can be captured in a CUDA graph."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kernels.backend import interpreted
from kernels.common.chip import chip_of, power_of_two
from kernels.common.launching import Fixed, Kernel, Launch, Pointers, on_device
from kernels.common.settings import debug_spins, input_precision
from kernels.decoder.triton_backend.step.kernel import step_kernel
from kernels.decoder.triton_backend.step.tiles import Problem, Tiles, blocks_of, phases, pick
from kernels.decoder.triton_backend.step.weights import JoinedWeights
from kernels.decoder.weights import DecoderState
from kernels.recurrence.schedule import asked_schedule

INTERPRETED_PROGRAMS = 1  # the interpreter runs one after the other: a second would wait for ever
_cheapest = lru_cache(maxsize=1024)(pick)
# keys (B, S, Q), values (B, S, D) or None, folded values (B, S, A) or None, padded (B, S) or None
StepMemoryTensors = tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]


class StepPointers(NamedTuple):
    """Arguments of ``kernel.py``'s kernel, which explains their shapes; None: absent."""

    inputs: Tensor
    rows: Tensor | None
    first: Tensor
    deep: Tensor
    biases: Tensor
    ask: Tensor
    score: Tensor | None
    gate_bias: Tensor | None
    context_weight: Tensor
    gain: Tensor | None
    shift: Tensor | None
    sentinel_weight: Tensor | None
    sentinel_bias: Tensor | None
    sentinel_key: Tensor | None
    hidden: Tensor
    cell: Tensor | None
    feed: Tensor | None
    keys: Tensor | None
    values: Tensor | None
    padded: Tensor | None
    hidden_out: Tensor
    cell_out: Tensor | None
    shown: Tensor
    parts: Tensor | None
    sums: Tensor
    gates: Tensor
    opened: Tensor | None
    contexts: Tensor | None
    alpha: Tensor | None
    vectors: Tensor
    counter: Tensor
    status: Tensor


STEP = Kernel(step_kernel, StepPointers)


def joined_step(
    inputs: Tensor,
    rows: Tensor | None,
    weights: JoinedWeights,
    state: DecoderState,
    memory: StepMemoryTensors | None,
    kind: str,
    scale: float,
    residual: bool,
    summed: bool,
) -> tuple[Tensor, DecoderState, Tensor | None]:
    """As kernels.decoder.prepared_step. ``summed``: inputs are ``input_sums`` (U, C)."""
    _check(inputs, rows, weights, state, memory, kind, summed)
    problem = problem_of(weights, state, memory, kind, summed)
    tiles = _cheapest(problem, chip_of(inputs.device), asked_schedule())
    layers, batch, size = state.hidden.shape

    def new(*shape: int) -> Tensor:
        return inputs.new_empty(shape, dtype=torch.float32)

    own: list[Any] = [None if t is None else t.contiguous() for t in state]
    given = DecoderState(*own)
    hidden, cell = torch.empty_like(given.hidden), None
    if given.cell is not None:
        cell = torch.empty_like(given.cell)
    vectors = hidden.new_empty(batch, problem.width)
    shown = problem.normed or (residual and layers > 1)
    keys = values = folded = padded = alpha = parts = contexts = None
    if memory is not None:
        keys, values, folded, padded = (None if t is None else t.contiguous() for t in memory)
        assert keys is not None  # a memory has keys
        alpha = keys.new_empty(batch, problem.source)
        parts = new(blocks_of(problem, tiles), batch, problem.source + problem.sentinel)
        if folded is None:
            contexts = new(batch, problem.values)
    # Without memory there is no query, whose rows come first.
    ask = weights.ask[weights.queries :] if memory is None else weights.ask
    pointers = StepPointers(
        inputs=inputs.contiguous(),
        rows=None if rows is None else rows.contiguous(),
        first=weights.first,
        deep=weights.deep,
        biases=weights.biases,
        ask=ask,
        score=weights.score,
        gate_bias=weights.gate_bias,
        context_weight=weights.context,
        gain=weights.gain,
        shift=weights.shift,
        sentinel_weight=weights.sentinel,
        sentinel_bias=weights.sentinel_bias,
        sentinel_key=weights.sentinel_key,
        hidden=given.hidden,
        cell=given.cell,
        feed=given.feed,
        keys=keys,
        values=folded if values is None else values,
        padded=padded,
        hidden_out=hidden,
        cell_out=cell,
        shown=new(layers, batch, size) if shown else hidden,
        parts=parts,
        sums=new(batch, problem.width),
        gates=new(batch, problem.gate),
        opened=new(batch, size) if problem.sentinel else None,
        contexts=contexts,
        alpha=alpha,
        vectors=vectors,
        counter=weights.counter[:2],
        status=weights.counter[2:],
    )
    if batch:
        found = Options(
            given.feed is not None, residual and layers > 1, shown, summed, rows is not None,
            padded is not None, weights.inputs, weights.normed,
        )  # fmt: skip
        fixed = constants(problem, tiles, found, input_precision(weights.first))
        try:
            _launch(pointers, scale, fixed, problem, tiles, weights.counter)
        except BaseException:
            # A launch that came to no end has not cleared the counter, and the next one, which
            # finds it in the weights, would wait for ever or not at all.
            with suppress(RuntimeError):  # a device that is lost has no next launch
                weights.counter.zero_()
            raise
    after = DecoderState(hidden, cell, None if state.feed is None else vectors)
    return vectors, after, alpha


class Options(NamedTuple):
    """What a step has beyond its sizes; each choice is a kernel of its own."""

    feed: bool
    residual: bool
    shown: bool
    summed: bool
    gather: bool
    ragged: bool
    inputs: int  # E
    normed: int  # bit n: layer n is normalised


def problem_of(
    weights: JoinedWeights,
    state: DecoderState,
    memory: StepMemoryTensors | None,
    kind: str,
    summed: bool,
) -> Problem:
    layers, batch, size = state.hidden.shape
    width, values = weights.context.shape
    keys = source = 0
    beams, folded = 1, False
    if memory is not None:
        sources, source, keys = memory[0].shape
        beams, folded = batch // max(1, sources), memory[1] is None
    return Problem(
        kind, batch, max(1, beams), source, size, width, values, keys, weights.queries > 0,
        0 if memory is None else weights.gate, weights.score is not None, layers,
        0 if summed else weights.inputs, 0 if state.feed is None else width, folded,
        weights.gain is not None, memory is not None and weights.sentinel is not None,
        weights.first.element_size(), state.hidden.element_size(),
    )  # fmt: skip


def constants(problem: Problem, tiles: Tiles, options: Options, precision: str) -> dict[str, Any]:
    """Constants of the kernel, except PHASE."""
    blocks = blocks_of(problem, tiles)
    return {
        "KIND": problem.kind,
        "E": options.inputs,
        "H": problem.size,
        "A": problem.width,
        "D": problem.values,
        "Q": problem.keys,
        "G": problem.gate,
        "FEED": options.feed,
        "QUERY": problem.asks,
        "ADDITIVE": problem.additive,
        "NORM": options.normed,
        "RESIDUAL": options.residual,
        "SHOWN": options.shown,
        "SUMMED": options.summed,
        "GATHER": options.gather,
        "FOLDED": problem.folded,
        "RAGGED": options.ragged,
        "SENTINEL": int(problem.sentinel),
        "LAYERS": problem.layers,
        "CELL_ROWS": tiles.cell_rows,
        "CELL_UNITS": tiles.cell_units,
        "CELL_STAGES": tiles.cell_stages,
        "ROWS_OF_TILE": tiles.rows,
        "COLUMNS": tiles.columns,
        "STAGES": tiles.stages,
        "ROWS": tiles.there,
        "WHOLE": tiles.whole,
        "INNER": tiles.inner,
        "SCORES": tiles.scores,
        "BLOCKS": blocks,
        "NB": power_of_two(max(1, blocks)),
        "BEAMS": tiles.beams,
        "POSITIONS": tiles.positions,
        "ATTENDED": tiles.attended,
        "BROW": max(16, power_of_two(problem.size)),
        "PRECISION": precision,
        "MAX_SPIN": debug_spins(),
    }


def _launch(
    named: StepPointers,
    scale: float,
    fixed: dict[str, Any],
    problem: Problem,
    tiles: Tiles,
    counter: Tensor,
) -> None:
    pointers = Pointers(named, named.hidden_out)
    options: dict[str, Any] = {"num_warps": tiles.warps, "num_stages": 1}
    numbers = {
        "scale": scale,
        "batch": problem.rows,
        "beams": problem.beams,
        "sources": problem.source,
        "first_program": 0,
    }
    launches: dict[str, Launch] = {}

    def run(phase: str, layers: tuple[int, int], programs: int) -> None:
        launch = launches.get(phase)
        if launch is None:
            of_phase = Fixed({"PHASE": phase, **fixed}, options)
            launch = launches[phase] = STEP.bind(pointers, numbers, of_phase)
        launch((programs,), first_layer=layers[0], last_layer=layers[1], programs=programs)

    listed = list(phases(problem, tiles))
    with on_device(counter.device):
        if tiles.schedule == "persistent":
            # More programs than the largest phase has tiles would only wait.
            programs = min(tiles.programs, max(count for *_, count in listed))
            if interpreted():
                programs = INTERPRETED_PROGRAMS
            else:
                options["launch_cooperative_grid"] = True
            run("all", (0, problem.layers), programs)
        else:
            for phase, layer, count in listed:
                own = (layer, layer + 1) if phase in ("layer", "norm") else (0, 0)
                run(phase, own, count)
    if debug_spins() and int(counter[2]):
        raise RuntimeError(
            f"prepared_step, schedule {tiles.schedule!r}: a barrier was not reached by all "
            f"programs within {debug_spins()} reads; the results are wrong. Please report the "
            "sizes."
        )


def _check(
    inputs: Tensor,
    rows: Tensor | None,
    weights: JoinedWeights,
    state: DecoderState,
    memory: StepMemoryTensors | None,
    kind: str,
    summed: bool,
) -> None:
    """Raises ValueError that names the argument: a kernel would read what is not there."""
    if summed and weights.sentinel is not None and len(weights.biases) == 1:
        raise ValueError("prepared_step: the sentinel reads the inputs themselves; summed is True")
    layers, columns = weights.biases.shape
    batch, size = state.hidden.size(1), weights.ask.size(1)
    width, values = weights.context.shape
    fed = weights.first.size(1) - weights.inputs - size
    if columns != size * (4 if kind in ("lstm", "gru") else 1):
        raise ValueError(
            f"kind is {kind!r}; the weights were prepared for a cell of {columns // size} gates"
        )
    if (state.cell is None) == (kind == "lstm"):
        raise ValueError(f"state.cell must be given for 'lstm' and only there; kind is {kind!r}")
    if memory is None and values:
        raise ValueError(
            f"memory is None; expected one with values of {values} columns, as the weights have"
        )
    across = columns if summed else weights.inputs
    expected: list[tuple[str, Tensor | None, tuple[int, ...]]] = [
        ("inputs", inputs, (inputs.size(0) if rows is not None else batch, across)),
        ("rows", rows, (batch,)),
        ("state.hidden", state.hidden, (layers, batch, size)),
        ("state.cell", state.cell, (layers, batch, size)),
        ("state.feed", state.feed, (batch, fed)),
    ]
    if memory is not None:
        keys, plain, folded, padded = memory
        sources, source, _ = keys.shape
        if folded is not None and (weights.gate > 1 or weights.sentinel is not None):
            raise ValueError(
                "memory.folded: a context gate for each value, or a sentinel, stands between the "
                "values and the output; prepared for other weights, call step_memory anew"
            )
        queries = weights.queries or size
        expected += [
            ("memory.keys", keys, (sources, source, queries)),
            ("memory.values", plain, (sources, source, values)),
            ("memory.folded", folded, (sources, source, width)),
            ("memory.padded", padded, (sources, source)),
        ]
        if batch != sources * (batch // max(1, sources)):
            raise ValueError(
                f"state.hidden holds {batch} hypotheses, memory {sources} sources; expected as "
                "many hypotheses for each source"
            )
    for name, tensor, shape in expected:
        if tensor is not None and tensor.shape != shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}; expected {shape}")
    if (state.feed is None) != (fed == 0):
        raise ValueError(
            f"state.feed is {'None' if state.feed is None else 'given'}; the weights of layer 0 "
            f"are prepared for {fed} columns of it"
        )
