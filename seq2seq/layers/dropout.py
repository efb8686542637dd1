"""Dropout masks, made once and passed to where they apply."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def dropout_mask(shape: tuple[int, ...], rate: float, like: Tensor) -> Tensor:
    """Bernoulli(keep) / keep with keep = 1 - rate, so that the expectation stays (Srivastava et
    al. 2014); keep is rounded to a multiple of 2^-16."""
    levels = min(65535, max(1, round((1.0 - rate) * 65536)))
    keep = levels / 65536
    if like.device.type != "cpu":
        return like.new_empty(shape).bernoulli_(keep).div_(keep)
    # Four draws from each 64 random bits: a third of the time of bernoulli_ on CPU, where it
    # makes itself felt.
    count = math.prod(shape)
    bits = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(1 << 63), None)
    draws = bits.view(torch.int16)[:count].view(shape)
    return (draws < levels - 32768).to(like.dtype).div_(keep)


def drop_steps(x: Tensor, rate: float, variational: bool, training: bool) -> Tensor:
    """Dropout of x (B, T, E); ``variational`` uses one mask (B, 1, E) for all steps
    (Gal & Ghahramani 2016)."""
    if not training or rate == 0:
        return x
    shape = (x.shape[0], 1, x.shape[2]) if variational else tuple(x.shape)
    return x * dropout_mask(shape, rate, x)


def drop_words(embedded: Tensor, tokens: Tensor, words: int, rate: float) -> Tensor:
    """Whole word types dropped for this batch: embedded (B, S, E), tokens (B, S)
    (Gal & Ghahramani 2016, section 4.2)."""
    mask = dropout_mask((words, 1), rate, embedded)
    return embedded * torch.nn.functional.embedding(tokens, mask)


def hide_words(tokens: Tensor, rate: float, unknown: int, training: bool) -> Tensor:
    """tokens (B, S), of which training reads each as the id ``unknown`` at this rate: so the
    model learns what to do with words that it does not know (Iyyer et al. 2015, section 3.2)."""
    if not training or rate == 0:
        return tokens
    return tokens.masked_fill(torch.rand(tokens.shape, device=tokens.device) < rate, unknown)
