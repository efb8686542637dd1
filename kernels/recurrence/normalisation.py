"""Layer normalisation of gates over many steps at once: before a loop, and after its backward pass.

Each gate of each row is normalised by itself, without shift: n(x) = (x - mean) / sqrt(var + eps),
times a gain (Ba et al. 2016, eq. 15 and 20-29). Legend in ``layout.py``.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

EPSILON = 1e-5  # that of torch.nn.functional.layer_norm, which the reference uses


def normalise(x: Tensor, gates: int) -> tuple[Tensor, Tensor, Tensor]:
    """(..., G*H) -> n(x) as x, and mean and 1/deviation of each gate (rows*G, 1)."""
    rows = x.reshape(-1, x.size(-1) // gates)
    normal, mean, inverse = torch.native_layer_norm(rows, rows.shape[1:], None, None, EPSILON)
    return normal.view(x.shape), mean, inverse


def normalise_backward(d_normal: Tensor, x: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
    """The gradient of x (..., G*H) from that of n(x)."""
    if not x.numel():  # nothing says how long its rows are
        return torch.empty_like(x)
    rows = x.reshape(mean.size(0), -1)
    wanted = [True, False, False]
    found, _, _ = torch.ops.aten.native_layer_norm_backward(
        d_normal.reshape(rows.shape), rows, rows.shape[1:], mean, inverse, None, None, wanted
    )
    return found.view(x.shape)


def forward(x: Tensor, gain: Tensor, shift: Tensor | None, state: torch.dtype) -> Tensor:
    """n(x) * gain + shift for x (D, N, G*H), gain (D, G, H), shift (D, G*H), all at once."""
    sums = torch.empty_like(x)
    gates, scale = gain.size(1), gain.to(state).flatten(1)
    for d, rows in _blocks(x):
        normal = normalise(x[d, rows].to(state), gates)[0].mul_(scale[d])
        sums[d, rows] = normal if shift is None else normal.add_(shift[d].to(state))
    return sums


def backward(
    x: Tensor, d_sums: Tensor, gain: Tensor, state: torch.dtype, only_gain: bool = False
) -> tuple[Tensor | None, Tensor]:
    """-> the gradients of x, in its dtype (None with ``only_gain``), and of the gain (D, G, H)."""
    d_x = None if only_gain else torch.empty_like(x)
    gates, scale = gain.size(1), gain.to(state).flatten(1)
    d_gain = torch.zeros_like(scale)
    for d, rows in _blocks(x):
        own, d_own = x[d, rows].to(state), d_sums[d, rows].to(state)  # (rows, G*H)
        normal, mean, inverse = normalise(own, gates)
        d_gain[d] += normal.mul_(d_own).sum(0)
        if d_x is not None:
            d_x[d, rows] = normalise_backward(d_own * scale[d], own, mean, inverse)
    return d_x, d_gain.view(gain.shape)


def _blocks(x: Tensor) -> Iterator[tuple[int, slice]]:
    """Rows in blocks that stay in a CPU's cache, or do not fill an accelerator's memory."""
    elements = 1 << 18 if x.device.type == "cpu" else 1 << 26
    size = max(1, elements // max(1, x.size(2)))
    for d in range(x.size(0)):
        for start in range(0, x.size(1), size):
            yield d, slice(start, start + size)
