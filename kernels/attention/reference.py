"""Attention in plain PyTorch, differentiated by autograd: the truth in every test.

Computes in float64 for float64 inputs and in float32 otherwise, autocast or not. Additive
scores are made from the full (B, N, T, S, H) tensor.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from kernels.attention.arguments import Arguments, Options, by_head
from kernels.common.masking import (
    in_window,
    missing,
    softmax_of_seen,
    window_factor,
    without_padding,
)
from kernels.common.precision import precision, without_autocast


def attention(arguments: Arguments, options: Options) -> tuple[Tensor, Tensor]:
    """-> context (B, T, D), weights (B, N, T, S)"""
    dtypes = precision(arguments.query)
    heads = options.heads
    with without_autocast(arguments.query):
        tensors: list[Any] = [None if t is None else t.to(dtypes.state) for t in arguments]
        query, keys, values, weight, bias, coverage, coverage_weight, centre = tensors
        padded = missing(options.lengths, options.mask, keys)
        query = by_head(query, heads)  # (B, N, T, H)
        keys, values = (by_head(without_padding(t, padded), heads) for t in (keys, values))
        if weight is None:
            scores = query @ keys.transpose(2, 3)  # (B, N, T, S)
        else:
            sums = query[:, :, :, None] + keys[:, :, None]  # (B, N, T, S, H)
            if bias is not None:
                sums = sums + bias.view(heads, 1, 1, -1)
            if coverage is not None:
                covered = without_padding(coverage.mT, padded).mT  # (B, T, S)
                sums = sums + covered[:, None, :, :, None] * coverage_weight.view(heads, 1, 1, -1)
            scores = (sums.tanh() * weight.view(heads, 1, 1, -1)).sum(-1)
        hidden = None if padded is None else padded[:, None, None]  # (B, 1, 1, S)
        if centre is not None:
            outside = ~in_window(centre, options.window, keys.size(2))[:, None]  # (B, 1, T, S)
            hidden = outside if hidden is None else hidden | outside
        weights = softmax_of_seen(scores * options.scale, hidden)
        if centre is not None:
            weights = weights * window_factor(centre, options.window, keys.size(2))[:, None]
        context = (weights @ values).transpose(1, 2).flatten(2)  # (B, T, N*D)
    return context.to(dtypes.output), weights.to(dtypes.output)
