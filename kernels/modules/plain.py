"""The layers as torch.nn has them, without an option: the short way that they take on a CPU."""

from __future__ import annotations

import functools
from typing import Any

from torch import Tensor, nn

from kernels.modules.parameters import State
from kernels.recurrence import direct
from kernels.recurrence.direct import Layer


def run_plain(
    module: nn.Module,
    inputs: Tensor,
    hidden: Tensor | None,
    cell: Tensor | None,
    lengths: Tensor | None,
) -> tuple[Tensor, State] | None:
    """inputs (B, T, I), hidden and cell (L*D, B, H), lengths (B,) or None -> outputs and final
    state; None where the short way does not lead."""
    layers = plain_layers(module)
    if layers is None:
        return None
    dropout = module.dropout if module.training else 0.0
    found = direct.run(module.kind, inputs, hidden, cell, layers, dropout, lengths)
    if found is None:
        return None
    outputs, hidden, cell = found
    return outputs, hidden if cell is None else (hidden, cell)


def plain_layers(module: Any) -> list[Layer] | None:
    """The weights of a stack of layers, as they were registered; None where an option is on that
    torch.nn lacks, or where something else (a parametrisation, pruning) has taken a weight's place.
    """
    changed = (
        module.layer_norm
        or module.recompute
        or module.proj_size
        or module.weight_dropout
        or any(module.zoneout)
        or (module.training and module.recurrent_dropout)
    )
    if changed:
        return None
    found = module._parameters
    try:
        return [
            [tuple([found[name] if name else None for name in side]) for side in layer]
            for layer in _names(module.num_layers, module.bidirectional, module.bias)
        ]
    except KeyError:
        return None


@functools.lru_cache
def _names(layers: int, bidirectional: bool, bias: bool) -> list[list[tuple[str, ...]]]:
    """By layer and direction the names of its weights; "" for an absent one."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    suffixes = ("", "_reverse") if bidirectional else ("",)
    return [
        [
            tuple(f"{name}_l{k}{suffix}" if bias or "weight" in name else "" for name in names)
            for suffix in suffixes
        ]
        for k in range(layers)
    ]
