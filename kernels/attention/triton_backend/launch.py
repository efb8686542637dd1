"""Attention on NVIDIA GPUs: what is launched, over which blocks of memory."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import triton
from torch import Tensor

from kernels.attention.arguments import (
    Arguments,
    Options,
    by_head,
    problem_of,
    product_precision,
)
from kernels.attention.schedule import Tiles, chunk, pick
from kernels.attention.triton_backend.backward import columns_kernel, scores_kernel
from kernels.attention.triton_backend.forward import forward_kernel
from kernels.attention.triton_backend.pointers import (
    ColumnsPointers,
    ForwardPointers,
    Memory,
    ScoresPointers,
)
from kernels.common.chip import chip_of
from kernels.common.launching import Fixed, Grid, Kernel, Pointers, on_device
from kernels.common.masking import missing, without_padding
from kernels.common.precision import Precision

__all__ = ["backward", "forward"]

FORWARD = Kernel(forward_kernel, ForwardPointers)
SCORES = Kernel(scores_kernel, ScoresPointers)
COLUMNS = Kernel(columns_kernel, ColumnsPointers)
_OPTIONS = {"num_stages": 1, "enable_fp_fusion": True}
_cheapest = lru_cache(maxsize=1024)(pick)


def forward(
    arguments: Arguments,
    options: Options,
    dtypes: Precision,
    asked: str,
    return_weights: bool,
    keep_scores: bool,
) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
    """-> context (B, T, D), weights (B, N, T, S) or None, statistics (B, N, T, 2), and scores
    (B, N, T, S) float32 or None

    Queries go in chunks (see ``chunk``), but where tensors of that size are asked for.
    """
    steps, length = arguments.query.size(1), chunk(problem_of(arguments, options))
    if return_weights or keep_scores or length >= steps:
        return _forward(arguments, options, dtypes, asked, return_weights, keep_scores)
    parts = [
        _forward(_queries(arguments, slice(t, t + length)), options, dtypes, asked, False, False)
        for t in range(0, steps, length)
    ]
    contexts, _, statistics, _ = zip(*parts, strict=True)
    return torch.cat(contexts, 1), None, torch.cat(statistics, 2), None


def _forward(
    arguments: Arguments,
    options: Options,
    dtypes: Precision,
    asked: str,
    return_weights: bool,
    keep_scores: bool,
) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None]:
    given = _Given(arguments, options, dtypes, asked)
    problem, tile = given.problem, given.tiles.forward
    rows = (problem.batch, problem.heads, problem.steps)
    query = arguments.query
    context = query.new_empty(*query.shape[:2], arguments.values.size(2), dtype=dtypes.output)
    statistics = query.new_empty(*rows, 2, dtype=torch.float32)
    scores = query.new_empty(*rows, problem.sources, dtype=torch.float32)
    weights = scores
    if return_weights and (keep_scores or tile.part or dtypes.output != torch.float32):
        weights = torch.empty_like(scores, dtype=dtypes.output)
    tiles = problem.batch * problem.heads * triton.cdiv(problem.steps, tile.steps)
    launches: list[tuple[Grid, bool, bool]] = [((tiles,), True, True)]
    if tile.part:  # scores of parts of the sources, then the context in parts of its columns
        parts = max(1, triton.cdiv(problem.sources, tile.part))
        columns = max(1, triton.cdiv(problem.width, tile.width))
        launches = [((tiles, parts), True, False), ((tiles, columns), False, True)]
    pointers = ForwardPointers(
        *given.memory, context=context, scores=scores, weights=weights, statistics=statistics
    )
    bundle = Pointers(pointers, given.memory.query)
    numbers = given.numbers(triton.cdiv(problem.steps, tile.steps))
    constants, launch_options = given.blocks(tile)
    with on_device(query.device):
        for grid, of_scores, of_context in launches if statistics.numel() else ():
            own = {
                "WEIGHTS": return_weights and of_context,
                "NS": tile.narrow or tile.sources,
                "PART": tile.part,
                "SCORES": of_scores,
                "CONTEXT": of_context,
            }
            FORWARD.bind(bundle, numbers, Fixed(constants | own, launch_options))(grid)
    return context, weights if return_weights else None, statistics, scores if keep_scores else None


def _queries(arguments: Arguments, t: slice) -> Arguments:
    """The arguments of the queries t alone."""
    coverage, centre = (
        None if tensor is None else tensor[:, t]
        for tensor in (arguments.coverage, arguments.centre)
    )
    return arguments._replace(query=arguments.query[:, t], coverage=coverage, centre=centre)


def backward(
    arguments: Arguments,
    options: Options,
    dtypes: Precision,
    asked: str,
    statistics: Tensor,
    scores: Tensor | None,
    d_context: Tensor | None,
    d_weights: Tensor | None,
) -> tuple[Tensor | None, ...]:
    """Gradients of all arguments; of those that are None, None. Without ``scores`` of the forward
    pass they are computed again.

    Queries go in chunks, so that the (B, N, chunk, S) gradients of the scores take no more room
    than the arguments do.
    """
    if d_context is None:
        shape = (*arguments.query.shape[:2], arguments.values.size(2))
        d_context = arguments.query.new_zeros(shape, dtype=dtypes.output)
    sums = _Sums(arguments, options, dtypes)
    length = chunk(problem_of(arguments, options))
    for start in range(0, arguments.query.size(1), length):
        t = slice(start, start + length)
        _add_chunk(
            _queries(arguments, t), options, dtypes, asked,
            statistics[:, :, t].contiguous(),
            None if scores is None else scores[:, :, t].contiguous(), d_context[:, t],
            None if d_weights is None else d_weights[:, :, t], sums, t,
        )  # fmt: skip
    return sums.collected()


class _Given:
    """The arguments as the kernels take them."""

    def __init__(
        self,
        arguments: Arguments,
        options: Options,
        dtypes: Precision,
        asked: str,
        kept: bool = False,
    ) -> None:
        query, keys, values, weight, bias, coverage, coverage_weight, centre = arguments
        additive, device = weight is not None, query.device
        product = product_precision(dtypes, additive)
        self.problem = problem_of(arguments, options)
        self.tiles: Tiles = _cheapest(self.problem, chip_of(device), asked, kept)
        self.query, self.keys = query.to(product).contiguous(), keys.to(product).contiguous()
        self.values = values.to(product).contiguous()
        lengths, mask = options.lengths, options.mask
        if lengths is not None:
            lengths = lengths.to(device, torch.int32).contiguous()
        if mask is not None:
            mask = mask.contiguous().view(torch.uint8)
        optional = (
            None if weight is None else weight.float().contiguous(),
            *(None if t is None else t.contiguous() for t in (bias, coverage, coverage_weight)),
            None if centre is None else centre.float().contiguous(),
            lengths,
            mask,
        )
        self.memory = Memory(self.query, self.keys, self.values, *optional)
        self.options = options
        self.constants: dict[str, Any] = {
            "N": options.heads,
            "H": self.problem.size,
            "D": self.problem.width,
            "ADDITIVE": additive,
            "BIAS": bias is not None,
            "COVERED": coverage is not None,
            "WINDOW": centre is not None,
            "LENGTHS": lengths is not None,
            "MASKED": mask is not None,
        }

    def numbers(self, tiles: int, **others: int) -> dict[str, int | float]:
        """The numbers that are not compile-time constants; ``tiles``: tiles of queries."""
        return {
            "scale": self.options.scale,
            "window": self.options.window,
            "steps": self.problem.steps,
            "sources": self.problem.sources,
            "tiles": tiles,
            **others,
        }

    def blocks(self, tile: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The constants, and Triton's options."""
        constants = self.constants | {
            "BT": tile.steps,
            "BS": tile.sources,
            "BH": tile.size,
            "BD": tile.width,
            "PRECISION": product_of_float32(self.query),
        }
        return constants, {"num_warps": tile.warps, **_OPTIONS}


def product_of_float32(tensor: Tensor) -> str:
    """float32 products are three of TF32, which leave out no more than 2^-22 of a term; one where
    torch allows TF32."""
    tf32 = tensor.is_cuda and torch.backends.cuda.matmul.fp32_precision == "tf32"
    return "tf32" if tf32 else "tf32x3"


class _Sums:
    """The gradients while chunks of queries add to them. What a single chunk makes is taken as it
    is: no zeros are filled in and added to."""

    def __init__(self, arguments: Arguments, options: Options, dtypes: Precision) -> None:
        query, keys, _, weight, _, coverage, coverage_weight, centre = arguments
        self.arguments, self.dtypes = arguments, dtypes

        def zeros(tensor: Tensor | None, *shape: int) -> Tensor | None:
            if tensor is None:
                return None
            return torch.zeros(shape or tensor.shape, device=query.device, dtype=torch.float32)

        vectors = (query.size(0), query.size(2))  # (B, N*H), summed over the batch in the end
        self.d_query: Tensor | None = None
        self.d_values: Tensor | None = None
        self.d_keys = None if weight is None else zeros(keys)
        self.d_weight = zeros(weight, *vectors)
        self.d_coverage, self.d_centre = zeros(coverage), zeros(centre)
        self.d_coverage_weight = zeros(coverage_weight, *vectors)

    def put_query(self, t: slice, d_query: Tensor) -> None:
        """Store the gradient of the queries t."""
        query = self.arguments.query
        if d_query.size(1) == query.size(1):
            self.d_query = d_query
            return
        if self.d_query is None:
            self.d_query = torch.empty_like(query, memory_format=torch.contiguous_format)
        self.d_query[:, t] = d_query

    def add_values(self, d_values: Tensor) -> None:
        self.d_values = _total(self.d_values, d_values)

    def add_keys(self, d_keys: Tensor) -> None:
        self.d_keys = _total(self.d_keys, d_keys)

    def collected(self) -> tuple[Tensor | None, ...]:
        """Gradients of all arguments; None: zero."""
        d_bias = None
        if self.arguments.bias is not None and self.d_query is not None:
            d_bias = self.d_query.sum((0, 1), dtype=self.dtypes.state)
        return (
            self.d_query,
            self.d_keys,
            self.d_values,
            None if self.d_weight is None else self.d_weight.sum(0),
            d_bias,
            self.d_coverage,
            None if self.d_coverage_weight is None else self.d_coverage_weight.sum(0),
            self.d_centre,
        )


def _total(total: Tensor | None, part: Tensor) -> Tensor:
    """In float32, but for a single part."""
    return part if total is None else total.float() + part


def _add_chunk(
    arguments: Arguments,
    options: Options,
    dtypes: Precision,
    asked: str,
    statistics: Tensor,
    scores: Tensor | None,
    d_context: Tensor,
    d_weights: Tensor | None,
    sums: _Sums,
    t: slice,
) -> None:
    """Adds the gradients of the queries t, which ``arguments`` hold."""
    given = _Given(arguments, options, dtypes, asked, scores is not None)
    problem, tile, heads = given.problem, given.tiles.scores, options.heads
    # Room for whole blocks of the second kernel, wherever they begin.
    columns = given.tiles.columns
    rows = _up(problem.steps, max(16, columns.steps))
    width = _up(problem.sources + 2 * columns.sources, 16)
    square = (problem.batch, heads, rows, width)
    covered = arguments.coverage is not None
    shares, d_scores, *rest = statistics.new_zeros(3 if covered else 2, *square)
    d_coverage = rest[0] if covered else None
    d_centre = (
        statistics.new_zeros(square[:2] + (problem.steps,)) if given.constants["WINDOW"] else None
    )
    d_context = d_context.to(given.values.dtype).contiguous()
    tiles = triton.cdiv(problem.steps, tile.steps)
    if not problem.sources or not statistics.numel():
        return
    pointers = ScoresPointers(
        *given.memory,
        statistics=statistics,
        scores=scores,
        d_context=d_context,
        d_weights=None if d_weights is None else d_weights.contiguous(),
        shares=shares,
        d_scores=d_scores,
        d_coverage=d_coverage,
        d_centre=d_centre,
    )
    constants, launch_options = given.blocks(tile)
    constants |= {"WEIGHTS": d_weights is not None, "KEPT": scores is not None}
    numbers = given.numbers(tiles, width=width, rows=rows)
    with on_device(statistics.device):
        SCORES.bind(Pointers(pointers, statistics), numbers, Fixed(constants, launch_options))(
            (problem.batch * heads * tiles,)
        )
    inside = (slice(None), slice(None), slice(problem.steps), slice(problem.sources))
    product = given.values.dtype
    by_row = by_head(d_context, heads)  # (B, N, T, D)
    d_values = shares[inside].to(product).transpose(2, 3) @ by_row  # (B, N, S, D)
    sums.add_values(d_values.transpose(1, 2).flatten(2))
    if d_coverage is not None and sums.d_coverage is not None:
        sums.d_coverage[:, t] = d_coverage[inside].sum(1)
    if d_centre is not None and sums.d_centre is not None:
        sums.d_centre[:, t] = d_centre.sum(1)
    if arguments.weight is None:
        _dot_gradients(given, options, d_scores[inside], sums, t)
        return
    d_query = torch.zeros_like(given.query, dtype=torch.float32)
    chosen = {name: given.constants[name] for name in ("N", "H", *_FLAGS)}
    memory = given.memory
    assert memory.weight is not None  # additive scores
    assert sums.d_keys is not None and sums.d_weight is not None
    columns_pointers = ColumnsPointers(
        memory.query,
        memory.keys,
        memory.weight,
        memory.bias,
        memory.coverage,
        memory.coverage_weight,
        memory.centre,
        memory.lengths,
        memory.mask,
        d_scores=d_scores.view(torch.int64),
        d_query=d_query,
        d_keys=sums.d_keys,
        d_weight=sums.d_weight,
        d_coverage_weight=sums.d_coverage_weight,
    )
    del numbers["tiles"]
    chosen |= {"BT": columns.steps, "BS": columns.sources, "BH": columns.size}
    grid = (problem.batch * heads, triton.cdiv(problem.size, columns.size))
    with on_device(statistics.device):
        COLUMNS.bind(
            Pointers(columns_pointers, statistics),
            numbers,
            Fixed(chosen, {"num_warps": columns.warps, **_OPTIONS}),
        )(grid)
    sums.put_query(t, d_query)


_FLAGS = ("BIAS", "COVERED", "WINDOW", "LENGTHS", "MASKED")


def _dot_gradients(
    given: _Given, options: Options, d_scores: Tensor, sums: _Sums, t: slice
) -> None:
    """Gradients of dot scores: two batched products. Padding may be NaN, and 0 * NaN is NaN."""
    heads = options.heads
    keys = without_padding(given.keys, missing(options.lengths, options.mask, given.keys))
    d_scores = (d_scores * options.scale).to(keys.dtype)  # (B, N, T, S)
    d_query = d_scores @ by_head(keys, heads)
    d_keys = d_scores.transpose(2, 3) @ by_head(given.query, heads)
    sums.put_query(t, d_query.transpose(1, 2).flatten(2))
    sums.add_keys(d_keys.transpose(1, 2).flatten(2))


def _up(number: int, block: int) -> int:
    return -(-number // block) * block
