"""The order of gate columns inside the decoder's backends, and the way there and back.

All sigmoids side by side; the GRU has four column groups (r, z, input part of n, hidden part of
n), which lets one product over [input; hidden] serve it, too. C columns:

    LSTM  i f o | g        GRU  r z | n_x | n_h        Elman  a
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.decoder.weights import LayerWeights


def columns(weight: Tensor, kind: str, part: str) -> Tensor:
    """Rows of a torch.nn weight (G*H, I) in this file's gate order, (C, I).

    ``part`` is "x" for input weights and "h" for hidden ones: the GRU's n gate keeps them apart.
    """
    if kind == "lstm":
        i, f, g, o = weight.chunk(4, 0)
        return torch.cat([i, f, o, g])
    if kind == "gru":
        r, z, n = weight.chunk(3, 0)
        zero = torch.zeros_like(n)
        return torch.cat([r, z, n, zero] if part == "x" else [r, z, zero, n])
    return weight


def rows(gradient: Tensor, kind: str, part: str) -> Tensor:
    """The inverse of ``columns``, for gradients: (C, ...) -> (G*H, ...)."""
    if kind == "lstm":
        i, f, o, g = gradient.chunk(4, 0)
        return torch.cat([i, f, g, o])
    if kind == "gru":
        r, z, n_x, n_h = gradient.chunk(4, 0)
        return torch.cat([r, z, n_x if part == "x" else n_h])
    return gradient


def bias(layer: LayerWeights, kind: str) -> Tensor:
    """Both biases of a layer, (C,)."""
    return columns(layer.bias_ih, kind, "x") + columns(layer.bias_hh, kind, "h")


def joined(layer: LayerWeights, kind: str, static: int) -> Tensor:
    """[step input; hidden] weights as one (C, I + H) matrix; ``static`` columns of weight_ih
    belong to the part computed before the loop."""
    inside = columns(layer.weight_ih[:, static:], kind, "x")
    return torch.cat([inside, columns(layer.weight_hh, kind, "h")], 1)
