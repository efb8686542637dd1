"""Additive scores of one step, a block of sentences at a time, and their gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.decoder.call import Call

_BLOCK_BYTES = 1 << 19  # of the (block, S, Q) scratch tensor: half a megabyte stays in cache


def _blocks(batch: int, row_bytes: int) -> range:
    return range(0, batch, max(1, _BLOCK_BYTES // max(1, row_bytes)))


def scored_keys(call: Call) -> Tensor | None:
    """The keys (B, S, Q) in the dtype in which dot scores are multiplied; None: additive scores."""
    if call.weights.score is not None:
        return None
    product = call.dtypes.product  # scores beyond 65504 would be infinite in float16
    return call.memory.keys.to(call.dtypes.state if product == torch.float16 else product)


def additive_scores(query: Tensor, keys: Tensor, score: Tensor) -> Tensor:
    """v . tanh(q + k): query (B, Q), keys (B, S, Q), score (Q,) -> (B, S)."""
    batch, steps, width = keys.shape
    blocks = _blocks(batch, steps * width * keys.element_size())
    scratch = keys.new_empty(min(blocks.step, batch), steps, width)
    scores = keys.new_empty(batch, steps)
    for start in blocks:
        stop = min(start + blocks.step, batch)
        block = scratch[: stop - start]
        torch.add(query[start:stop].unsqueeze(1), keys[start:stop], out=block)
        block.tanh_()
        torch.mv(block.flatten(0, 1), score, out=scores[start:stop].view(-1))
    return scores


def additive_backward(
    query: Tensor, keys: Tensor, score: Tensor, d_scores: Tensor, squares: Tensor, d_score: Tensor
) -> Tensor:
    """Gradient of the query (B, Q); adds d_score * tanh^2 into ``squares`` (B, S, Q) and the
    gradient of v into ``d_score`` (Q,).

    With a = tanh(q + k), the gradient of q is v * sum_s d_s (1 - a^2). A softmax's d_s sum to
    zero over s, so it is -v * sum_s d_s a^2: one batched product.
    """
    batch, steps, width = keys.shape
    blocks = _blocks(batch, steps * width * keys.element_size())
    scratch = keys.new_empty(min(blocks.step, batch), steps, width)
    d_query = keys.new_empty(batch, 1, width)
    for start in blocks:
        stop = min(start + blocks.step, batch)
        block, d = scratch[: stop - start], d_scores[start:stop]
        torch.add(query[start:stop].unsqueeze(1), keys[start:stop], out=block)
        block.tanh_()
        d_score.addmv_(block.flatten(0, 1).t(), d.reshape(-1))
        block.mul_(block)
        torch.bmm(d.unsqueeze(1), block, out=d_query[start:stop])
        squares[start:stop].addcmul_(block, d.unsqueeze(2))
    return d_query.squeeze(1).mul_(score).neg_()
