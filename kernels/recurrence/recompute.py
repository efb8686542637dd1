"""``recompute``: what the forward pass did not keep, computed again from the states of all steps.

The states are there, so that nothing is sequential: W_ih x and W_hh h are one product each, and
the activations run over all steps at once. Memory is for one layer at a time: the backward pass
frees what it made.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.common.precision import Precision
from kernels.recurrence import normalisation
from kernels.recurrence.layout import Arguments, Saved, candidate_bias, input_sums
from kernels.recurrence.packing import Packing


def recompute_gates(
    kind: str,
    packing: Packing,
    dtypes: Precision,
    arguments: Arguments,
    saved: Saved,
    seen: Tensor,
) -> Saved:
    """``saved`` with gates and what else was left out; seen (D, N, H): what each step's recurrent
    product read. In half precision the sums are rounded once more than in the loop."""
    size = arguments.weight_hh.size(2)
    gates, inputs = input_sums(kind, packing, dtypes, arguments)  # (D, N, G*H)
    weight = arguments.weight_hh.to(dtypes.product).transpose(1, 2)  # (D, H, G*H)
    seen = seen.to(dtypes.product)
    gain, products, extra = arguments.recurrent_gain, None, None
    if gain is None and kind != "gru":
        gates.baddbmm_(seen, weight)
    else:
        sums = torch.bmm(seen, weight)
        if gain is not None:
            products = sums
            sums = normalisation.forward(products, gain, None, dtypes.state)
        if kind == "gru":
            bias = candidate_bias(arguments, dtypes)[:, None]  # (D, 1, H)
            extra = (sums[..., 2 * size :] + bias).to(dtypes.product)
            gates[..., : 2 * size] += sums[..., : 2 * size]
        else:
            gates += sums
    _activate(kind, gates, extra)
    return saved._replace(
        gates=gates, extra=extra, input_products=inputs, recurrent_products=products
    )


def _activate(kind: str, gates: Tensor, extra: Tensor | None) -> None:
    """In place; gates are their sums, of the GRU's candidate the input sum only."""
    if kind == "relu":
        gates.relu_()
    elif kind == "tanh":
        gates.tanh_()
    elif kind == "gru":
        r, z, candidate = gates.chunk(3, -1)  # (D, N, H) each
        r.sigmoid_()
        z.sigmoid_()
        assert extra is not None  # made for a GRU
        candidate.addcmul_(r, extra).tanh_()
    else:
        i, f, candidate, o = gates.chunk(4, -1)
        for gate in (i, f, o):
            gate.sigmoid_()
        candidate.tanh_()
