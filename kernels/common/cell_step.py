"""One step of a recurrent cell without gradients, from the sums of its gates."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.common.elementwise import tanh


def cell_step(
    kind: str, gates: Tensor, h: Tensor, c: Tensor | None, rough: bool, fixed: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Gate sums (N, C), which are overwritten, and states (N, H) -> the next states. Columns are
    those of kernels.decoder.gates, equations those of kernels.recurrence. ``rough`` and
    ``fixed`` are as in kernels.common.elementwise."""
    size = h.shape[1]
    if kind == "lstm":
        gates[:, : 3 * size].sigmoid_()
        i, f, o, g = gates.chunk(4, 1)
        tanh(g, g, rough, fixed)
        assert c is not None  # an LSTM's
        c = (f * c).addcmul_(i, g)
        return tanh(c, torch.empty_like(c), rough, fixed).mul_(o), c
    if kind == "gru":
        gates[:, : 2 * size].sigmoid_()
        r, z, n, n_h = gates.chunk(4, 1)
        n.addcmul_(r, n_h)
        tanh(n, n, rough, fixed)
        return torch.addcmul(n, z, h - n), None
    return (tanh(gates, gates, rough, fixed) if kind == "tanh" else gates.relu()), None
