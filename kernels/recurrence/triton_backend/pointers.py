"""What the launches hand to the kernels besides the buffers of the loop."""

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
            if self.hidden is None:
                self.hidden = torch.zeros_like(self.cell)
            if self.cell is None:
                self.cell = torch.zeros_like(self.hidden)


class Norm:
    """The gains of layer normalisation, contiguous; None where there is none."""

    def __init__(self, arguments: Arguments) -> None:
        self.gain = self.cell_gain = self.cell_shift = None
        self.on = arguments.recurrent_gain is not None
        if not self.on:
            return
        self.gain = arguments.recurrent_gain.contiguous()  # (D, G, H)
        directions, _, size = self.gain.shape
        gain, shift = arguments.cell_gain, arguments.cell_shift
        self.cell_gain = (  # (D, H)
            self.gain.new_ones(directions, size) if gain is None else gain.contiguous()
        )
        self.cell_shift = (
            self.gain.new_zeros(directions, size) if shift is None else shift.contiguous()
        )


class Gradients(NamedTuple):
    """What the backward kernels read and write."""

    arriving: Tensor  # (D, N, H) of the outputs
    hidden: Tensor  # (D, B, H) running, in the state dtype
    cell: Tensor | None
    sums: Tensor  # (D, N, G*H) of the recurrent sums
    candidate: Tensor | None  # (D, N, H) of the GRU's candidate's input sum
    products: Tensor | None  # (D, N, G*H) of W_hh h before its normalisation
    cell_gain: Tensor | None  # (D, B, H) in the state dtype
    cell_shift: Tensor | None
