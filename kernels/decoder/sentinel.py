"""The visual sentinel of adaptive attention (Lu et al. 2017, section 2.3).

Attention may choose a further vector, the sentinel, beside those of the sources.

At words that need no source ("of", "the") attention can go to what the decoder itself remembers.
With x_t the input of the top layer and m_t its memory (the cell state of an LSTM; a GRU and an
Elman layer have none, their hidden state h_t stands for tanh(m_t)):

    g_t = sigmoid(W_x x_t + W_h h_{t-1} + b)                                     eq. 9
    s_t = g_t * tanh(m_t)                                                        eq. 10
    (a_t, beta_t) = softmax([e_t; score(W_s s_t)])                               eq. 12
    c_t = sum_s a_ts values_s + beta_t s_t                                       eq. 8 and 13

e_t are the scores of the source positions; the sentinel is scored as its key W_s s_t would be. As
s_t is a value beside the others, values are as wide as the hidden state. What is handed out as
attention are the a_t: they sum to 1 - beta_t.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.common.masking import masked_softmax


class Sentinel(NamedTuple):
    """The parameters; I is the width of the top layer's input, input feeding included."""

    weight_x: Tensor  # (H, I)
    weight_h: Tensor  # (H, H)
    bias: Tensor  # (H,)
    key: Tensor  # (Q, H)


def sentinel(weights: Sentinel, x: Tensor, before: Tensor, h: Tensor, c: Tensor | None) -> Tensor:
    """x (N, I), h_{t-1} (N, H), h_t (N, H), c_t (N, H) of an LSTM -> s_t (N, H)"""
    sums = F.linear(x, weights.weight_x, weights.bias) + F.linear(before, weights.weight_h)
    memory = h if c is None else torch.tanh(c)
    return torch.sigmoid(sums.to(h.dtype)) * memory


def attend(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    padded: Tensor | None,
    score: Tensor | None,
    scale: float,
    value: Tensor,
    key: Tensor,
) -> tuple[Tensor, Tensor]:
    """query (B, K, Q), keys (B, S, Q), values (B, S, D), padded (B, S), score (Q,) of additive
    scoring; the sentinel's value (B, K, D) and key (B, K, Q) -> context (B, K, D), attention to
    the source positions (B, K, S). What lies past a length must be zero."""
    if score is None:
        scores = torch.matmul(query, keys.transpose(1, 2)) * scale  # (B, K, S)
    else:
        scores = torch.tanh(query.unsqueeze(2) + keys.unsqueeze(1)) @ score  # (B, K, S)
    return attend_both(scores, sentinel_score(query, key, score, scale), values, padded, value)


def sentinel_score(query: Tensor, key: Tensor, score: Tensor | None, scale: float) -> Tensor:
    """query and key (B, K, Q) -> (B, K, 1)"""
    if score is None:
        return (query * key).sum(2, keepdim=True) * scale
    return (torch.tanh(query + key) @ score).unsqueeze(2)


def attend_both(
    scores: Tensor, own: Tensor, values: Tensor, padded: Tensor | None, value: Tensor
) -> tuple[Tensor, Tensor]:
    """``attend`` from the scores (B, K, S) and the sentinel's own (B, K, 1)."""
    if padded is not None:
        padded = F.pad(padded, (0, 1))  # the sentinel is always there
    every = masked_softmax(torch.cat([scores, own], 2), padded)  # (B, K, S + 1)
    attention, beta = every[..., :-1], every[..., -1:]
    context = torch.matmul(attention.to(values.dtype), values) + beta * value  # (B, K, D)
    return context, attention
