"""tanh(q + k) of all pairs of queries and keys, without a tanh for each.

With r = 1 / (1 + exp(2q) exp(2k)):

    tanh(q + k) = 1 - 2 r,        its slope 1 - tanh^2 = 4 (r - r^2)

so that the exponentials are made once for each query and each key, and a pair costs a product, a
sum and a reciprocal: a tenth of a tanh on a CPU. Where exp(2q) exp(2k) could leave float32's range
(|q| or |k| above 20), and on other devices, where looking at the values would make the program wait
for them, r = sigmoid(-2q - 2k), which takes twice as long and has no such bounds.

The error of r is at most 4 units of rounding: a score, which sums H terms v_h tanh, is off by at
most 8 eps sum |v_h| before the rounding of the sum itself.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_RANGE = 20.0  # of q and of k: exp(2 * 40) is 5e34, float32 ends at 3e38


class Pairs(NamedTuple):
    """Made by ``pair``: what ``remainders`` broadcasts."""

    query: Tensor
    keys: Tensor
    ones: Tensor | None  # (H,); None: query and keys are -2q and -2k, to be summed


def factors(x: Tensor) -> Tensor | None:
    """exp(2x) of queries or keys; None where the values, or the device, forbid it."""
    return torch.exp(2 * x) if x.device.type == "cpu" and _within(x) else None


def pair(query: Tensor, keys: Tensor, key_factors: Tensor | None) -> Pairs:
    """query (..., T, H), keys (..., S, H), and ``factors`` of the keys, made once for any number of
    queries."""
    query_factors = None if key_factors is None else factors(query)
    if key_factors is None or query_factors is None:
        return Pairs(-2 * query, -2 * keys, None)
    return Pairs(query_factors, key_factors, query.new_ones(query.size(-1)))


def remainders(query: Tensor, keys: Tensor, ones: Tensor | None, out: Tensor) -> Tensor:
    """r of all pairs, in ``out``; query and keys: parts of ``Pairs`` that broadcast to its
    shape."""
    if ones is None:
        return torch.add(query, keys, out=out).sigmoid_()
    return torch.addcmul(ones, query, keys, out=out).reciprocal_()


def slopes_(r: Tensor) -> Tensor:
    """r - r^2, a fourth of the slope of tanh, in place."""
    return r.addcmul_(r, r, value=-1)


def _within(x: Tensor) -> bool:
    if x.numel() == 0:
        return True
    low, high = torch.aminmax(x)
    return float(low) >= -_RANGE and float(high) <= _RANGE  # False of NaN
