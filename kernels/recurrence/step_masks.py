"""What the loops read besides their buffers: dropout masks, resets, zoneout, in packed order.

Legend in ``layout.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.common.precision import Precision
from kernels.recurrence.layout import Arguments, Options, before, ordered
from kernels.recurrence.packing import Packing, take


class StepMasks:
    """Absent ones are None."""

    def __init__(
        self, packing: Packing, dtypes: Precision, arguments: Arguments, options: Options
    ) -> None:
        mask = arguments.hidden_mask
        self.mask = None  # (D, B, H)
        if mask is not None:
            self.mask = ordered(packing, dtypes, mask).contiguous()
        self.resets: Tensor | None = None  # (D, N) uint8
        if options.resets is not None:
            resets = options.resets.to(torch.uint8)  # (B, T)
            every = range(len(packing.rows))
            self.resets = torch.stack([take(packing, d, resets) for d in every])
        # (D, N, H) uint8; without any, the rates (hidden, cell) of the expectation count.
        self.zone_hidden = _packed(packing, options.zone_hidden)
        self.zone_cell = _packed(packing, options.zone_cell)
        self.zone_masks = options.zone_hidden is not None or options.zone_cell is not None
        self.rates = (0.0, 0.0) if self.zone_masks else options.zoneout

    def alive(self, dtype: torch.dtype) -> Tensor | None:
        """(D, N, 1): 0 where the state is reset before a step, else 1."""
        return None if self.resets is None else (1 - self.resets).to(dtype)[..., None]


def seen_by_product(
    packing: Packing, dtypes: Precision, masks: StepMasks, states: Tensor
) -> Tensor:
    """What each step's recurrent product reads of ``states`` (D, B+N, H): (D, N, H)."""
    seen, alive = before(packing, states), masks.alive(dtypes.state)
    if alive is not None:
        seen = seen * alive
    if masks.mask is not None:
        seen = seen.to(dtypes.state, copy=True)
        for part, n in zip(seen.split(packing.sizes, 1), packing.sizes, strict=True):
            part.mul_(masks.mask[:, :n])
    return seen


def _packed(packing: Packing, mask: Tensor | None) -> Tensor | None:
    """(D, B, T, H) bool -> (D, N, H) uint8"""
    if mask is None:
        return None
    return torch.stack([take(packing, d, own) for d, own in enumerate(mask.to(torch.uint8))])
