"""What a loop over packed steps is made of: views of buffers by step, products, normalisation.

Legend in ``kernels/recurrence/layout.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.common.precision import Precision
from kernels.common.products import add_products, products_into
from kernels.recurrence import normalisation
from kernels.recurrence.layout import Arguments
from kernels.recurrence.packing import Packing


class Product:
    """x W for every direction: operands in the product dtype, results in the state dtype.

    Its scratch memory is reused by every step.
    """

    def __init__(self, weight: Tensor, dtypes: Precision, batch: int) -> None:
        self.weight = weight.to(dtypes.product)  # (D, K, M)
        self.same = dtypes.product == dtypes.state
        directions, inner, outer = weight.shape
        self.result = weight.new_empty(directions * batch * outer, dtype=dtypes.state)
        if not self.same:
            self.operand = self.weight.new_empty(directions * batch * inner)
            self.product = self.weight.new_empty(directions * batch * outer)

    def __call__(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        """(D, n, K) -> (D, n, M), valid until the next call; ``kept`` gets it in the product
        dtype."""
        if kept is not None and self.same:
            return self._multiply(x, kept)
        return self.into(self._room(self.result, x, self.weight.size(2)), x, kept)

    def into(self, out: Tensor, x: Tensor, kept: Tensor | None = None) -> Tensor:
        if self.same:
            return self._multiply(x, out)
        if x.dtype != self.weight.dtype:
            x = self._room(self.operand, x, x.size(2)).copy_(x)
        if kept is None:
            kept = self._room(self.product, x, self.weight.size(2))
        return out.copy_(self._multiply(x, kept))

    def add_to(self, out: Tensor, x: Tensor) -> Tensor:
        if not self.same:  # casting into fp32 first is twice as fast as a mixed addition
            return out.add_(self(x))
        return add_products(out, x, self.weight)

    def _multiply(self, x: Tensor, out: Tensor) -> Tensor:
        return products_into(out, x, self.weight)

    @staticmethod
    def _room(buffer: Tensor, x: Tensor, width: int) -> Tensor:
        directions, rows, _ = x.shape
        return buffer[: directions * rows * width].view(directions, rows, width)


class Steps:
    """A buffer (D, N, W) in the product dtype, on which a loop works step by step.

    The work is done in the state dtype: in place where that is the same, else in scratch
    memory, which stays in cache; the big buffer is then half as large.
    """

    def __init__(self, packing: Packing, dtypes: Precision, buffer: Tensor) -> None:
        self.kept = buffer.split(packing.sizes, 1)  # per step (D, n, W)
        self.scratch = None
        if buffer.dtype != dtypes.state and packing.sizes:
            shape = (buffer.size(0), packing.sizes[0], buffer.size(2))
            self.scratch = buffer.new_empty(shape, dtype=dtypes.state)

    def room(self, t: int) -> Tensor:
        """(D, n, W) in the state dtype, to be written."""
        return self.kept[t] if self.scratch is None else self.scratch[:, : self.kept[t].size(1)]

    def load(self, t: int) -> Tensor:
        """(D, n, W) in the state dtype, holding step t."""
        return self.kept[t] if self.scratch is None else self.room(t).copy_(self.kept[t])

    def store(self, t: int) -> Tensor:
        """Keeps what was written into the room of step t; -> (D, n, W) in the product dtype."""
        return self.kept[t] if self.scratch is None else self.kept[t].copy_(self.room(t))


class States:
    """A buffer (D, B+N, H) of states, step by step."""

    def __init__(self, packing: Packing, buffer: Tensor, batch: int, alive: Tensor | None) -> None:
        rows = buffer.split([batch, *packing.sizes], 1)
        self.after = rows[1:]  # per step (D, n, H)
        self._before = [old[:, :n] for old, n in zip(rows, packing.sizes, strict=False)]
        self._alive = None if alive is None else alive.split(packing.sizes, 1)

    def before(self, t: int) -> Tensor:
        """The state that step t begins with, zero where it is reset: (D, n, H)"""
        old = self._before[t]
        return old if self._alive is None else old * self._alive[t]


class Recurrent:
    """W_hh h of each step, normalised where there is a gain."""

    def __init__(
        self, packing: Packing, dtypes: Precision, arguments: Arguments, products: Tensor | None
    ) -> None:
        gain = arguments.recurrent_gain
        self._product = Product(
            arguments.weight_hh.transpose(1, 2), dtypes, arguments.inputs.size(0)
        )
        self._kept = None if products is None else products.split(packing.sizes, 1)
        self._gates = 1 if gain is None else gain.size(1)
        self._gain = None if gain is None else gain.to(dtypes.state).flatten(1)[:, None]

    def __call__(self, seen: Tensor, t: int) -> Tensor:
        """(D, n, H) -> (D, n, G*H), valid until the next call."""
        if self._gain is None:
            return self._product(seen)
        return self._normal(seen, t).mul_(self._gain)

    def add_to(self, sums: Tensor, seen: Tensor, t: int) -> Tensor:
        if self._gain is None:
            return self._product.add_to(sums, seen)
        return sums.addcmul_(self._normal(seen, t), self._gain)

    def _normal(self, seen: Tensor, t: int) -> Tensor:
        products = self._product(seen, None if self._kept is None else self._kept[t])
        return normalisation.normalise(products, self._gates)[0]


class CellNorm:
    """What the LSTM shows of its cell: n(c) * gain + shift (Ba et al. 2016, eq. 29)."""

    def __init__(self, dtypes: Precision, arguments: Arguments) -> None:
        directions, size = arguments.weight_hh.size(0), arguments.units
        batch, like = arguments.inputs.size(0), arguments.weight_hh
        gain, shift = arguments.cell_gain, arguments.cell_shift
        ones = like.new_ones(directions, size) if gain is None else gain
        zeros = like.new_zeros(directions, size) if shift is None else shift
        self.gain, self.shift = (  # (D, 1, H)
            t.to(dtypes.state)[:, None].contiguous() for t in (ones, zeros)
        )
        # Sums over steps, by sequence.
        self.d_gain, self.d_shift = (
            like.new_zeros(directions, batch, size, dtype=dtypes.state) for _ in range(2)
        )

    def __call__(self, cell: Tensor) -> Tensor:
        return torch.addcmul(self.shift, normalisation.normalise(cell, 1)[0], self.gain)

    def backward(self, d_shown: Tensor, cell: Tensor) -> Tensor:
        """-> the gradient of the cell (D, n, H)"""
        n = cell.size(1)
        normal, mean, inverse = normalisation.normalise(cell, 1)
        self.d_gain[:, :n].addcmul_(d_shown, normal)
        self.d_shift[:, :n].add_(d_shown)
        return normalisation.normalise_backward(d_shown * self.gain, cell, mean, inverse)

    def gradients(self) -> tuple[Tensor, Tensor]:
        return self.d_gain.sum(1), self.d_shift.sum(1)
