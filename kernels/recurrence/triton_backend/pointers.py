"""What the launches hand to the kernels, by the names of their parameters."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kernels.recurrence.layout import Arguments
from kernels.recurrence.step_masks import StepMasks


class Zones:
    """Zoneout as the kernels know it."""

    def __init__(self, kind: str, masks: StepMasks) -> None:
        self.hidden, self.cell = masks.zone_hidden, masks.zone_cell  # (D, N, H) uint8
        self.mode = 2 if masks.zone_masks else int(any(masks.rates))
        if masks.zone_masks and kind == "lstm":  # the kernels read both
            if self.hidden is None and self.cell is not None:
                self.hidden = torch.zeros_like(self.cell)
            elif self.cell is None and self.hidden is not None:
                self.cell = torch.zeros_like(self.hidden)


class Norm:
    """The gains of layer normalisation, contiguous; None where there is none."""

    def __init__(self, arguments: Arguments) -> None:
        self.gain: Tensor | None = None  # (D, G, H)
        self.cell_gain: Tensor | None = None  # (D, H)
        self.cell_shift: Tensor | None = None
        own = arguments.recurrent_gain
        self.on = own is not None
        if own is None:
            return
        self.gain = own.contiguous()
        directions, _, size = own.shape
        gain, shift = arguments.cell_gain, arguments.cell_shift
        self.cell_gain = self.gain.new_ones(directions, size) if gain is None else gain.contiguous()
        self.cell_shift = (
            self.gain.new_zeros(directions, size) if shift is None else shift.contiguous()
        )


class ForwardPointers(NamedTuple):
    """Arguments of ``forward.py``'s kernel, which explains their shapes; None: absent."""

    sums: Tensor
    weight: Tensor
    candidate_bias: Tensor | None
    states: Tensor
    seen: Tensor
    cells: Tensor | None
    extra: Tensor | None
    starts: Tensor | None
    steps_of: Tensor | None
    hidden_mask: Tensor | None
    resets: Tensor | None
    zone_hidden: Tensor | None
    zone_cell: Tensor | None
    products: Tensor | None
    gain: Tensor | None
    cell_gain: Tensor | None
    cell_shift: Tensor | None
    counters: Tensor | None
    status: Tensor | None


class BackwardPointers(NamedTuple):
    """Arguments of ``backward.py``'s kernel, which explains their shapes; None: absent."""

    gates: Tensor
    weight: Tensor
    states: Tensor
    cells: Tensor | None
    extra: Tensor | None
    d_outputs: Tensor
    d_hidden: Tensor
    d_cell: Tensor | None
    d_sums: Tensor
    d_candidate: Tensor | None
    products: Tensor | None
    gain: Tensor | None
    cell_gain: Tensor | None
    cell_shift: Tensor | None
    d_products: Tensor | None
    d_cell_gain: Tensor | None
    d_cell_shift: Tensor | None
    starts: Tensor | None
    steps_of: Tensor | None
    hidden_mask: Tensor | None
    resets: Tensor | None
    zone_hidden: Tensor | None
    zone_cell: Tensor | None
    counters: Tensor | None
    status: Tensor | None


class NormForwardPointers(NamedTuple):
    """Arguments of ``norm_steps.py``'s forward kernel, which explains the shapes; None: absent."""

    sums: Tensor
    products: Tensor
    gain: Tensor
    cell_gain: Tensor | None
    cell_shift: Tensor | None
    candidate_bias: Tensor | None
    states: Tensor
    seen: Tensor
    cells: Tensor | None
    extra: Tensor | None
    hidden_mask: Tensor | None
    resets: Tensor | None
    zone_hidden: Tensor | None
    zone_cell: Tensor | None


class NormBackwardPointers(NamedTuple):
    """Arguments of ``norm_steps.py``'s backward kernel, which explains the shapes; None: absent."""

    gates: Tensor
    products: Tensor
    gain: Tensor
    cell_gain: Tensor | None
    cell_shift: Tensor | None
    states: Tensor
    cells: Tensor | None
    extra: Tensor | None
    d_outputs: Tensor
    sent: Tensor
    d_hidden: Tensor
    d_cell: Tensor | None
    d_sums: Tensor
    d_products: Tensor
    d_candidate: Tensor | None
    d_cell_gain: Tensor | None
    d_cell_shift: Tensor | None
    hidden_mask: Tensor | None
    resets: Tensor | None
    zone_hidden: Tensor | None
    zone_cell: Tensor | None


class Gradients(NamedTuple):
    """What the backward pass of the loop reads and writes."""

    arriving: Tensor  # (D, N, H) of the outputs
    hidden: Tensor  # (D, B, H) running, in the state dtype
    cell: Tensor | None
    sums: Tensor  # (D, N, G*H) of the recurrent sums
    candidate: Tensor | None  # (D, N, H) of the GRU's candidate's input sum
    products: Tensor | None  # (D, N, G*H) of W_hh h before its normalisation
    cell_gain: Tensor | None  # (D, B, H) in the state dtype
    cell_shift: Tensor | None
