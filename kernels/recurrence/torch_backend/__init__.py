"""The recurrences without an autograd tape through time, for CPU and where no kernel exists.

The input product of all steps is one product before the loop; dW_ih, dW_hh and the gradient
of the inputs are single products after the backward loop (``layout.py``, which has the legend of
shapes, too). The loop keeps what is truly sequential: the recurrent product, its normalisation,
and in-place element-wise maths.
"""

from __future__ import annotations

from types import ModuleType

from torch import Tensor

from kernels.common.precision import Precision
from kernels.recurrence.layout import (
    Arguments,
    Options,
    Results,
    Saved,
    collect,
    initial,
    input_sums,
    pack_gradient,
    results,
    running,
)
from kernels.recurrence.packing import Packing
from kernels.recurrence.recompute import recompute_gates
from kernels.recurrence.step_masks import StepMasks, seen_by_product
from kernels.recurrence.torch_backend import elman, gru, lstm
from kernels.recurrence.torch_backend.walk import BackwardWalk, ForwardWalk

__all__ = ["backward", "forward"]


def forward(
    kind: str,
    packing: Packing,
    dtypes: Precision,
    arguments: Arguments,
    options: Options,
    schedule: str,
    keep: bool,
    lstm_loops: ModuleType = lstm,
) -> Results:
    """The sequence; without ``keep``, what the backward pass can compute again or does without is
    left out. There is one schedule here, whatever is asked for. lstm_loops: what walks an LSTM's
    steps, this backend's or another's."""
    gates, input_products = input_sums(kind, packing, dtypes, arguments)  # (D, N, G*H)
    size = arguments.weight_hh.size(2)  # P
    states = initial(packing, dtypes, arguments, arguments.hidden, size, dtypes.state)
    cells = extra = products = None
    if kind == "lstm":
        cells = initial(packing, dtypes, arguments, arguments.cell, arguments.units, dtypes.state)
    if keep and kind == "gru":
        extra = gates.new_empty(gates.size(0), gates.size(1), states.size(2))
    if keep and input_products is not None:
        products = gates.new_empty(gates.shape)
    saved = Saved(gates, states, cells, extra, None, input_products, products)
    masks = StepMasks(packing, dtypes, arguments, options)
    walk = ForwardWalk(packing, dtypes, arguments, masks, saved)
    if kind == "lstm":
        lstm_loops.forward(walk)
    elif kind == "gru":
        gru.forward(walk)
    else:
        elman.forward(walk, kind)
        if not options.zoned:  # the states themselves
            saved = saved._replace(gates=None)
    return results(packing, dtypes, arguments.inputs, saved)


def backward(
    kind: str,
    packing: Packing,
    dtypes: Precision,
    arguments: Arguments,
    options: Options,
    schedule: str,
    saved: Saved,
    grads: tuple[Tensor | None, ...],
    wanted: tuple[bool, ...],
    lstm_loops: ModuleType = lstm,
) -> tuple[Tensor | None, ...]:
    """Gradients of every argument, None where not wanted."""
    grad_outputs, grad_hidden, grad_cell = grads
    batch, states = arguments.inputs.size(0), saved.states
    masks = StepMasks(packing, dtypes, arguments, options)
    seen = seen_by_product(packing, dtypes, masks, states)
    if _lacks(kind, arguments, options, saved):
        saved = recompute_gates(kind, packing, dtypes, arguments, saved, seen)
    walk = BackwardWalk(
        packing,
        dtypes,
        arguments,
        masks,
        saved,
        pack_gradient(packing, dtypes, grad_outputs, states),
        running(packing, dtypes, grad_hidden, states, batch),
        None if saved.cells is None else running(packing, dtypes, grad_cell, saved.cells, batch),
        wants_mask=wanted[7],
    )
    candidates = None
    if kind == "lstm":
        lstm_loops.backward(walk)
    elif kind == "gru":
        candidates = gru.backward(walk)
    else:
        elman.backward(walk, kind)
    sums = walk.sums.result()
    return collect(
        packing,
        dtypes,
        arguments,
        wanted,
        seen,
        saved.input_products,
        sums if candidates is None else gru.input_sums(sums, candidates),
        walk.recurrent_sums(sums),
        (walk.d_hidden, walk.d_cell, walk.d_mask),
        walk.gains(),
        None if walk.projection is None else walk.projection.gradient(),
    )


def _lacks(kind: str, arguments: Arguments, options: Options, saved: Saved) -> bool:
    """Whether the backward pass needs what ``recompute`` left out."""
    if arguments.input_gain is not None:
        return saved.input_products is None
    own = kind in ("lstm", "gru") or options.zoned
    return own and saved.gates is None
