"""One step of search, as ``decoder/triton_backend/step/tiles.py`` picks its kernels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from kernels.common.chip import CHIPS
from kernels.compile.kernel import DTYPES, Kernel
from kernels.decoder.triton_backend.step import tiles as rule
from kernels.decoder.triton_backend.step.tiles import Problem

# (B, K, S, H), with E = A = Q = D = H
BENCH = [(1, 1, 50, 1024), (32, 5, 50, 512)]
SHAPE_SETS: dict[str, list[tuple[int, int, int, int]]] = {
    "quick": BENCH,
    "bench": BENCH,
    "all": [
        *BENCH,
        *((b, k, s, size) for size in (256, 500, 512, 1024) for b, k, s in (
            (1, 1, 50), (1, 5, 50), (2, 1, 20), (64, 1, 50), (64, 5, 196), (4, 20, 700),
        )),
    ],
}  # fmt: skip
KINDS = {"quick": ("lstm",), "bench": ("lstm", "gru"), "all": ("lstm", "gru", "tanh")}


def kernels(arch: int, shapes: str, dtypes: Iterable[str], options: bool) -> list[Kernel]:
    """Every kernel that the rule picks for the shapes of ``SHAPE_SETS[shapes]``, each once; those
    of the step schedule, too, but for the quick ones."""
    found: dict[tuple[Any, ...], Kernel] = {}
    schedules = ("persistent",) if shapes == "quick" else ("persistent", "step")
    for kind in KINDS[shapes]:
        for shape in SHAPE_SETS[shapes]:
            for dtype in dtypes:
                for schedule in schedules:
                    for one in _kernels(kind, shape, dtype, schedule, options, arch):
                        found.setdefault((dtype, str(one.constants)), one)
    return list(found.values())


def _kernels(
    kind: str, shape: tuple[int, int, int, int], dtype: str, schedule: str, options: bool, arch: int
) -> Iterator[Kernel]:
    """``options``: two layers with norm and residual, a context gate of the values' width, a
    sentinel, the embedding's product inside, and a state in float32 as under autocast."""
    from kernels.decoder.triton_backend.step.kernel import step_kernel
    from kernels.decoder.triton_backend.step.launch import Options, constants

    batch, beams, source, size = shape
    problem = Problem(
        kind, batch * beams, beams, source, size, size, size, size, True, size if options else 0,
        True, 2 if options else 1, size if options else 0, size, not options, options, options,
        DTYPES[dtype], 4 if options else DTYPES[dtype],
    )  # fmt: skip
    tiles = rule.pick(problem, CHIPS[arch], schedule)
    chosen = Options(True, options, options, not options, True, True, size, 2 if options else 0)
    fixed = constants(problem, tiles, chosen, "ieee") | {"MAX_SPIN": 0}
    listed = ["all"]
    if schedule == "step":
        listed = list(dict.fromkeys(name for name, *_ in rule.phases(problem, tiles)))
    for phase in listed:
        yield Kernel(
            label=(
                f"step     {kind:4} {size:4} {dtype:5} {phase:7} N {batch * beams:<4} "
                f"{tiles.cell_rows}x{tiles.cell_units} {tiles.rows}x{tiles.columns}"
            ),
            function=step_kernel,
            constants=fixed | {"PHASE": phase},
            types={name: _type(name, dtype, options) for name in step_kernel.arg_names},
            warps=tiles.warps,
            stages=1,
            cooperative=schedule == "persistent",
            shared=None,
            price=rule.price(tiles, problem, CHIPS[arch]) if phase == "all" else None,
            facts={**problem._asdict(), "tiles": tiles._asdict(), "phase": phase, "step": True}
            | {"options": options, "dtype": dtype, "backward": False},
        )


def _type(name: str, product: str, options: bool) -> str:
    always = {"rows": "*i64", "padded": "*i1", "counter": "*i32", "status": "*i32", "scale": "fp32"}
    if name in always:
        return always[name]
    if name in ("biases", "score", "gate_bias", "gain", "shift", "parts", "sums", "gates",
                "sentinel_bias", "opened"):  # fmt: skip
        return "*fp32"
    if name == "contexts" or (name == "shown" and options):
        return "*fp32"
    if name in ("first", "deep", "ask", "context_weight", "sentinel_weight", "sentinel_key"):
        return f"*{product}"
    tensors = (
        "inputs", "hidden", "cell", "feed", "keys", "values", "hidden_out", "cell_out", "shown",
        "alpha", "vectors",
    )  # fmt: skip
    if name in tensors:
        return "*fp32" if options else f"*{product}"
    return "i32"
