"""What every backend of attention is given. Shapes: N heads; H and D are those of all heads."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kernels.common.precision import Precision


class Arguments(NamedTuple):
    """What has a gradient."""

    query: Tensor  # (B, T, H)
    keys: Tensor  # (B, S, H)
    values: Tensor  # (B, S, D)
    weight: Tensor | None  # (H,); None: dot scores
    bias: Tensor | None  # (H,)
    coverage: Tensor | None  # (B, T, S)
    coverage_weight: Tensor | None  # (H,)
    centre: Tensor | None  # (B, T)


class Options(NamedTuple):
    """What has none."""

    lengths: Tensor | None  # (B,)
    mask: Tensor | None  # (B, S), True: there is a source
    scale: float  # of the scores
    window: float  # sources seen on each side of the centre; 0: all
    heads: int  # N


class Problem(NamedTuple):
    """Sizes that decide about tiles; H and D are those of one head."""

    batch: int
    steps: int
    sources: int
    heads: int
    size: int
    width: int
    bytes: int  # of an element
    additive: bool
    covered: bool = False


def problem_of(arguments: Arguments, options: Options) -> Problem:
    query, keys, values = arguments[:3]
    return Problem(
        query.size(0), query.size(1), keys.size(1), options.heads,
        query.size(2) // options.heads, values.size(2) // options.heads,
        query.element_size(), arguments.weight is not None, arguments.coverage is not None,
    )  # fmt: skip


def product_precision(dtypes: Precision, additive: bool) -> torch.dtype:
    """Additive attention has no product worth autocast's rounding."""
    return dtypes.product if not additive else dtypes.output


def by_head(tensor: Tensor, heads: int) -> Tensor:
    """(B, T, N*H) -> (B, N, T, H), a view."""
    return tensor.unflatten(2, (heads, -1)).transpose(1, 2)
