"""Linear + cross entropy on NVIDIA GPUs: logits chunk by chunk, a program for each row.

A chunk's logits are one product into a buffer that all chunks share. A kernel reads them twice, the
second time from L2: first for the logarithm of the sum of exponentials, in one pass (Milakov &
Gimelshein 2018), then to put their gradient in their place, which two products use up. As in
``torch_backend``, gradients are made along with the loss and only scaled in the backward pass, and
the uniform part of label smoothing is a rank-one term of both products. Nothing is read back from
the device, so the loss can be captured in a CUDA graph.

Reduction "none" meets its rows' gradients in the backward pass only, where it makes its logits
again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.common.chip import power_of_two
from kernels.common.launching import Fixed, Kernel, Pointers, on_device

if TYPE_CHECKING:
    from kernels.loss.operation import Settings

_CHUNK_BYTES = 1 << 27  # of logits: enough rows for the products, little beside the weights
_BLOCK = 4096  # words of a row at once
_WARPS = 8


@triton.jit(do_not_specialize=["smoothing", "ignore_index"])
def row_kernel(
    logits,  # (n, V) without bias -> with GRADIENT p - (1 - smoothing) at the target, times scale
    bias,  # (V,), BIAS
    targets,  # (n,) int64
    losses,  # (n,) float32 ->
    scales,  # (n,) float32, SCALED: gradients of the rows' losses
    words,  # V
    smoothing,
    ignore_index,
    BIAS: tl.constexpr,
    GRADIENT: tl.constexpr,
    SCALED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0)
    logits += row.to(tl.int64) * words
    target = tl.load(targets + row)
    if target == ignore_index:
        tl.store(losses + row, 0.0)
        if GRADIENT:
            for start in range(0, words, BLOCK):
                v = start + tl.arange(0, BLOCK)
                nothing = tl.zeros((BLOCK,), logits.dtype.element_ty)
                tl.store(logits + v, nothing, mask=v < words)
    else:
        highest = tl.full((), -float("inf"), tl.float32)
        total = tl.full((), 0.0, tl.float32)
        plain = tl.full((), 0.0, tl.float32)  # sum of the logits
        right = tl.full((), 0.0, tl.float32)  # the target's
        for start in range(0, words, BLOCK):
            v = start + tl.arange(0, BLOCK)
            there = v < words
            x = tl.load(logits + v, mask=there, other=-float("inf")).to(tl.float32)
            if BIAS:
                x += tl.load(bias + v, mask=there, other=0.0).to(tl.float32)
            higher = tl.maximum(highest, tl.max(x, 0))
            base = tl.where(higher == -float("inf"), 0.0, higher)
            total = total * tl.exp(highest - base) + tl.sum(tl.exp(x - base), 0)
            plain += tl.sum(tl.where(there, x, 0.0), 0)
            right += tl.sum(tl.where(v == target, x, 0.0), 0)
            highest = higher
        level = highest + tl.log(total)
        loss = level - right
        if smoothing > 0:
            loss = (1.0 - smoothing) * loss + smoothing * (level - plain / words)
        tl.store(losses + row, loss)
        if GRADIENT:
            scale = 1.0
            if SCALED:
                scale = tl.load(scales + row)
            for start in range(0, words, BLOCK):
                v = start + tl.arange(0, BLOCK)
                there = v < words
                x = tl.load(logits + v, mask=there, other=-float("inf")).to(tl.float32)
                if BIAS:
                    x += tl.load(bias + v, mask=there, other=0.0).to(tl.float32)
                d = tl.exp(x - level) - tl.where(v == target, 1.0 - smoothing, 0.0)
                tl.store(logits + v, (d * scale).to(logits.dtype.element_ty), mask=there)


class RowPointers(NamedTuple):
    """Arguments of ``row_kernel``, which explains their shapes; None: absent."""

    logits: Tensor
    bias: Tensor | None
    targets: Tensor
    losses: Tensor
    scales: Tensor | None


ROWS = Kernel(row_kernel, RowPointers)


def check_targets(targets: Tensor, ignore_index: int, words: int) -> None:
    """On the device by an assertion there, since a look at the values would wait for it."""
    fine = ((targets >= 0) & (targets < words) | (targets == ignore_index)).all()
    if targets.is_cuda:
        torch._assert_async(fine, f"targets: expected 0..{words - 1} or {ignore_index}")
    elif not fine:
        low, high = torch.aminmax(targets[targets != ignore_index])
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
    """-> losses (N,) float32, and of their sum, weighted by ``scales``, the gradients that are
    ``needed``, float32."""
    rows, words = hidden.shape[0], weight.shape[0]
    kept = targets != settings.ignore_index
    # what an ignored row holds must not reach the weights, were it NaN times zero
    h = hidden.masked_fill(~kept.unsqueeze(1), 0).to(settings.product)
    w = weight.to(settings.product)
    # The kernel steps through both by one.
    bias = None if bias is None else bias.contiguous()
    losses = hidden.new_empty(rows, dtype=torch.float32)
    d_hidden = hidden.new_empty(hidden.shape, dtype=torch.float32) if needed[0] else None
    d_weight = weight.new_zeros(weight.shape, dtype=torch.float32) if needed[1] else None
    d_bias = None
    if needed[2] and bias is not None:
        d_bias = bias.new_zeros(bias.shape, dtype=torch.float32)
    chunk = min(rows, max(1, _CHUNK_BYTES // (words * h.element_size())))
    buffer = h.new_empty(chunk, words)
    numbers = {
        "words": words,
        "smoothing": settings.smoothing,
        "ignore_index": settings.ignore_index,
    }
    fixed = Fixed(
        {
            "BIAS": bias is not None,
            "GRADIENT": any(needed),
            "SCALED": scales is not None,
            "BLOCK": min(_BLOCK, power_of_two(words)),
        },
        {"num_warps": _WARPS},
    )
    for start in range(0, rows, max(1, chunk)):
        part = h[start : start + chunk]
        logits = torch.mm(part, w.t(), out=buffer[: part.shape[0]])  # (n, V)
        own = slice(start, start + part.shape[0])
        pointers = RowPointers(
            logits=logits,
            bias=bias,
            targets=targets[own],
            losses=losses[own],
            scales=None if scales is None else scales[own],
        )
        with on_device(h.device):
            ROWS.bind(Pointers(pointers, logits), numbers, fixed)((part.shape[0],))
        d = logits  # the gradient now
        if d_hidden is not None:
            d_hidden[own] = torch.mm(d, w)
        if d_weight is not None:
            d_weight += torch.mm(d.t(), part)
        if d_bias is not None:
            d_bias += d.sum(0, dtype=torch.float32)
    if settings.smoothing:
        share = kept.to(torch.float32) if scales is None else scales.masked_fill(~kept, 0)
        share = share * (settings.smoothing / words)  # of the uniform part
        if d_hidden is not None:
            d_hidden.addr_(share, weight.sum(0, dtype=torch.float32), alpha=-1)
        if d_weight is not None:
            d_weight -= torch.mv(h.to(torch.float32).t(), share)
        if d_bias is not None:
            d_bias -= share.sum()
    return losses, [d_hidden, d_weight, d_bias]
