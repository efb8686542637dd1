"""What layers and cells share: parameters, their first values, and checks of options."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from kernels.common.gates import GATES
from kernels.recurrence.reference import GateNorm

State = Tensor | tuple[Tensor, Tensor]


def add_parameters(
    module: nn.Module,
    kind: str,
    features: int,
    size: int,
    bias: bool,
    layer_norm: bool,
    suffix: str,
    device: torch.device | str | None,
    dtype: torch.dtype | None,
) -> None:
    """Names and order of torch.nn; those of layer normalisation only where it is on."""
    sums = GATES[kind] * size
    shapes: dict[str, tuple[int, ...]] = {"weight_ih": (sums, features), "weight_hh": (sums, size)}
    if bias:
        shapes |= {"bias_ih": (sums,), "bias_hh": (sums,)}
    if layer_norm:
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


def gate_norm(module: nn.Module, kind: str, suffix: str) -> GateNorm | None:
    if not module.layer_norm:
        return None
    names = ("gain_ih", "gain_hh", "gain_cell", "shift_cell")
    return GateNorm(*(getattr(module, name + suffix, None) for name in names))


def zone_masks(
    module: nn.Module, shape: tuple[int, ...], device: torch.device
) -> tuple[Tensor | None, Tensor | None]:
    """In training, the units (..., B, T, H) of hidden and cell that keep their old values."""
    if not module.training:
        return None, None
    rates = module.zoneout if module.kind == "lstm" else (module.zoneout[0], 0.0)
    masks = (torch.rand(shape, device=device) < rate if rate else None for rate in rates)
    return tuple(masks)


def map_state(function: object, state: State) -> State:
    if isinstance(state, Tensor):
        return function(state)
    return tuple(function(part) for part in state)


def probability(name: str, value: float, highest: float | None = None) -> float:
    inside = 0 <= value <= highest if highest is not None else 0 <= value < 1
    if isinstance(value, bool) or not inside:
        raise ValueError(f"{name}: found {value!r}; expected a probability from 0 to below 1")
    return float(value)


def zoneout_pair(zoneout: float | tuple[float, float]) -> tuple[float, float]:
    pair = tuple(zoneout) if isinstance(zoneout, (tuple, list)) else (zoneout, zoneout)
    if len(pair) != 2:
        raise ValueError(f"zoneout: found {zoneout!r}; expected a number or a pair (hidden, cell)")
    return (probability("zoneout", pair[0]), probability("zoneout", pair[1]))


def elman_kind(name: str) -> str:
    if name not in ("tanh", "relu"):
        raise ValueError(f"nonlinearity: found {name!r}; expected 'tanh' or 'relu'")
    return name
