"""Additive scores of one step, a block of sentences at a time, and their gradients.

Pairs of queries and keys: ``kernels.common.additive``, whose r is (1 - tanh) / 2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.common.additive import Pairs, remainders, slopes_
from kernels.decoder.call import Call

_BLOCK_BYTES = 1 << 19  # of the (block, S, Q) scratch tensor: half a megabyte stays in cache


def _blocks(batch: int, row_bytes: int) -> range:
    return range(0, batch, max(1, _BLOCK_BYTES // max(1, row_bytes)))


def scored_keys(call: Call) -> Tensor | None:
    """The keys (B, S, Q) in the dtype in which dot scores are multiplied; None: additive scores."""
    if call.weights.score is not None:
        return None
    assert call.memory is not None  # scores are of its keys
    product = call.dtypes.product  # scores beyond 65504 would be infinite in float16
    return call.memory.keys.to(call.dtypes.state if product == torch.float16 else product)


def additive_scores(pairs: Pairs, score: Tensor) -> Tensor:
    """v . tanh(q + k): query (B, 1, Q), keys (B, S, Q), score (Q,) -> (B, S)."""
    query, keys, ones = pairs
    batch, steps, width = keys.shape
    blocks = _blocks(batch, steps * width * keys.element_size())
    scratch = keys.new_empty(min(blocks.step, batch), steps, width)
    scores, doubled = keys.new_empty(batch, steps), -2 * score
    for start in blocks:
        stop = min(start + blocks.step, batch)
        r = remainders(query[start:stop], keys[start:stop], ones, scratch[: stop - start])
        torch.mv(r.flatten(0, 1), doubled, out=scores[start:stop].view(-1))
    return scores.add_(score.sum())


def additive_backward(
    pairs: Pairs, score: Tensor, d_scores: Tensor, slopes: Tensor, sums: Tensor
) -> Tensor:
    """Gradient of the query (B, Q); adds d_scores * (r - r^2) into ``slopes`` (B, S, Q), of which
    the gradient of the keys is 4 v, and those of d_scores * r over all pairs into ``sums`` (Q,),
    of which that of v is -2, but for the sum of d_scores."""
    query, keys, ones = pairs
    batch, steps, width = keys.shape
    blocks = _blocks(batch, steps * width * keys.element_size())
    scratch = keys.new_empty(min(blocks.step, batch), steps, width)
    d_query = keys.new_empty(batch, 1, width)
    for start in blocks:
        stop = min(start + blocks.step, batch)
        r = remainders(query[start:stop], keys[start:stop], ones, scratch[: stop - start])
        d = d_scores[start:stop]
        sums.addmv_(r.flatten(0, 1).t(), d.reshape(-1))
        slopes_(r)
        torch.bmm(d.unsqueeze(1), r, out=d_query[start:stop])
        slopes[start:stop].addcmul_(r, d.unsqueeze(2))
    return d_query.squeeze(1).mul_(4 * score)
