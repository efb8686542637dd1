"""The kernels of attention, as the rule of ``attention/schedule.py`` picks them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from kernels.attention.arguments import Problem
from kernels.attention.schedule import (
    Columns,
    Tile,
    Tiles,
    again_price,
    columns_price,
    forward_price,
    keeps_scores,
    pick,
)
from kernels.bench.attention import SHAPES
from kernels.common.chip import CHIPS
from kernels.compile.kernel import DTYPES, Kernel

SHAPE_SETS: dict[str, list[tuple[int, int, int, int]]] = {  # (B, T, S, H)
    "quick": [SHAPES[0]],
    "bench": list(SHAPES),
    "all": [
        *SHAPES,
        *(
            (batch, steps, sources, size)
            for size in (24, 64, 128, 256, 512, 768, 1024, 2048)
            for batch in (1, 8, 64)
            for steps in (1, 2, 5, 8, 30, 300)
            for sources in (30, 300)
        ),
    ],
}
PASSES = ("forward", "context", "scores", "columns")


class Configuration(NamedTuple):
    """What a kernel is compiled for."""

    name: str  # of PASSES
    problem: Problem
    tiles: Tiles
    dtype: str
    options: bool = False  # ragged, masked, with coverage, window and weights
    kept: bool = False  # the backward pass has the scores

    @property
    def key(self) -> tuple[Any, ...]:
        """Batch and lengths are no constants of the kernel: they only led to the tile."""
        problem = self.problem._replace(batch=0, steps=0, sources=0)
        return (self.name, problem, self.tile, self.dtype, self.options, self.kept)

    @property
    def tile(self) -> Tile | Columns:
        """A context of its own has the tile of the scores before it."""
        return getattr(self.tiles, "forward" if self.name == "context" else self.name)


def kernels(arch: int, shapes: str, dtypes: Iterable[str], options: bool) -> list[Kernel]:
    """Every kernel that the rule picks for the shapes of ``SHAPE_SETS[shapes]``, each once."""
    return [kernel(one, arch) for one in configurations(arch, SHAPE_SETS[shapes], dtypes, options)]


def configurations(
    arch: int, shapes: Iterable[tuple[int, int, int, int]], dtypes: Iterable[str], options: bool
) -> list[Configuration]:
    """What the rule picks for (batch, steps, sources, size), each kernel once."""
    found: dict[tuple[Any, ...], Configuration] = {}
    for batch, steps, sources, size in shapes:
        for dtype in dtypes:
            for additive in (True, False):
                problem = Problem(
                    batch, steps, sources, 1, size, size, DTYPES[dtype], additive,
                    covered=additive and options,
                )  # fmt: skip
                kept = keeps_scores(problem)
                tiles = pick(problem, CHIPS[arch], kept=kept)
                for name in PASSES:
                    if name == "context" and not tiles.forward.part:
                        continue
                    if name == "columns" and not additive:
                        continue
                    one = Configuration(name, problem, tiles, dtype, options, kept)
                    found.setdefault(one.key, one)
    return list(found.values())


def kernel(configuration: Configuration, arch: int) -> Kernel:
    from kernels.attention.triton_backend.backward import columns_kernel, scores_kernel
    from kernels.attention.triton_backend.forward import forward_kernel

    name, problem, _, dtype, options, _ = configuration
    function = {"scores": scores_kernel, "columns": columns_kernel}.get(name, forward_kernel)
    tile = configuration.tile
    constants = _constants(configuration)
    constants = {k: v for k, v in constants.items() if k in function.arg_names}
    return Kernel(
        label=(
            f"{name:8} {'additive' if problem.additive else 'dot':8} {problem.size:4} {dtype:5} "
            f"{'options' if options else '':7} {' '.join(map(str, tile))}"
        ),
        function=function,
        constants=constants,
        types={n: _type(n, dtype, name) for n in function.arg_names if n not in constants},
        warps=tile.warps,
        stages=1,
        cooperative=False,
        shared=None,
        price=_price(configuration, arch),
        facts={**problem._asdict(), "pass": name, "tile": tile._asdict(), "options": options}
        | {"dtype": dtype},
    )


def _price(configuration: Configuration, arch: int) -> float | None:
    """Predicted microseconds; of a forward pass in two launches both, at the first."""
    name, problem, _, _, _, kept = configuration
    tile, chip = configuration.tile, CHIPS[arch]
    if isinstance(tile, Columns):
        return columns_price(tile, problem, chip)
    if not problem.additive or name == "context":
        return None
    again = name == "scores" and kept
    return again_price(tile, problem, chip) if again else forward_price(tile, problem, chip)


def _constants(configuration: Configuration) -> dict[str, Any]:
    name, problem, _, _, options, kept = configuration
    tile = configuration.tile
    constants: dict[str, Any] = {
        "N": problem.heads,
        "H": problem.size,
        "D": problem.width,
        "ADDITIVE": problem.additive,
        "BIAS": problem.additive and options,
        "COVERED": problem.covered,
        "WINDOW": options,
        "LENGTHS": True,
        "MASKED": options,
        "WEIGHTS": options and not (name == "forward" and isinstance(tile, Tile) and tile.part),
        "KEPT": kept,
        "BT": tile.steps,
        "BS": tile.sources,
        "BH": tile.size,
        "PRECISION": "tf32x3",
    }
    if isinstance(tile, Tile):
        constants |= {
            "BD": tile.width,
            "NS": tile.narrow or tile.sources,
            "PART": tile.part,
            "SCORES": name != "context",
            "CONTEXT": name == "context" or not tile.part,
        }
    return constants


def _type(name: str, dtype: str, kernel: str) -> str:
    if kernel == "columns" and name in ("d_scores", "d_query"):
        return "*i64" if name == "d_scores" else "*fp32"
    if name in ("scale", "window"):
        return "fp32"
    if name in ("steps", "sources", "tiles", "width", "rows"):
        return "i32"
    if name == "lengths":
        return "*i32"
    if name == "mask":
        return "*u8"
    of_dtype = (
        "query", "keys", "values", "bias", "coverage", "coverage_weight", "context", "weights",
        "d_context", "d_weights", "d_query",
    )  # fmt: skip
    return f"*{dtype}" if name in of_dtype else "*fp32"
