"""The best next tokens of each row, with their log probabilities.

Over (320, 8000) logits, 64 sources with a beam of 5, the vocabulary is what search costs: so
the logits are read twice (block maxima, softmax), no other (N, V) tensor is made, and all later
work is on the few candidates.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seq2seq.decoding.ngrams import without_repeats

BLOCK = 64  # columns per block: 64 was the fastest of 32..512 at V = 8000
PART = 1 << 19  # numbers of a softmax at a time on the CPU: 2 MB


def candidates(
    logits: Tensor,
    count: int,
    *,
    eos: int,
    forbidden: frozenset[int],
    allow_eos: bool,
    prefix: Tensor | None,
    no_repeat_ngram: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The ``count`` best tokens besides eos, and eos where it is among or above them.

    logits (N, V); forbidden: tokens never emitted; prefix (N, t): the tokens emitted so far, only
    needed with no_repeat_ngram > 0. Returns

    log_p   (N, C) log softmax(logits) over the whole vocabulary; -inf for what may not be emitted
    tokens  (N, C) ascending in each row, so that a stable sort breaks ties by token
    sound   (N,)   False where the logits give no probabilities (NaN, +inf, all -inf)

    with C = count + 1 + len(forbidden), or V where that is less.
    """
    logits = logits.contiguous()
    if logits.dtype not in (torch.float32, torch.float64):
        logits = logits.float()
    allowed = logits  # (N, V)
    if no_repeat_ngram:
        allowed = without_repeats(logits, prefix, no_repeat_ngram)
    values, tokens = top_tokens(allowed, count + 1 + len(forbidden))  # (N, C) each
    if no_repeat_ngram:
        largest = logits.argmax(1, keepdim=True)  # (N, 1)
    else:
        largest = tokens.gather(1, values.argmax(1, keepdim=True))  # (N, 1)
    normaliser = log_normaliser(logits, largest)  # (N, 1)
    barred = forbidden if allow_eos else forbidden | {eos}
    log_p = values - normaliser  # (N, C)
    for token in barred:
        log_p = log_p.masked_fill(tokens == token, -torch.inf)
    return log_p, tokens, normaliser.squeeze(1).isfinite()


def log_normaliser(logits: Tensor, largest: Tensor) -> Tensor:
    """log sum_v exp(logits_v) of each row: (N, V) -> (N, 1).

    ``largest`` (N, 1) is the column of each row's maximum x. Its probability p is at least 1/V,
    so that x - log p is as exact as logsumexp, and softmax takes 2/3 of its time. A few rows at a
    time, because fresh memory for all of (N, V) costs the CPU more than the arithmetic.
    """
    rows = len(logits)
    if logits.device.type == "cpu":
        rows = max(1, PART // logits.shape[1])
    parts = zip(logits.split(rows), largest.split(rows), strict=True)
    probability = torch.cat([part.softmax(1).gather(1, at) for part, at in parts])  # (N, 1)
    return logits.gather(1, largest) - probability.log()


def top_tokens(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Values and columns (N, C) of the C = min(count, V) largest logits (N, V) of each row.

    Columns ascend. Of equal values the lower column is taken.
    """
    width = logits.shape[1]
    count = min(count, width)
    values, tokens = _largest(logits, min(count + 1, width))  # descending
    # Which of several equal values topk takes is not specified. It matters only where a tie
    # straddles the cut. On an accelerator the question would cost a synchronisation; there the
    # choice of its topk stands, which is the same for a row whatever its neighbours.
    if count < width and logits.device.type == "cpu":
        cut = values[:, count - 1]  # (N,)
        tied = (cut == values[:, count]) & (cut > -torch.inf)  # (N,)
        if tied.any():
            order = logits[tied].sort(dim=1, descending=True, stable=True)
            values[tied] = order.values[:, : count + 1]
            tokens[tied] = order.indices[:, : count + 1]
    tokens, order = tokens[:, :count].sort(1)
    return values[:, :count].gather(1, order), tokens


def _largest(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """topk; on the CPU, for large V, only within the blocks that have the largest maxima.

    The ``count`` largest values lie in the ``count`` blocks with the largest maxima: a value
    outside them has ``count`` values at least as large before it.
    """
    rows, width = logits.shape
    if logits.device.type != "cpu" or width < 4 * BLOCK * count:
        return logits.topk(count, dim=1)
    whole = width // BLOCK
    blocks = logits[:, : whole * BLOCK].unflatten(1, (whole, BLOCK))  # (N, V/64, 64)
    best = blocks.amax(2).topk(count, dim=1, sorted=False).indices  # (N, C)
    row = torch.arange(rows).unsqueeze(1)  # (N, 1)
    pool = blocks[row, best].flatten(1)  # (N, C*64)
    if whole * BLOCK < width:  # the columns after the last whole block
        pool = torch.cat([pool, logits[:, whole * BLOCK :]], 1)
        best = torch.cat([best, best.new_full((rows, 1), whole)], 1)
    values, place = pool.topk(count, dim=1)
    block = best.gather(1, place // BLOCK)  # (N, C)
    return values, block * BLOCK + place % BLOCK
