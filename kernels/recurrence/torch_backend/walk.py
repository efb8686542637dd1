"""The walk through time, forward and backward: what all cells do besides their own equations.

Legend in ``kernels/recurrence/layout.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.common.precision import Precision
from kernels.recurrence import normalisation
from kernels.recurrence.layout import Arguments, Saved, SumGradients
from kernels.recurrence.packing import Packing
from kernels.recurrence.step_masks import StepMasks
from kernels.recurrence.torch_backend.steps import CellNorm, Product, Recurrent, States, Steps


class Zones:
    """Zoneout of one state (Krueger et al. 2017): units that keep their old value at a step, or
    the expectation of that."""

    def __init__(
        self, packing: Packing, dtypes: Precision, kept: Tensor | None, rate: float
    ) -> None:
        self.on = kept is not None or rate > 0
        self._rate, self._kept = rate, None
        if kept is not None and packing.sizes:
            self._kept = kept.split(packing.sizes, 1)  # per step (D, n, H)
            shape = (kept.size(0), packing.sizes[0], kept.size(2))
            self._scratch = kept.new_empty(shape, dtype=dtypes.state)

    def mix(self, new: Tensor, old: Tensor, t: int) -> None:
        """new = old where kept. (lerp with 0 and 1 is exact, and 10 times as fast as where.)"""
        if self.on:
            new.lerp_(old, self._share(t))

    def part(self, d_new: Tensor, t: int) -> Tensor | None:
        """Takes from d_new the part that goes straight to the old state, and returns it."""
        if not self.on:
            return None
        straight = d_new * self._share(t)
        d_new.sub_(straight)
        return straight

    def _share(self, t: int) -> Tensor | float:
        if self._kept is None:
            return self._rate
        return self._scratch[:, : self._kept[t].size(1)].copy_(self._kept[t])


class Walk:
    """What both passes share."""

    cell: States  # these two: LSTM only
    zone_cell: Zones

    def __init__(
        self,
        packing: Packing,
        dtypes: Precision,
        arguments: Arguments,
        masks: StepMasks,
        saved: Saved,
    ) -> None:
        batch, alive = arguments.inputs.size(0), masks.alive(dtypes.state)
        self.packing, self.dtypes, self.arguments = packing, dtypes, arguments
        self.size = arguments.units  # H
        self.rough = dtypes.product != dtypes.state  # states are rounded before every product
        self.mask = masks.mask
        self.hidden = States(packing, saved.states, batch, alive)
        self.zone_hidden = Zones(packing, dtypes, masks.zone_hidden, masks.rates[0])
        self.cell_norm: CellNorm | None = None
        if saved.cells is not None:
            self.cell = States(packing, saved.cells, batch, alive)
            self.zone_cell = Zones(packing, dtypes, masks.zone_cell, masks.rates[1])
            if arguments.input_gain is not None:
                self.cell_norm = CellNorm(dtypes, arguments)
        self.alive = None if alive is None else alive.split(packing.sizes, 1)
        self.steps = range(len(packing.sizes))

    def scratch(self, width: int | None = None, dtype: torch.dtype | None = None) -> Tensor:
        """(D, B, H) in the state dtype, or of another width or dtype."""
        directions, batch = self.arguments.weight_hh.size(0), self.arguments.inputs.size(0)
        shape = (directions, batch, self.size if width is None else width)
        return self.arguments.weight_hh.new_empty(shape, dtype=dtype or self.dtypes.state)


class ForwardWalk(Walk):
    def __init__(
        self,
        packing: Packing,
        dtypes: Precision,
        arguments: Arguments,
        masks: StepMasks,
        saved: Saved,
    ) -> None:
        super().__init__(packing, dtypes, arguments, masks, saved)
        assert saved.gates is not None  # a forward pass begins with the input sums there
        self.gates = Steps(packing, dtypes, saved.gates)
        self.recurrent = Recurrent(packing, dtypes, arguments, saved.recurrent_products)
        self.extra = None if saved.extra is None else saved.extra.split(packing.sizes, 1)
        self.projection = None
        if arguments.weight_hr is not None:
            weight = arguments.weight_hr.transpose(1, 2)  # (D, H, P)
            self.projection = Product(weight, dtypes, arguments.inputs.size(0))

    def seen(self, old: Tensor) -> Tensor:
        """What the recurrent product reads of a state (D, n, P)."""
        return old if self.mask is None else old * self.mask[:, : old.size(1)]


class BackwardWalk(Walk):
    """Holds the running gradients of hidden state and cell; all in the state dtype."""

    gates: Steps  # not of an Elman without zoneout

    def __init__(
        self,
        packing: Packing,
        dtypes: Precision,
        arguments: Arguments,
        masks: StepMasks,
        saved: Saved,
        arriving: Tensor | None,
        d_hidden: Tensor,
        d_cell: Tensor | None,
        wants_mask: bool,
    ) -> None:
        super().__init__(packing, dtypes, arguments, masks, saved)
        self.saved = saved
        if saved.gates is not None:
            self.gates = Steps(packing, dtypes, saved.gates)
        self.d_hidden, self.d_cell = d_hidden, d_cell  # (D, B, P) and (D, B, H), changed in place
        self.d_mask = None if self.mask is None or not wants_mask else torch.zeros_like(self.mask)
        self.d_gain: Tensor | None = None
        self._arriving = None if arriving is None else arriving.split(packing.sizes, 1)
        self._product = Product(arguments.weight_hh, dtypes, arguments.inputs.size(0))
        self.sums = GateGradients(self, arguments.weight_hh.size(1))
        self.projection = None
        if arguments.weight_hr is not None:
            self.projection = ProjectionGradient(self, arguments.weight_hr)
        if arguments.recurrent_gain is not None:
            self._begin_norm(arguments.recurrent_gain)

    def _begin_norm(self, gain: Tensor) -> None:
        self._gates = gain.size(1)
        self._gain = gain.to(self.dtypes.state).flatten(1)[:, None]  # (D, 1, G*H)
        assert self.saved.recurrent_products is not None  # kept or made again, with a gain
        self._raw = Steps(self.packing, self.dtypes, self.saved.recurrent_products)
        self._products = GateGradients(self, self._gain.size(2))
        shape = (self._gain.size(0), self.arguments.inputs.size(0), self._gain.size(2))
        self.d_gain = self._gain.new_zeros(shape)  # by sequence

    def arrive(self, t: int, *scratch: Tensor) -> tuple[Tensor, ...]:
        """The running gradients of the sequences active at step t, of the hidden state with that
        of the step's output added, then of the cell (of the hidden state again where there is no
        cell); and as much of the scratch: (D, n, ...)."""
        n = self.packing.sizes[t]
        d_h = self.d_hidden[:, :n]
        if self._arriving is not None:
            d_h.add_(self._arriving[t])
        d_c = d_h if self.d_cell is None else self.d_cell[:, :n]
        return (d_h, d_c, *(room[:, :n] for room in scratch))

    def send(self, t: int, straight: Tensor | None, through: Tensor) -> None:
        """Makes the running gradient of the hidden state that of the state before step t: the
        gate sums' (in ``self.sums``) through the recurrent product, and ``straight``.
        through (D, B, P): scratch memory."""
        d_sums = self.sums.store(t)
        if self.d_gain is not None:
            d_sums = self._through_norm(t)
        n = d_sums.size(1)
        d_h = self.d_hidden[:, :n]
        into = self._product.into(d_h if straight is None else through[:, :n], d_sums)
        if self.mask is not None:
            if self.d_mask is not None:
                self.d_mask[:, :n].addcmul_(into, self.hidden.before(t))
            into.mul_(self.mask[:, :n])
        if straight is not None:
            torch.add(into, straight, out=d_h)
        if self.alive is not None:
            d_h.mul_(self.alive[t])

    def _through_norm(self, t: int) -> Tensor:
        """From the gradient of the normalised sums to that of the products: (D, n, G*H)"""
        d_sums, raw = self.sums.steps.room(t), self._raw.load(t)
        normal, mean, inverse = normalisation.normalise(raw, self._gates)
        assert self.d_gain is not None  # with a gain
        self.d_gain[:, : raw.size(1)].addcmul_(d_sums, normal)
        scaled = torch.mul(d_sums, self._gain, out=normal)
        found = normalisation.normalise_backward(scaled, raw, mean, inverse)
        self._products.steps.room(t).copy_(found)
        return self._products.steps.store(t)

    def recurrent_sums(self, sums: SumGradients) -> SumGradients:
        """What the recurrent weight and bias get."""
        return sums if self.d_gain is None else SumGradients(self._products.all, sums.total)

    def gains(self) -> tuple[Tensor | None, ...]:
        """Gradients of recurrent_gain, cell_gain and cell_shift."""
        own = self.arguments.recurrent_gain
        if self.d_gain is None or own is None:
            return None, None, None
        gain = self.d_gain.sum(1).view(own.shape)
        return gain, *((None, None) if self.cell_norm is None else self.cell_norm.gradients())


class GateGradients:
    """Collects the gradients of gate sums step by step."""

    def __init__(self, walk: Walk, width: int) -> None:
        packing, dtypes, weight = walk.packing, walk.dtypes, walk.arguments.weight_hh
        shape = (weight.size(0), sum(packing.sizes), width)
        self.all = weight.new_empty(shape, dtype=dtypes.product)
        self.steps = Steps(packing, dtypes, self.all)
        # Where the kept gradients are rounded, their sum is made from the unrounded ones.
        scratch = self.steps.scratch
        self.total = None if scratch is None else torch.zeros_like(scratch)

    def room(self, t: int) -> Tensor:
        return self.steps.room(t)

    def store(self, t: int) -> Tensor:
        if self.total is not None:
            room = self.steps.room(t)
            self.total[:, : room.size(1)].add_(room)
        return self.steps.store(t)

    def result(self) -> SumGradients:
        return SumGradients(self.all, (self.all if self.total is None else self.total).sum(1))


class ProjectionGradient:
    """The way back through h' = W_hr m, and what its gradient is made from after the loop."""

    def __init__(self, walk: Walk, weight: Tensor) -> None:
        self.size = weight.size(1)  # P
        self._product = Product(weight, walk.dtypes, walk.arguments.inputs.size(0))
        steps = sum(walk.packing.sizes)
        self._made, self._arrived = (
            weight.new_empty(weight.size(0), steps, width, dtype=walk.dtypes.product)
            for width in (weight.size(2), self.size)
        )  # (D, N, H), (D, N, P)
        self.made = self._made.split(walk.packing.sizes, 1)  # per step m (D, n, H), to be written
        self._arrived_at = self._arrived.split(walk.packing.sizes, 1)

    def backward(self, d_hidden: Tensor, t: int) -> Tensor:
        """From the gradient of h' (D, n, P) to that of m (D, n, H), valid until the next call."""
        return self._product(self._arrived_at[t].copy_(d_hidden))

    def gradient(self) -> Tensor:
        """(D, P, H)"""
        return torch.bmm(self._arrived.transpose(1, 2), self._made)
