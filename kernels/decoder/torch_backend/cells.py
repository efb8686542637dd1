"""One step of a cell, forward and backward; gate columns as in kernels.decoder.gates."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.common.elementwise import tanh
from kernels.decoder.torch_backend.buffers import LayerBuffers

_aten = torch.ops.aten


def cell_forward(kind: str, layer: LayerBuffers, t: int) -> Tensor:
    """gates[t] holds the sums on entry and the activations on return; fills hidden[t + 1]."""
    gates, h, out = layer.gates[t], layer.hidden[t], layer.hidden[t + 1]
    size, rough = h.shape[1], layer.rows.dtype != h.dtype
    if kind == "lstm":
        gates[:, : 3 * size].sigmoid_()
        i, f, o, g = gates.chunk(4, 1)
        tanh(g, g, rough)
        assert layer.cell is not None and layer.cell_tanh is not None  # an LSTM's
        cell = torch.mul(f, layer.cell[t], out=layer.cell[t + 1]).addcmul_(i, g)
        tanh(cell, layer.cell_tanh[t], rough)
        return torch.mul(o, layer.cell_tanh[t], out=out)
    if kind == "gru":
        gates[:, : 2 * size].sigmoid_()
        r, z, n, n_h = gates.chunk(4, 1)
        n.addcmul_(r, n_h)
        tanh(n, n, rough)
        return torch.addcmul(n, z, h - n, out=out)
    tanh(gates, gates, rough) if kind == "tanh" else gates.relu_()
    return out.copy_(gates)


def cell_backward(
    kind: str, layer: LayerBuffers, t: int, d_h: Tensor, d_c: Tensor
) -> tuple[Tensor, Tensor | None, Tensor]:
    """-> gradient of the gate sums (B, C), the direct part of h's gradient, c's gradient."""
    gates, h = layer.gates[t], layer.hidden[t]
    size = h.shape[1]
    d_gates = torch.empty_like(gates)
    d = d_gates.chunk(4, 1)
    if kind == "lstm":
        i, f, o, g = gates.chunk(4, 1)
        assert layer.cell is not None and layer.cell_tanh is not None  # an LSTM's
        opened = layer.cell_tanh[t]
        d_c = d_c + _aten.tanh_backward(d_h * o, opened)
        torch.mul(d_c, g, out=d[0])
        torch.mul(d_c, layer.cell[t], out=d[1])
        torch.mul(d_h, opened, out=d[2])
        sums, sigmoids = d_gates[:, : 3 * size], gates[:, : 3 * size]
        _aten.sigmoid_backward.grad_input(sums, sigmoids, grad_input=sums)
        d[3].copy_(_aten.tanh_backward(d_c * i, g))
        return d_gates, None, d_c * f
    if kind == "gru":
        r, z, n, n_h = gates.chunk(4, 1)
        d_n = _aten.tanh_backward(d_h - d_h * z, n)
        torch.mul(d_n, n_h, out=d[0])
        torch.mul(d_h, h - n, out=d[1])
        sums, sigmoids = d_gates[:, : 2 * size], gates[:, : 2 * size]
        _aten.sigmoid_backward.grad_input(sums, sigmoids, grad_input=sums)
        d[2].copy_(d_n)
        torch.mul(d_n, r, out=d[3])
        return d_gates, d_h * z, d_c
    if kind == "tanh":
        return _aten.tanh_backward(d_h, gates), None, d_c
    return d_h * (gates > 0), None, d_c
