"""Linear + cross entropy in chunks of rows; gradients are made along with the loss.

For a chunk of n rows the logits (n, V) become the softmax and then, in place, its gradient, which
is used up in two products before the next chunk starts: memory is O(n V). The uniform part of
label smoothing, -e / V in every column, never touches the (n, V) matrix: it is a rank-one term in
both products. Ignored rows are left out of the products.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kernels.common.products import product as matrix_product

if TYPE_CHECKING:
    from kernels.loss.operation import Settings

_CHUNK_BYTES = 1 << 24  # of one fp32 (n, V) chunk
_WORDS = 2048  # rows of the weight's gradient that are made at once: they stay in cache
_SMALL = 1e-30  # probabilities below have lost digits, or are 0


def check_targets(targets: Tensor, ignore_index: int, words: int) -> None:
    real = targets[targets != ignore_index]
    if not real.numel():
        return
    low, high = torch.aminmax(real)
    if low < 0 or high >= words:
        raise ValueError(
            f"targets hold {int(low)}..{int(high)}; expected 0..{words - 1} or "
            f"ignore_index {ignore_index}"
        )


def chunks(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    settings: Settings,
    scales: Tensor | None,
    needed: tuple[bool, ...],
) -> tuple[Tensor, list[Tensor | None]]:
    """-> losses (N,), and of their sum, weighted by ``scales`` (N,), the gradients of hidden,
    weight and bias that are ``needed``; all in ``settings.state``."""
    kept = targets != settings.ignore_index
    if not bool(kept.all()):
        scales = None if scales is None else scales[kept]
        few, (d_few, *grads) = chunks(
            hidden[kept], weight, bias, targets[kept], settings, scales, needed
        )  # fmt: skip
        losses = few.new_zeros(len(targets)).masked_scatter_(kept, few)
        d_hidden = None
        if d_few is not None:
            d_hidden = d_few.new_zeros(hidden.shape)
            d_hidden[kept] = d_few
        return losses, [d_hidden, *grads]
    return _chunks(hidden, weight, bias, targets, settings, scales, needed)


def _chunks(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    settings: Settings,
    scales: Tensor | None,
    needed: tuple[bool, ...],
) -> tuple[Tensor, list[Tensor | None]]:
    """Without ignored rows."""
    rows, words = hidden.shape[0], weight.shape[0]
    smoothing, _, product, state, _ = settings
    uniform = smoothing / words
    h, w = hidden.to(product), weight.to(product)
    w_t = w.t()
    losses = hidden.new_empty(rows, dtype=state)
    d_hidden, d_weight, d_bias = _gradients((hidden, weight, bias), needed, state)
    chunk = min(rows, max(1, _CHUNK_BYTES // (4 * words)))
    # Scratch for all chunks: fresh memory of this size costs more than the arithmetic on it.
    narrow = None if product == state else hidden.new_empty(chunk, words, dtype=product)
    wide = None if product == state else hidden.new_empty(chunk, words, dtype=state)
    scratch = hidden.new_empty(chunk, words, dtype=state)
    for start in range(0, rows, max(1, chunk)):
        own = slice(start, min(start + chunk, rows))
        part, y = h[own], targets[own].unsqueeze(1)
        n = part.shape[0]
        if wide is None or narrow is None:
            logits = matrix_product(part, w_t)  # (n, V)
        else:
            logits = wide[:n].copy_(torch.mm(part, w_t, out=narrow[:n]))
        if bias is not None:
            logits += bias
        d = torch.softmax(logits, 1, out=scratch[:n])
        log_p = _log_probabilities(logits, d, y)  # (n,)
        torch.mul(log_p, smoothing - 1, out=losses[own])
        if smoothing:  # sum_v log p_v = sum_v logit_v - V (logit_y - log p_y)
            every = logits.sum(1) - words * (logits.gather(1, y).squeeze(1) - log_p)
            losses[own].sub_(every, alpha=uniform)
        if not any(needed):
            continue
        # p - (1 - smoothing) at the target; the rest of the smoothing is subtracted below
        d.scatter_add_(1, y, d.new_full(y.shape, smoothing - 1))
        if scales is not None:
            d *= scales[own].unsqueeze(1)
        if d_bias is not None:
            d_bias += d.sum(0)
        d = d if narrow is None else narrow[:n].copy_(d)
        if d_hidden is not None:
            d_hidden[own] = matrix_product(d, w)
        if d_weight is not None:
            for few in range(0, words, _WORDS):
                d_weight[few : few + _WORDS] += matrix_product(d[:, few : few + _WORDS].t(), part)
    if smoothing:
        _uniform_part(h, weight, scales, uniform, d_hidden, d_weight, d_bias)
    return losses, [d_hidden, d_weight, d_bias]


def _log_probabilities(logits: Tensor, p: Tensor, y: Tensor) -> Tensor:
    """log p of the targets y (n, 1), from logits and softmax p (n, V): (n,).

    The logarithm of p itself, but where a probability is too small to be exact. There, and on a
    GPU, which a look at the probabilities would hold up: logit_y - top + log p_top, where top is
    the largest logit of the row and p_top is at least 1 / V."""
    chosen = p.gather(1, y).squeeze(1)
    if p.is_cpu and not bool((chosen < _SMALL).any()):
        return chosen.log_()
    top, at = logits.max(1, keepdim=True)
    return (logits.gather(1, y) - top + p.gather(1, at).log()).squeeze(1)


def _gradients(
    tensors: tuple[Tensor | None, ...], needed: tuple[bool, ...], state: torch.dtype
) -> list[Tensor | None]:
    """Zeros, in the dtype of sums."""
    return [
        torch.zeros_like(t, dtype=state, memory_format=torch.contiguous_format)
        if want and t is not None
        else None
        for t, want in zip(tensors, needed, strict=True)
    ]


def _uniform_part(
    h: Tensor,
    weight: Tensor,
    scales: Tensor | None,
    uniform: float,
    d_hidden: Tensor | None,
    d_weight: Tensor | None,
    d_bias: Tensor | None,
) -> None:
    """What label smoothing takes off every word, a rank-one term; ``uniform``: e / V."""
    state = next((d.dtype for d in (d_hidden, d_weight, d_bias) if d is not None), h.dtype)
    share = h.new_full((len(h),), uniform, dtype=state)
    share = share if scales is None else share * scales
    if d_hidden is not None:
        d_hidden.addr_(share, weight.sum(0, dtype=state), alpha=-1)
    if d_weight is not None:
        d_weight -= torch.mv(h.to(state).t(), share)
    if d_bias is not None:
        d_bias -= share.sum()
