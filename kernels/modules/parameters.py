"""What layers and cells share: parameters, their first values, and what they pass on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from kernels.common.gates import GATES
from kernels.recurrence.reference import GateNorm

State = Tensor | tuple[Tensor, Tensor]


class Cells(Protocol):
    """What the functions here read of a module that holds cells."""

    kind: str
    hidden_size: int
    bias: bool
    layer_norm: bool
    zoneout: tuple[float, float]
    training: bool

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None: ...


def add_parameters(
    module: Cells,
    features: int,
    suffix: str,
    device: torch.device | str | None,
    dtype: torch.dtype | None,
) -> None:
    """The parameters of one cell that reads ``features``, as the module's options say. Names and
    order of torch.nn; those of a projection and of layer normalisation only where they are on."""
    kind, size, bias = module.kind, module.hidden_size, module.bias
    proj_size = getattr(module, "proj_size", 0)  # of layers only
    sums, shown = GATES[kind] * size, proj_size or size
    shapes: dict[str, tuple[int, ...]] = {"weight_ih": (sums, features), "weight_hh": (sums, shown)}
    if bias:
        shapes |= {"bias_ih": (sums,), "bias_hh": (sums,)}
    if proj_size:
        shapes |= {"weight_hr": (proj_size, size)}
    if module.layer_norm:
        shapes |= {"gain_ih": (GATES[kind], size), "gain_hh": (GATES[kind], size)}
        if kind == "lstm":
            shapes |= {"gain_cell": (size,)} | ({"shift_cell": (size,)} if bias else {})
    for name, shape in shapes.items():
        parameter = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        module.register_parameter(name + suffix, parameter)


def reset_parameters(module: nn.Module, size: int) -> None:
    bound = 1 / math.sqrt(size)
    for name, parameter in module.named_parameters():
        if name.startswith("gain"):
            nn.init.ones_(parameter)
        elif name.startswith("shift"):
            nn.init.zeros_(parameter)
        else:
            nn.init.uniform_(parameter, -bound, bound)


def gate_norm(module: Cells, kind: str, suffix: str) -> GateNorm | None:
    if not module.layer_norm:
        return None
    names = ("gain_ih", "gain_hh", "gain_cell", "shift_cell")
    gains: list[Any] = [getattr(module, name + suffix, None) for name in names]
    return GateNorm(*gains)


def zone_masks(
    module: Cells, lead: tuple[int, ...], sizes: tuple[int, int], device: torch.device
) -> tuple[Tensor | None, Tensor | None]:
    """In training, the units (*lead, size) of hidden and cell that keep their old values."""
    if not module.training:
        return None, None
    rates = module.zoneout if module.kind == "lstm" else (module.zoneout[0], 0.0)
    hidden, cell = (
        torch.rand((*lead, size), device=device) < rate if rate else None
        for rate, size in zip(rates, sizes, strict=True)
    )
    return hidden, cell


def map_state(function: Callable[[Tensor], Tensor], state: State) -> State:
    if isinstance(state, Tensor):
        return function(state)
    hidden, cell = state
    return function(hidden), function(cell)
