"""Layer normalisation inside the kernels: of tiles (sequences, units) that hold all units of a
sequence, in float32. ``own`` (units,) tells those that exist from those that pad the tile.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.common.cells import tanh
from kernels.recurrence.normalisation import EPSILON as _EPSILON

EPSILON = tl.constexpr(_EPSILON)


@triton.jit
def normalise(x, own, H: tl.constexpr):
    """n(x) = (x - mean) / deviation, 0 in the padding -> n(x), 1/deviation (sequences, 1)"""
    mean = tl.sum(tl.where(own[None, :], x, 0.0), 1, keep_dims=True) / H
    centred = tl.where(own[None, :], x - mean, 0.0)
    inverse = 1.0 / tl.sqrt(tl.sum(centred * centred, 1, keep_dims=True) / H + EPSILON)
    return centred * inverse, inverse


@triton.jit
def normalise_backward(d_normal, normal, inverse, own, H: tl.constexpr):
    """d_normal and normal: 0 in the padding -> the gradient of x, 0 in the padding"""
    mean = tl.sum(d_normal, 1, keep_dims=True) / H
    along = tl.sum(d_normal * normal, 1, keep_dims=True) / H
    return tl.where(own[None, :], (d_normal - mean - normal * along) * inverse, 0.0)


@triton.jit
def unit_gain(pointers, own):
    """Numbers that belong to units: (1, units)"""
    return tl.load(pointers, mask=own, other=0.0).to(tl.float32)[None, :]


@triton.jit
def normal_product(product, raw, gain, active, own, H: tl.constexpr, SAVE: tl.constexpr):
    """n(product) * gain of one gate; ``product`` itself goes to ``raw`` for the backward pass."""
    if SAVE:
        tl.store(raw, product.to(raw.dtype.element_ty), mask=active)
    normal, _ = normalise(product, own, H)
    return normal * unit_gain(gain, own)


@triton.jit
def normal_product_backward(d_sums, raw, gain, active, own, H: tl.constexpr):
    """From the gradient of n(product) * gain to that of the product."""
    product = tl.load(raw, mask=active, other=0.0).to(tl.float32)
    normal, inverse = normalise(product, own, H)
    d_normal = tl.where(active, d_sums * unit_gain(gain, own), 0.0)
    return normalise_backward(d_normal, normal, inverse, own, H)


@triton.jit
def shown_cell_backward(
    cell, o, d_hidden, gain, shift, d_gain, d_shift, active, own, H: tl.constexpr
):
    """For h' = o * tanh(n(c') * gain + shift): the tanh, and the gradient of c' through h'.
    d_gain, d_shift: where their sums over the steps lie for each sequence."""
    normal, inverse = normalise(cell, own, H)
    scale = unit_gain(gain, own)
    shown = tanh(normal * scale + unit_gain(shift, own))
    d_shown = tl.where(active, d_hidden * o * (1.0 - shown * shown), 0.0)
    tl.store(d_gain, tl.load(d_gain, mask=active, other=0.0) + d_shown * normal, mask=active)
    tl.store(d_shift, tl.load(d_shift, mask=active, other=0.0) + d_shown, mask=active)
    return shown, normalise_backward(d_shown * scale, normal, inverse, own, H)
