"""One step of each recurrent cell from its gate sums, in place and without gradients.

The equations are those of ``kernels.recurrence``, whose tests compare both; here they work on a
few rows at a time, where making tensors anew would cost more than the arithmetic.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def step_lstm(sums: Tensor, hidden: Tensor, cell: Tensor) -> None:
    """c' = f*c + i*g, h' = o*tanh(c') (Hochreiter & Schmidhuber 1997, forget gate of Gers et al.
    2000). sums (N, 4*H) of both sides, gates i, f, g, o, are used up; hidden and cell (N, H) become
    the new state."""
    size = cell.shape[1]
    first, g, o = sums.split((2 * size, size, size), 1)
    i, f = first.sigmoid_().chunk(2, 1)
    cell.mul_(f).addcmul_(i, g.tanh_())
    torch.tanh(cell, out=hidden)
    hidden.mul_(o.sigmoid_())


def next_lstm(
    sums: Tensor, cell: Tensor, gain: Tensor | None, shift: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The same as new tensors -> hidden, cell; with gain and shift (H,) what h' sees of c' is
    normalised: h' = o*tanh(LN(c')) (Ba et al. 2016, eq. 24)."""
    i, f, g, o = sums.chunk(4, -1)  # (N, H) each
    cell = f.sigmoid_() * cell + i.sigmoid_() * g.tanh_()
    shown = cell if gain is None else F.layer_norm(cell, cell.shape[-1:], gain, shift)
    return o.sigmoid_() * shown.tanh(), cell


def next_gru(input_sums: Tensor, recurrent_sums: Tensor, hidden: Tensor) -> Tensor:
    """h' = (1-z)*n + z*h, n = tanh(Wx + r*(Uh + b)) (Cho et al. 2014, reset after the product as in
    torch.nn.GRU); sums (N, 3*H) of either side, gates r, z, n."""
    r, z, n = input_sums.chunk(3, -1)  # (N, H) each
    recurrent_r, recurrent_z, recurrent_n = recurrent_sums.chunk(3, -1)
    r, z = (r + recurrent_r).sigmoid_(), (z + recurrent_z).sigmoid_()
    n = (n + r * recurrent_n).tanh_()
    return n + z * (hidden - n)


def next_elman(sums: Tensor, kind: str) -> Tensor:
    """h' = tanh or relu of the sums (N, H) of both sides (Elman 1990)."""
    return sums.tanh() if kind == "tanh" else sums.relu()
