"""Attention in plain PyTorch, differentiated by autograd: the truth in every test.

Computes in float64 for float64 inputs and in float32 otherwise, autocast or not. Additive
scores are made from the full (B, T, S, H) tensor.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.attention.masking import masked_softmax, padding, without_padding
from kernels.precision import precision


def additive_attention(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """-> context (B, T, D), weights (B, T, S)"""
    found = precision(query)
    padded = padding(lengths, keys.size(0), keys.size(1), keys.device)
    with torch.autocast(query.device.type, enabled=False):
        query, weight = query.to(found.state), weight.to(found.state)
        keys = without_padding(keys.to(found.state), padded)
        sums = query[:, :, None] + keys[:, None]  # (B, T, S, H)
        if bias is not None:
            sums = sums + bias.to(found.state)
        scores = sums.tanh() @ weight  # (B, T, S)
        weights = masked_softmax(scores, padded)
        context = weights @ without_padding(values.to(found.state), padded)  # (B, T, D)
    return context.to(found.output), weights.to(found.output)


def dot_attention(
    query: Tensor, keys: Tensor, values: Tensor, scale: float, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """-> context (B, T, D), weights (B, T, S)"""
    found = precision(query)
    padded = padding(lengths, keys.size(0), keys.size(1), keys.device)
    with torch.autocast(query.device.type, enabled=False):
        keys = without_padding(keys.to(found.state), padded)
        scores = query.to(found.state) @ keys.transpose(1, 2) * scale  # (B, T, S)
        weights = masked_softmax(scores, padded)
        context = weights @ without_padding(values.to(found.state), padded)  # (B, T, D)
    return context.to(found.output), weights.to(found.output)
