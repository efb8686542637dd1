"""How far a result may be from the truth: a few times as far as plain arithmetic is.

What rounding does to a result depends on the problem: where sums cancel, or a normalisation divides
by a small deviation, an error in the last bit of a tensor becomes one in its third digit, in every
implementation and differently on every processor. So each tensor's tolerance follows from the error
that the reference makes on the same numbers in the same dtype. Errors are norms of whole tensors.

Measured over test_triton_decoder.py: the kernels err by at most 317 roundings in float32 where the
reference errs by 198, by 29 where it errs by 3; in float16, whose sums are float32, by less than
the reference or by less than 4. The widest tolerance of a tensor is 2e-4 of its norm in float32.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Rule(NamedTuple):
    multiple: float  # of the reference's error: other orders of summation
    floor: float  # roundings that an error may be of, whatever the reference's luck


WIDE = Rule(4, 64)  # float32, float64: every operation rounds
HALF = Rule(2, 6)  # only what is stored and what products read is rounded
SHARE = 1e-3  # of the largest tensor: what a tensor's rounding may be measured against at least


def plain_dtype(dtype: torch.dtype) -> torch.dtype:
    """In which the reference's error is measured: float64 has none beside itself."""
    return torch.float32 if dtype == torch.float64 else dtype


def allowed(truth: list[Tensor], plain: list[Tensor], dtype: torch.dtype) -> list[float]:
    """The largest error of each tensor: a multiple of the reference's, at least a few roundings of
    the tensor's norm, and never as much as a tensor of zeros would be off by. A sum that cancels
    may be far smaller than its terms: its norm counts as SHARE of the largest tensor's at least.

    truth: results in float64; plain: the reference's in ``plain_dtype(dtype)``.
    """
    eps = torch.finfo(dtype).eps
    rule = HALF if dtype.itemsize == 2 else WIDE
    finer = eps / torch.finfo(plain_dtype(dtype)).eps  # 1 but for float64
    largest = max((t.norm().item() for t in truth), default=0.0)
    found = []
    for exact, rounded in zip(truth, plain, strict=True):
        own = finer * (rounded.double() - exact.double()).norm().item()
        scale = max(exact.norm().item(), SHARE * largest)
        found.append(min(max(rule.multiple * own, rule.floor * eps * scale), 0.5 * scale))
    return found


def assert_near(
    found: list[Tensor],
    truth: list[Tensor],
    plain: list[Tensor],
    dtype: torch.dtype,
    names: list[str] | None = None,
) -> None:
    """Every tensor of ``found`` is finite and within what ``allowed`` allows."""
    bounds = allowed(truth, plain, dtype)
    for k, (a, b, bound) in enumerate(zip(found, truth, bounds, strict=True)):
        name = k if names is None else names[k]
        a, b = a.detach().double().cpu(), b.detach().double().cpu()
        assert a.shape == b.shape, (name, a.shape, b.shape)
        assert torch.isfinite(a).all(), name
        error = (a - b).norm().item()
        assert error <= bound, f"{name}: off by {error:.2e}, allowed {bound:.2e}"
