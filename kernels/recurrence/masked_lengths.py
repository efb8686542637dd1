"""Lengths whose values cannot be looked at: on the GPU, while a CUDA graph is captured.

The loop then takes all T steps for all B sequences, and past its length a sequence keeps its state,
as zoneout would have it; what stands in the padding is neither read nor differentiated. Results
and gradients are those of the packed loop, at the price of the padding's steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.recurrence.layout import Arguments, Options
from kernels.recurrence.packing import Packing


def padding(lengths: Tensor, steps: int) -> Tensor:
    """(B, T) bool, True from each length on."""
    return torch.arange(steps, device=lengths.device) >= lengths[:, None]


def pack_masked(batch: int, steps: int, lengths: Tensor, reverse: tuple[bool, ...]) -> Packing:
    """All steps of all sequences. In reverse, those within the length come first, last to first,
    and then the padding."""
    rows: list[Tensor | None] = [None] * len(reverse)
    if any(reverse):
        time = torch.arange(steps, device=lengths.device)[:, None]  # (T, 1)
        lengths = lengths.to(torch.int64).clamp(0, steps)  # (B,)
        at = torch.where(time < lengths, lengths - 1 - time, time)  # (T, B)
        first = torch.arange(batch, device=lengths.device) * steps
        rows = [(first + at).reshape(-1) if backward else None for backward in reverse]
    return Packing(batch, steps, [batch] * steps, rows, None, None, None, full=True)


def mask_call(
    kind: str, arguments: Arguments, options: Options, padded: Tensor
) -> tuple[Arguments, Options]:
    """The call that ``pack_masked`` goes with; padded (B, T).

    Raises RuntimeError for the expectation of zoneout, beside which no unit can keep its state.
    """
    if options.zone_hidden is None and options.zone_cell is None and any(options.zoneout):
        raise RuntimeError(
            "lengths: found on the GPU while a CUDA graph is captured, with zoneout in expectation "
            f"(rates {options.zoneout}); give lengths on the CPU"
        )
    directions, _, size = arguments.weight_hh.shape

    def or_padded(mask: Tensor | None, size: int) -> Tensor:  # (D, B, T, size)
        keeps = padded[None, :, :, None].expand(directions, *padded.shape, size)
        return keeps if mask is None else mask | keeps

    return (
        arguments._replace(inputs=without_padding(arguments.inputs, padded)),
        Options(
            (0.0, 0.0),
            or_padded(options.zone_hidden, size),
            or_padded(options.zone_cell, arguments.units) if kind == "lstm" else None,
            None if options.resets is None else options.resets & ~padded,
        ),
    )


def without_padding(tensor: Tensor, padded: Tensor) -> Tensor:
    """(B, T, X) with zeros at padding, which may hold anything."""
    return tensor.masked_fill(padded[:, :, None], 0)
