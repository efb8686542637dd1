"""The attention decoder's kernels, as ``decoder/triton_backend/tiles.py`` picks them, with those of
a step of search."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from kernels.common.chip import CHIPS
from kernels.compile import decoder_step
from kernels.compile.kernel import DTYPES, Kernel
from kernels.decoder.triton_backend import tiles as rule
from kernels.decoder.triton_backend.tiles import Problem, Tiles

# (B, T, S, H), with E = A = Q = D = H
BENCH = [(128, 30, 30, 512), (64, 25, 25, 512), (32, 60, 60, 1024), (1, 1, 50, 1024)]
SHAPE_SETS: dict[str, list[tuple[int, int, int, int]]] = {
    "quick": [(128, 30, 30, 512), (1, 1, 50, 1024)],
    "bench": BENCH,
    "all": [
        *BENCH,
        *((b, t, 50, size) for size in (64, 256, 500, 1024) for b in (8, 64) for t in (1, 9)),
    ],
}  # fmt: skip
KINDS = {"quick": ("lstm",), "bench": ("lstm", "gru"), "all": ("lstm", "gru", "tanh")}


def kernels(arch: int, shapes: str, dtypes: Iterable[str], options: bool) -> list[Kernel]:
    """Every kernel that the rule picks for the shapes of ``SHAPE_SETS[shapes]``, each once."""
    found: dict[tuple[Any, ...], Kernel] = {}
    for kind in KINDS[shapes]:
        for batch, steps, source, size in SHAPE_SETS[shapes]:
            for dtype in dtypes:
                for backward in (False, True)[: 1 if steps == 1 else 2]:
                    plain = Problem(
                        kind, batch, size, size, size, size, source, 2 if options else 1, True,
                        DTYPES[dtype], backward, steps,
                    )  # fmt: skip
                    for problem in (plain, plain._replace(gate=size, sentinel=True)):
                        for asked in ("persistent", "step")[: 2 if steps == 1 else 1]:
                            tiles = rule.pick(problem, CHIPS[arch], asked)
                            for one in _kernels(problem, tiles, dtype, options, arch):
                                key = (dtype, backward, str(one.constants))
                                found.setdefault(key, one)
    of_steps = decoder_step.kernels(arch, shapes, dtypes, options)
    return [*found.values(), *(_keys_backward(dtype) for dtype in dtypes), *of_steps]


def _kernels(
    problem: Problem, tiles: Tiles, dtype: str, options: bool, arch: int
) -> Iterator[Kernel]:
    """The loop's, one for each phase in the step schedule."""
    from kernels.decoder.triton_backend.backward import backward_kernel
    from kernels.decoder.triton_backend.forward import forward_kernel
    from kernels.decoder.triton_backend.launch import (
        Options,
        backward_phases,
        constants,
        forward_phases,
    )

    norms = -1 if options else 0
    chosen = Options(True, norms, options, options, options, True, shown=options, d_alpha=options)
    if problem.steps == 1:
        chosen = chosen._replace(save=False)
    fixed = constants(problem, tiles, chosen, "ieee") | {"MAX_SPIN": 0}
    function = backward_kernel if problem.backward else forward_kernel
    phases = ["all"]
    if tiles.schedule == "step":
        listed = (backward_phases if problem.backward else forward_phases)(problem, tiles, norms)
        phases = list(dict.fromkeys(name for name, *_ in listed))
    cells = f"{tiles.cell_rows}x{tiles.cell_units}"
    for phase in phases:
        yield Kernel(
            label=(
                f"{'backward' if problem.backward else 'forward':8} {problem.kind:4} "
                f"{problem.size:4} {dtype:5} {phase:7} {cells:>6} {tiles.rows}x{tiles.columns}"
                f"{' sentinel' if problem.sentinel else ''}"
            ),
            function=function,
            constants=fixed | {"PHASE": phase},
            types={name: _type(name, dtype, options) for name in function.arg_names},
            warps=tiles.warps,
            stages=1,
            cooperative=tiles.schedule == "persistent",
            shared=None,
            price=rule.price(tiles, problem, CHIPS[arch]),
            facts={**problem._asdict(), "tiles": tiles._asdict(), "phase": phase}
            | {"options": options, "dtype": dtype},
        )


def _keys_backward(dtype: str) -> Kernel:
    from kernels.decoder.triton_backend.attend import keys_backward_kernel

    types = {
        name: "i32" if name in ("batch", "steps", "sources") else "*fp32"
        for name in keys_backward_kernel.arg_names
    }
    return Kernel(
        label=f"keys backward 512 {dtype}",
        function=keys_backward_kernel,
        constants={"Q": 512, "RAGGED": True, "BS": 32, "BQ": 64},
        types=types | {"keys": f"*{dtype}", "lengths": "*i32"},
        warps=4,
        stages=3,
        cooperative=False,
        shared=None,
        price=None,
        facts={"kind": "keys", "size": 512, "dtype": dtype, "phase": "keys", "backward": True},
    )


def _type(name: str, product: str, options: bool) -> str:
    """With ``options``, as under autocast: results, masks and arriving gradients in float32."""
    always = (
        "biases", "carry", "cells", "gain", "shift", "statistics", "queries", "score", "alpha",
        "d_alpha", "d_top", "d_scores", "d_skip", "gate_bias", "betas", "sentinel_bias",
        "sentinel_keys", "sentinel_alpha", "d_sentinel_scores", "d_shown", "d_hidden", "d_cell",
        "d_feed",
    )  # fmt: skip
    if name in always:
        return "*fp32"
    if name in ("lengths", "counter", "status"):
        return "*i32"
    if name == "scale":
        return "fp32"
    if name in ("between", "output_mask", "raw", "vectors", "d_vectors") and options:
        return "*fp32"
    tensors = (
        "weight_first", "weight_deep", "gates", "states", "shown", "between",
        "query_weight", "keys", "values", "contexts", "output_weight", "output_mask", "raw",
        "sentinel_weight", "sentinel_gates", "sentinels", "sentinel_key", "gate_weight", "ungated",
        "d_betas", "d_sentinel_gates", "d_sentinel_keys", "vectors", "fed", "d_vectors", "d_raw",
        "d_contexts", "d_queries", "d_gates",
    )  # fmt: skip
    return f"*{product}" if name in tensors else "i32"
