"""Linear + cross entropy in chunks of rows; gradients are made along with the loss.

For a chunk of n rows the logits (n, V) become, in place, the softmax and then its gradient, and
are used up in two products before the next chunk starts: memory is O(n V), and nothing is
recomputed in the backward pass, which only scales what is there. The uniform part of label
smoothing, -e / V in every column, never touches the (n, V) matrix: it is a rank-one term in
both products.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.precision import precision

_CHUNK_BYTES = 1 << 23  # of one fp32 (n, V) chunk


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None,
    label_smoothing: float,
    ignore_index: int,
    reduction: str,
) -> Tensor:
    """See kernels.linear_cross_entropy; ``reduction`` is "mean" or "sum" here."""
    device = hidden.device.type
    product = precision(hidden).product
    kept = targets != ignore_index
    if not bool(kept.all()):
        hidden, targets = hidden[kept], targets[kept]
    if targets.numel():
        low, high = torch.aminmax(targets)
        if low < 0 or high >= weight.shape[0]:
            raise ValueError(
                f"targets hold {int(low)}..{int(high)}; expected 0..{weight.shape[0] - 1} or "
                f"ignore_index {ignore_index}"
            )
    scale = 1.0 / max(1, targets.numel()) if reduction == "mean" else 1.0
    with torch.autocast(device, enabled=False):
        return _Loss.apply(hidden, weight, bias, targets, label_smoothing, scale, product)


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, bias, targets, smoothing, scale, product):
        needed = ctx.needs_input_grad[:3]
        rows, words = hidden.shape[0], weight.shape[0]
        h, w = hidden.to(product), weight.to(product)
        w_t = w.t()
        sums = None  # (V,) what the smoothing's rank-one term needs
        if smoothing:
            sums = weight.sum(0)
        d_hidden = torch.empty_like(hidden) if any(needed) else None
        d_weight = torch.zeros_like(weight) if needed[1] else None
        d_bias = torch.zeros_like(bias) if needed[2] and bias is not None else None
        total = hidden.new_zeros((), dtype=torch.float64)
        uniform = smoothing / words
        chunk = min(rows, max(1, _CHUNK_BYTES // (4 * words)))
        # Scratch for all chunks: fresh memory of this size costs more than the arithmetic on it.
        narrow = hidden.new_empty(chunk, words, dtype=product)
        wide, scratch = (hidden.new_empty(chunk, words) for _ in range(2))
        for start in range(0, rows, max(1, chunk)):
            part, y = h[start : start + chunk], targets[start : start + chunk].unsqueeze(1)
            n = part.shape[0]
            logits = wide[:n].copy_(torch.mm(part, w_t, out=narrow[:n]))  # (n, V)
            if bias is not None:
                logits += bias
            log_p = torch.log_softmax(logits, 1, out=scratch[:n])
            total -= (1 - smoothing) * log_p.gather(1, y).sum(dtype=torch.float64)
            if smoothing:
                total -= uniform * log_p.sum(1).sum(dtype=torch.float64)
            if not any(needed):
                continue
            # p - (1 - smoothing) at the target; the rest of the smoothing is subtracted below
            d = log_p.exp_()
            d.scatter_add_(1, y, d.new_full(y.shape, smoothing - 1))
            if d_bias is not None:
                d_bias += d.sum(0).sub_(uniform * n)
            d = narrow[:n].copy_(d)
            d_part = d_hidden[start : start + n].copy_(torch.mm(d, w))
            if smoothing:
                d_part.sub_(sums, alpha=uniform)
            if d_weight is not None:
                d_weight += torch.mm(d.t(), part)
                if smoothing:
                    d_weight.sub_(part.sum(0, dtype=weight.dtype), alpha=uniform)
        ctx.save_for_backward(d_hidden, d_weight, d_bias)
        ctx.scale = scale
        return (total * scale).to(hidden.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_loss):
        scaled = [
            None if gradient is None else gradient * (d_loss * ctx.scale)
            for gradient in ctx.saved_tensors
        ]
        return (*scaled, None, None, None, None)
