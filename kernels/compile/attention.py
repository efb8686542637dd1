"""The kernels of attention, as the rule of ``attention/schedule.py`` picks them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from kernels.attention.arguments import Problem
from kernels.attention.schedule import Tile, Tiles, columns_price, forward_price, pick
from kernels.bench.attention import SHAPES
from kernels.compile.kernel import DTYPES, Kernel
from kernels.recurrence.schedule import CHIPS

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
PASSES = ("forward", "scores", "columns")


class Configuration(NamedTuple):
    """What a kernel is compiled for."""

    name: str  # of PASSES
    problem: Problem
    tiles: Tiles
    dtype: str
    options: bool = False  # ragged, masked, with coverage, window and weights

    @property
    def key(self) -> tuple[Any, ...]:
        """Batch and lengths are no constants of the kernel: they only led to the tile."""
        tile = getattr(self.tiles, self.name)
        problem = self.problem._replace(batch=0, steps=0, sources=0)
        return (self.name, problem, tile, self.dtype, self.options)


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
                tiles = pick(problem, CHIPS[arch])
                for name in PASSES if additive else PASSES[:2]:
                    one = Configuration(name, problem, tiles, dtype, options)
                    found.setdefault(one.key, one)
    return list(found.values())


def kernel(configuration: Configuration, arch: int) -> Kernel:
    from kernels.attention.triton_backend.backward import columns_kernel, scores_kernel
    from kernels.attention.triton_backend.forward import forward_kernel

    name, problem, tiles, dtype, options = configuration
    function = {"forward": forward_kernel, "scores": scores_kernel, "columns": columns_kernel}[name]
    tile = getattr(tiles, name)
    constants = _constants(configuration)
    constants = {k: v for k, v in constants.items() if k in function.arg_names}
    price = None
    if name == "columns":
        price = columns_price(tile, problem, CHIPS[arch])
    elif problem.additive:
        price = forward_price(tile, problem, CHIPS[arch])
    return Kernel(
        label=(
            f"{name:8} {'additive' if problem.additive else 'dot':8} {problem.size:4} {dtype:5} "
            f"{'options' if options else '':7} {' '.join(map(str, tile[:-1]))}"
        ),
        function=function,
        constants=constants,
        types={name: _type(name, dtype) for name in function.arg_names if name not in constants},
        warps=tile.warps,
        stages=1,
        cooperative=False,
        shared=None,
        price=price,
        facts={**problem._asdict(), "pass": name, "tile": tile._asdict(), "options": options}
        | {"dtype": dtype},
    )


def _constants(configuration: Configuration) -> dict[str, Any]:
    name, problem, tiles, _, options = configuration
    tile = getattr(tiles, name)
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
        "WEIGHTS": options,
        "BT": tile.steps,
        "BS": tile.sources,
        "BH": tile.size,
        "PRECISION": "tf32x3",
    }
    if isinstance(tile, Tile):
        constants["BD"] = tile.width
    return constants


def _type(name: str, dtype: str) -> str:
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
