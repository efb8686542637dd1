"""What the launches hand to the kernels, by the names of their parameters."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Memory(NamedTuple):
    """The arguments of an attention as every kernel takes them, which explain the shapes; None:
    absent."""

    query: Tensor
    keys: Tensor
    values: Tensor
    weight: Tensor | None
    bias: Tensor | None
    coverage: Tensor | None
    coverage_weight: Tensor | None
    centre: Tensor | None
    lengths: Tensor | None
    mask: Tensor | None


class ForwardPointers(NamedTuple):
    """Arguments of ``forward.py``'s kernel: ``Memory``, then what it writes."""

    query: Tensor
    keys: Tensor
    values: Tensor
    weight: Tensor | None
    bias: Tensor | None
    coverage: Tensor | None
    coverage_weight: Tensor | None
    centre: Tensor | None
    lengths: Tensor | None
    mask: Tensor | None
    context: Tensor
    scores: Tensor
    weights: Tensor
    statistics: Tensor


class ScoresPointers(NamedTuple):
    """Arguments of ``backward.py``'s ``scores_kernel``: ``Memory``, then inputs and outputs."""

    query: Tensor
    keys: Tensor
    values: Tensor
    weight: Tensor | None
    bias: Tensor | None
    coverage: Tensor | None
    coverage_weight: Tensor | None
    centre: Tensor | None
    lengths: Tensor | None
    mask: Tensor | None
    statistics: Tensor
    scores: Tensor | None
    d_context: Tensor
    d_weights: Tensor | None
    shares: Tensor
    d_scores: Tensor
    d_coverage: Tensor | None
    d_centre: Tensor | None


class ColumnsPointers(NamedTuple):
    """Arguments of ``backward.py``'s ``columns_kernel``: ``Memory`` without the values, then
    inputs and outputs."""

    query: Tensor
    keys: Tensor
    weight: Tensor
    bias: Tensor | None
    coverage: Tensor | None
    coverage_weight: Tensor | None
    centre: Tensor | None
    lengths: Tensor | None
    mask: Tensor | None
    d_scores: Tensor
    d_query: Tensor
    d_keys: Tensor
    d_weight: Tensor
    d_coverage_weight: Tensor | None
