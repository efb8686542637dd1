"""The sentinel of one step, forward and backward; equations: kernels/decoder/sentinel.py.

Its weight is the last column of alpha (T, B, S + 1).
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.common import products
from kernels.decoder.call import Call
from kernels.decoder.torch_backend.buffers import Buffers, LayerBuffers

_aten = torch.ops.aten


def memory(layer: LayerBuffers, t: int) -> Tensor:
    """(B, H): tanh of the top layer's cell state, or its hidden state."""
    return layer.hidden[t + 1] if layer.cell_tanh is None else layer.cell_tanh[t]


def open_sentinel(made: Buffers, t: int, sums: Tensor) -> None:
    """From the sums (B, H) of its gate; fills sentinel_gates[t] and sentinels[t]."""
    assert made.sentinel_gates is not None and made.sentinels is not None
    gate = made.sentinel_gates[t].copy_(sums).sigmoid_()
    torch.mul(gate, memory(made.layers[-1], t), out=made.sentinels[t])


def sentinel_score(call: Call, made: Buffers, key: Tensor, t: int, query: Tensor) -> Tensor:
    """query (B, Q), key (Q, H) in the dtype of products -> (B, 1); fills sentinel_keys[t]."""
    assert made.sentinel_keys is not None and made.sentinels is not None
    own = made.sentinel_keys[t].copy_(products.product(made.sentinels[t].to(key.dtype), key.t()))
    if call.weights.score is None:
        return (query * own).sum(1, keepdim=True) * call.scale
    return torch.mv(torch.tanh(query + own), call.weights.score).unsqueeze(1)


class SentinelBackward:
    """The backward pass of one step, and sums over all steps."""

    def __init__(self, call: Call, made: Buffers) -> None:
        self.call, self.made, own = call, made, call.weights.sentinel
        assert own is not None and made.sentinel_gates is not None
        assert made.sentinels is not None and made.sentinel_keys is not None
        self.gates, self.values, self.keys = made.sentinel_gates, made.sentinels, made.sentinel_keys
        self.key = own.key.to(call.dtypes.product)  # (Q, H)
        self.d_keys = torch.empty_like(self.keys, dtype=self.key.dtype)

    def score(self, t: int, query: Tensor, d: Tensor) -> tuple[Tensor, Tensor | None]:
        """query (B, Q), d (B, 1) of the score -> its share of the gradients of the query (B, Q),
        and, of additive scores, of v (Q,)."""
        own, score = self.keys[t], self.call.weights.score
        if score is None:
            d = d * self.call.scale
            self.d_keys[t].copy_(d * query)
            return d * own, None
        opened = torch.tanh(query + own)
        both = d * (score - opened * opened * score)  # that of the query, and of the key
        self.d_keys[t].copy_(both)
        return both, torch.mv(opened.t(), d.squeeze(1))

    def step(self, t: int, d: Tensor, d_sums: Tensor) -> Tensor:
        """d (B, H): of the sentinel as a value -> of the top layer's cell, or state; writes
        ``d_sums`` (B, H), of the sums of the gate."""
        gate, remembered = self.gates[t], memory(self.made.layers[-1], t)
        d = d + products.product(self.d_keys[t], self.key).to(d.dtype)
        d_sums.copy_(_aten.sigmoid_backward(d * remembered, gate))
        d = d * gate
        return d if self.made.layers[-1].cell is None else _aten.tanh_backward(d, remembered)

    def collect(self) -> Tensor:
        """Gradient of the key's weight, (Q, H)."""
        values = self.values.flatten(0, 1).to(self.key.dtype)  # (T*B, H)
        return products.product(self.d_keys.flatten(0, 1).t(), values).to(self.made.raw.dtype)
