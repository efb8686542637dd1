"""The arguments of a recurrence, checked before any backend sees them."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.common.gates import GATES
from kernels.common.lengths import check_lengths
from kernels.common.precision import autocast_enabled
from kernels.recurrence.reference import GateNorm


def check(
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    hidden: Tensor | None,
    cell: Tensor | None,
    kind: str,
    lengths: Tensor | None,
    hidden_mask: Tensor | None,
    weight_hr: Tensor | None = None,
) -> None:
    """Raises ValueError that names the argument, what was found and what was expected."""
    if kind not in GATES:
        raise ValueError(f"kind: found {kind!r}; expected one of {', '.join(GATES)}")
    if inputs.dim() != 3:
        raise ValueError(f"inputs: found shape {tuple(inputs.shape)}; expected (B, T, I)")
    if not inputs.is_floating_point():
        raise ValueError(f"inputs: found dtype {inputs.dtype}; expected a floating dtype")
    if weight_hr is not None:
        check_projection(weight_hr, weight_hh, kind)
    elif weight_hh.dim() != 2 or weight_hh.size(0) != GATES[kind] * weight_hh.size(1):
        raise ValueError(
            f"weight_hh: found shape {tuple(weight_hh.shape)}; "
            f"expected ({GATES[kind]}*H, H) for kind {kind!r}"
        )
    if cell is not None and kind != "lstm":
        raise ValueError(f"cell: found a tensor; expected None for kind {kind!r}")
    batch, steps, features = inputs.shape
    sums, size = weight_hh.shape  # G*H, P
    units = sums // GATES[kind]  # H
    expected = (
        ("weight_ih", weight_ih, (sums, features)),
        ("weight_hh", weight_hh, (sums, size)),
        ("bias_ih", bias_ih, (sums,)),
        ("bias_hh", bias_hh, (sums,)),
        ("hidden", hidden, (batch, size)),
        ("cell", cell, (batch, units)),
        ("hidden_mask", hidden_mask, (batch, size)),
        ("weight_hr", weight_hr, (size, units)),
    )
    for name, tensor, shape in expected:
        if tensor is not None:
            _check_tensor(name, tensor, shape, inputs)
    if lengths is not None:
        check_lengths(lengths, batch, steps)


def check_projection(weight_hr: Tensor, weight_hh: Tensor, kind: str) -> None:
    """Raises ValueError where kind or ranks do not allow a projection."""
    if kind != "lstm":
        raise ValueError(f"weight_hr: found a tensor; expected None for kind {kind!r}")
    if weight_hr.dim() != 2:
        raise ValueError(f"weight_hr: found shape {tuple(weight_hr.shape)}; expected (P, H)")
    projected, units = weight_hr.shape
    if weight_hh.shape != (4 * units, projected):
        raise ValueError(
            f"weight_hh: found shape {tuple(weight_hh.shape)}; expected {(4 * units, projected)}, "
            f"(4*H, P), beside weight_hr {tuple(weight_hr.shape)}, (P, H)"
        )


def check_options(
    inputs: Tensor,
    weight_hh: Tensor,
    kind: str,
    zoneout: tuple[float, float],
    zone_hidden: Tensor | None,
    zone_cell: Tensor | None,
    resets: Tensor | None,
) -> None:
    """Raises ValueError that names the argument, what was found and what was expected."""
    if len(zoneout) != 2 or not all(0 <= rate < 1 for rate in zoneout):
        raise ValueError(f"zoneout: found {zoneout!r}; expected two rates from 0 to below 1")
    if zone_cell is not None and kind != "lstm":
        raise ValueError(f"zone_cell: found a tensor; expected None for kind {kind!r}")
    batch, steps, _ = inputs.shape
    sums, size = weight_hh.shape
    expected = (
        ("zone_hidden", zone_hidden, (batch, steps, size)),
        ("zone_cell", zone_cell, (batch, steps, sums // GATES[kind])),
        ("resets", resets, (batch, steps)),
    )
    for name, mask, shape in expected:
        if mask is not None and (mask.shape != shape or mask.dtype != torch.bool):
            raise ValueError(
                f"{name}: found {mask.dtype} {tuple(mask.shape)}; expected torch.bool {shape}"
            )
        if mask is not None and mask.device != inputs.device:
            raise ValueError(
                f"{name}: found on {mask.device}; expected {inputs.device}, where inputs are"
            )


def check_norm(inputs: Tensor, weight_hh: Tensor, kind: str, norm: GateNorm | None) -> None:
    """Raises ValueError that names the argument, what was found and what was expected."""
    if norm is None:
        return
    if kind != "lstm" and (norm.cell_gain is not None or norm.cell_shift is not None):
        raise ValueError(f"norm.cell_gain, cell_shift: found a tensor for {kind!r}; expected None")
    if norm.input_gain is None or norm.recurrent_gain is None:
        raise ValueError("norm: expected both input_gain and recurrent_gain")
    size = weight_hh.size(0) // GATES[kind]  # H
    gates = (GATES[kind], size)
    shapes = (gates, gates, (size,), (size,))
    for name, tensor, shape in zip(norm._fields, norm, shapes, strict=True):
        if tensor is not None:
            _check_tensor(f"norm.{name}", tensor, shape, inputs)


def _check_tensor(name: str, tensor: Tensor, shape: tuple[int, ...], inputs: Tensor) -> None:
    if tensor.shape != shape:
        raise ValueError(f"{name}: found shape {tuple(tensor.shape)}; expected {shape}")
    if tensor.device != inputs.device:
        raise ValueError(
            f"{name}: found on {tensor.device}; expected {inputs.device}, where inputs are"
        )
    if tensor.dtype != inputs.dtype and not (
        autocast_enabled(inputs.device.type) and tensor.is_floating_point()
    ):
        raise ValueError(
            f"{name}: found dtype {tensor.dtype}; expected {inputs.dtype} as inputs have "
            "(convert one of them, or use torch.autocast)"
        )
