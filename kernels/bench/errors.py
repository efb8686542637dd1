"""When a contender's result is too wrong to be timed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from torch import Tensor

LARGEST = 0.25  # zeros err by 1: no bound may come near that


def largest_error(found: Sequence[Tensor | None], truth: Sequence[Tensor | None]) -> float:
    """The largest relative norm of a difference; results that one side lacks are left out."""
    pairs = [(a, b) for a, b in zip(found, truth, strict=True) if a is not None and b is not None]
    return worst(((a.double() - b).norm() / b.norm()).item() for a, b in pairs)


def worst(errors: Iterable[float]) -> float:
    """The largest of ``errors``; a NaN is the largest of all."""
    found = list(errors)
    return math.nan if any(math.isnan(error) for error in found) else max(found)


def allowed(eps: float, peer: float) -> float:
    """The error allowed to a kernel in a dtype of ``eps`` where another implementation errs by
    ``peer`` in the same dtype on the same numbers: how well the problem is conditioned decides."""
    bound = 4 * peer + 4 * eps
    return bound if bound <= LARGEST else LARGEST  # also where it is a NaN
