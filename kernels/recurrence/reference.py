"""The recurrences as plain loops over the cell equations, differentiated by autograd.

The truth in every test, and the path of the options that change the cell itself (layer
normalisation, zoneout, resets). Computes in float64 for float64 inputs and in float32
otherwise, autocast or not.

Legend: B batch, T steps, I input features, H hidden, P projected hidden (H without a projection),
G gates (LSTM 4, GRU 3, Elman 1).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.common.graph import reached
from kernels.common.precision import precision, without_autocast


class GateNorm(NamedTuple):
    """Gains of the layer normalisation inside a cell; the shifts are the cell's own biases."""

    input_gain: Tensor  # (G, H)
    recurrent_gain: Tensor  # (G, H)
    cell_gain: Tensor | None = None  # (H,), LSTM only
    cell_shift: Tensor | None = None  # (H,), LSTM only


def recurrence(
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    hidden: Tensor | None = None,
    cell: Tensor | None = None,
    *,
    kind: str = "lstm",
    lengths: Tensor | None = None,
    reverse: bool = False,
    hidden_mask: Tensor | None = None,
    norm: GateNorm | None = None,
    zoneout: tuple[float, float] = (0.0, 0.0),
    zone_hidden: Tensor | None = None,
    zone_cell: Tensor | None = None,
    resets: Tensor | None = None,
    weight_hr: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """What ``kernels.recurrence`` computes, and layer normalisation.

    norm: layer normalisation of each gate (Ba et al. 2016, eq. 20-29).
    weight_hr: (P, H), the projection of the hidden state (Sak et al. 2014).
    """
    dtypes = precision(inputs)
    if zone_hidden is not None or zone_cell is not None:
        zoneout = (0.0, 0.0)
    batch, steps, _ = inputs.shape
    size = weight_hh.size(1)  # P
    units = size if weight_hr is None else weight_hr.size(1)  # H

    def cast(tensor: Tensor) -> Tensor:
        return tensor.to(dtypes.state)

    def cast_some(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.to(dtypes.state)

    with without_autocast(inputs):
        inputs = cast(inputs)
        zeros = inputs.new_zeros(batch, size)  # (B, P)
        hidden = zeros if hidden is None else cast(hidden)
        cell = inputs.new_zeros(batch, units) if cell is None else cast(cell)  # (B, H)
        active = None
        if lengths is not None:
            active = torch.arange(steps, device=inputs.device) < lengths.to(inputs.device)[:, None]
            inputs = inputs.masked_fill(~active[:, :, None], 0)  # padding may hold NaN
        if norm is not None:
            gains = cast(norm.input_gain), cast(norm.recurrent_gain)
            norm = GateNorm(*gains, cast_some(norm.cell_gain), cast_some(norm.cell_shift))
        input_gain, recurrent_gain = (None, None) if norm is None else norm[:2]
        weight_hh, bias_hh = cast(weight_hh), cast_some(bias_hh)
        hidden_mask, weight_hr = cast_some(hidden_mask), cast_some(weight_hr)
        bias_ih = cast_some(bias_ih)
        input_sums = gate_sums(inputs, cast(weight_ih), bias_ih, input_gain)  # (B, T, G*H)
        outputs: list[Tensor] = [zeros] * steps
        for t in reversed(range(steps)) if reverse else range(steps):
            old_hidden, old_cell = hidden, cell
            if resets is not None:
                old_hidden = old_hidden.masked_fill(resets[:, t, None], 0)
                old_cell = old_cell.masked_fill(resets[:, t, None], 0)
            seen = old_hidden if hidden_mask is None else old_hidden * hidden_mask  # (B, P)
            recurrent_sums = gate_sums(seen, weight_hh, bias_hh, recurrent_gain)  # (B, G*H)
            new_hidden, new_cell = step(
                kind, input_sums[:, t], recurrent_sums, old_hidden, old_cell, norm
            )
            if weight_hr is not None:
                new_hidden = F.linear(new_hidden, weight_hr)  # (B, P), Sak et al. 2014, eq. 6
            new_hidden = zone_out(old_hidden, new_hidden, zoneout[0], zone_hidden, t)
            if kind == "lstm":
                new_cell = zone_out(old_cell, new_cell, zoneout[1], zone_cell, t)
            if active is None:
                hidden, cell, outputs[t] = new_hidden, new_cell, new_hidden
            else:
                now = active[:, t, None]  # (B, 1)
                hidden = torch.where(now, new_hidden, hidden)
                cell = torch.where(now, new_cell, cell)
                outputs[t] = torch.where(now, new_hidden, zeros)
        if steps:
            stacked = torch.stack(outputs, 1)
        else:
            used = (input_sums, weight_hh, bias_hh, hidden_mask, *(norm or ()))
            stacked = reached(inputs.new_zeros(batch, 0, size), used)
            hidden, cell = reached(hidden, used), reached(cell, used)
    return (
        stacked.to(dtypes.output),  # (B, T, P)
        hidden.to(dtypes.output),  # (B, P)
        cell.to(dtypes.output) if kind == "lstm" else None,
    )


def gate_sums(x: Tensor, weight: Tensor, bias: Tensor | None, gain: Tensor | None) -> Tensor:
    """W x + b; with a gain, LN(W x) * gain + b, where LN takes each gate by itself.

    x (..., I), weight (G*H, I), gain (G, H) -> (..., G*H)
    """
    if gain is None:
        return F.linear(x, weight, bias)
    sums = F.linear(x, weight).unflatten(-1, gain.shape)  # (..., G, H)
    sums = (F.layer_norm(sums, gain.shape[1:]) * gain).flatten(-2)
    return sums if bias is None else sums + bias


def step(
    kind: str,
    input_sums: Tensor,
    recurrent_sums: Tensor,
    hidden: Tensor,
    cell: Tensor,
    norm: GateNorm | None = None,
) -> tuple[Tensor, Tensor]:
    """One step from the gate sums (B, G*H) of both sides -> hidden, cell (B, H)."""
    if kind == "lstm":
        return _lstm(input_sums + recurrent_sums, cell, norm)
    if kind == "gru":
        return _gru(input_sums, recurrent_sums, hidden), cell
    activation = torch.tanh if kind == "tanh" else torch.relu
    return activation(input_sums + recurrent_sums), cell  # Elman 1990


def _lstm(sums: Tensor, cell: Tensor, norm: GateNorm | None) -> tuple[Tensor, Tensor]:
    """c' = f*c + i*g, h' = o*tanh(c') (Hochreiter & Schmidhuber 1997 with the forget gate of
    Gers et al. 2000); gates in torch's order i, f, g, o."""
    i, f, g, o = sums.chunk(4, -1)  # (B, H) each
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    shown = cell
    if norm is not None:
        shown = F.layer_norm(cell, cell.shape[-1:], norm.cell_gain, norm.cell_shift)
    return o.sigmoid() * shown.tanh(), cell


def _gru(input_sums: Tensor, recurrent_sums: Tensor, hidden: Tensor) -> Tensor:
    """n = tanh(Wx + r*(Uh + b)), h' = (1-z)*n + z*h (Cho et al. 2014, reset after the product
    as in torch.nn.GRU); gates in torch's order r, z, n."""
    r, z, n = input_sums.chunk(3, -1)  # (B, H) each
    recurrent_r, recurrent_z, recurrent_n = recurrent_sums.chunk(3, -1)
    r, z = (r + recurrent_r).sigmoid(), (z + recurrent_z).sigmoid()
    n = (n + r * recurrent_n).tanh()
    return n + z * (hidden - n)


def zone_out(old: Tensor, new: Tensor, rate: float, kept: Tensor | None, t: int) -> Tensor:
    """Units where ``kept`` (B, T, H) is True at step t keep their old value; without a mask, the
    expectation of that at ``rate`` (Krueger et al. 2017, eq. 2-3)."""
    if kept is not None:
        return torch.where(kept[:, t], old, new)
    return new if rate == 0 else rate * old + (1 - rate) * new
