"""Attention backwards: one step, and the sums over all steps."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.common import products
from kernels.common.additive import factors, pair
from kernels.common.masking import padding, without_padding
from kernels.decoder.call import Call
from kernels.decoder.torch_backend.buffers import Buffers
from kernels.decoder.torch_backend.scores import additive_backward, scored_keys
from kernels.decoder.torch_backend.sentinel import SentinelBackward

_aten = torch.ops.aten


class AttentionBackward:
    """Gradient of one attention step, and the sums over steps of keys, values and weights.
    After a step ``d_sentinel`` (B, H) is that of the sentinel as a value.

    ``d_attention`` (B, T, S): that of the attention weights themselves, or None.
    """

    def __init__(self, call: Call, made: Buffers, d_attention: Tensor | None) -> None:
        assert call.memory is not None and made.alpha is not None
        weights, (keys, values, lengths) = call.weights, call.memory
        hole = padding(lengths, keys.size(0), keys.size(1), keys.device)  # (B, S)
        keys = without_padding(keys, hole)
        product = call.dtypes.product
        self.call, self.made, self.d_attention = call, made, d_attention
        self.alpha = made.alpha  # (T, B, S), or (T, B, S + 1) with the sentinel's
        self.keys, self.values = keys, without_padding(values.to(product), hole)
        self.query = None if weights.query is None else weights.query.to(product)
        self.gate = None if weights.gate is None else weights.gate.to(product)
        asked = scored_keys(call)
        if asked is not None:
            self.dot_keys = without_padding(asked, hole)
        self.sentinel = None if weights.sentinel is None else SentinelBackward(call, made)
        steps, batch, _ = self.alpha.shape
        self.d_context = values.new_empty(steps, batch, values.shape[2], dtype=product)
        self.d_scores = self.alpha.new_empty(steps, batch, keys.shape[1])
        if weights.query is not None:
            assert made.queries is not None
            self.d_queries = torch.empty_like(made.queries, dtype=product)
        if weights.score is not None:
            assert made.queries is not None
            self.queries = made.queries
            self.factors = factors(keys)
            self.slopes = torch.zeros_like(keys)  # sum over t of d_scores * (r - r^2)
            self.sums = torch.zeros_like(weights.score)  # of d_scores * r over all pairs
            self.d_score = torch.zeros_like(weights.score)  # what else v gets
        if weights.gate is not None:
            assert made.beta is not None and made.contexts is not None
            self.beta, self.contexts = made.beta, made.contexts
            self.d_gates = torch.empty_like(made.beta, dtype=product)  # (T, B, G) before sigmoid

    def step(self, t: int, d_context: Tensor) -> Tensor:
        """d_context (B, D) -> its share of the gradient of the hidden state (B, H)."""
        if self.gate is None:
            return self._attend(t, d_context)
        beta = self.beta[t]  # (B, G)
        d_beta = d_context * self.contexts[t]
        d_beta = d_beta.sum(1, keepdim=True) if beta.shape[1] == 1 else d_beta
        d_gate = self.d_gates[t].copy_(_aten.sigmoid_backward(d_beta.to(beta.dtype), beta))
        return self._attend(t, d_context * beta) + products.product(d_gate, self.gate)

    def _attend(self, t: int, d_context: Tensor) -> Tensor:
        dtype, score = self.alpha.dtype, self.call.weights.score
        d_context = self.d_context[t].copy_(d_context)
        d_alpha = torch.bmm(self.values, d_context.unsqueeze(2)).squeeze(2).to(dtype)
        if self.d_attention is not None:
            d_alpha = d_alpha + self.d_attention[:, t]
        if self.sentinel is not None:
            d_own = (d_context * self.sentinel.values[t]).sum(1, keepdim=True)  # (B, 1)
            d_alpha = torch.cat([d_alpha, d_own.to(dtype)], 1)
            self.d_sentinel = self.alpha[t, :, -1:] * d_context
        every = torch._softmax_backward_data(d_alpha, self.alpha[t], 1, dtype)
        d_scores = self.d_scores[t].copy_(every[:, : self.keys.shape[1]])
        if score is None:
            d_scores = (d_scores * self.call.scale).to(self.dot_keys.dtype)
            d_query = torch.bmm(d_scores.unsqueeze(1), self.dot_keys).squeeze(1)  # (B, Q)
        else:
            pairs = pair(self.queries[t][:, None], self.keys, self.factors)
            d_query = additive_backward(pairs, score, d_scores, self.slopes, self.sums)
        if self.sentinel is not None:
            d_query = d_query + self._sentinel_score(self.sentinel, t, every[:, -1:])
        if self.query is None:
            return d_query.to(dtype)
        self.d_queries[t].copy_(d_query)
        return products.product(self.d_queries[t], self.query).to(dtype)

    def _sentinel_score(self, sentinel: SentinelBackward, t: int, d: Tensor) -> Tensor:
        """d (B, 1) -> its share of the gradient of the query (B, Q)."""
        query = self._hidden()[t] if self.made.queries is None else self.made.queries[t]
        d_query, d_score = sentinel.score(t, query.to(d.dtype), d)
        if d_score is not None:
            self.d_score += d_score
        return d_query

    def _hidden(self) -> Tensor:
        """What was asked with, (T, B, H)."""
        return self.made.tops[:, :, self.values.shape[2] :]

    def collect_gate(self) -> tuple[Tensor | None, Tensor | None]:
        if self.gate is None:
            return None, None
        dtype = self.alpha.dtype
        d_gates = self.d_gates.flatten(0, 1)  # (T*B, G)
        hidden = self._hidden().flatten(0, 1)  # (T*B, H)
        return products.product(d_gates.t(), hidden).to(dtype), d_gates.sum(0, dtype=dtype)

    def collect(self) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Gradients of keys, values, query weight and score weight."""
        dtype, product = self.alpha.dtype, self.values.dtype
        sources = self.keys.shape[1]
        alpha = self.alpha[:, :, :sources].permute(1, 2, 0).to(product)  # (B, S, T)
        d_values = torch.bmm(alpha, self.d_context.transpose(0, 1)).to(dtype)
        hidden = self._hidden()
        d_query = d_score = None
        if self.query is not None:
            d_query = products.product(self.d_queries.flatten(0, 1).t(), hidden.flatten(0, 1)).to(
                dtype
            )
        if self.call.weights.score is None:
            queries = hidden if self.made.queries is None else self.made.queries.to(product)
            scores = (self.d_scores * self.call.scale).permute(1, 2, 0).to(product)
            d_keys = torch.bmm(scores, queries.transpose(0, 1)).to(dtype)  # (B, S, Q)
        else:
            d_keys = self.slopes * (4 * self.call.weights.score)
            d_score = self.d_score + (self.d_scores.sum() - 2 * self.sums)
        return d_keys, d_values, d_query, d_score
