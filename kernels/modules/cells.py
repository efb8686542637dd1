"""RNNCell, GRUCell and LSTMCell with the constructor, inputs and outputs of torch.nn, and more."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kernels.modules.fx import recorded
from kernels.modules.options import elman_kind, zoneout_pair
from kernels.modules.parameters import (
    State,
    add_parameters,
    gate_norm,
    reset_parameters,
    zone_masks,
)
from kernels.recurrence import recurrence


class _Cell(nn.Module):
    """One step; what RNNCell, GRUCell and LSTMCell share."""

    def __init__(
        self,
        kind: str,
        input_size: int,
        hidden_size: int,
        bias: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
        layer_norm: bool,
        zoneout: float | tuple[float, float],
    ) -> None:
        super().__init__()
        self.kind, self.input_size, self.hidden_size = kind, input_size, hidden_size
        self.bias, self.layer_norm = bias, layer_norm
        self.zoneout = zoneout_pair(zoneout)
        add_parameters(self, input_size, "", device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in +-1/sqrt(H) as in torch.nn; gains of layer normalisation 1."""
        reset_parameters(self, self.hidden_size)

    def extra_repr(self) -> str:
        parts = [str(self.input_size), str(self.hidden_size)]
        if self.kind == "relu":
            parts.append("nonlinearity=relu")
        for name, default in (("bias", True), ("layer_norm", False), ("zoneout", (0.0, 0.0))):
            if getattr(self, name) != default:
                parts.append(f"{name}={getattr(self, name)}")
        return ", ".join(parts)

    def forward(self, input: Tensor, hx: State | None = None) -> State:
        """input (B, I) or (I,), hx (B, H) or (H,), zero when None; for LSTM a pair of these
        -> the new state, shaped as hx. Raises ValueError that names the wrong argument."""
        if (call := recorded(self, input, hx)) is not None:
            return call
        if input.dim() not in (1, 2):
            raise ValueError(f"input: found {input.dim()} dimensions; expected 1 or 2")
        if input.size(-1) != self.input_size:
            raise ValueError(f"input: found {input.size(-1)} features; expected {self.input_size}")
        states: Any = (None, None) if hx is None else hx if self.kind == "lstm" else (hx, None)
        expected = (*input.shape[:-1], self.hidden_size)
        for state in states:
            if state is not None and state.shape != expected:
                raise ValueError(f"hx: found shape {tuple(state.shape)}; expected {expected}")
        inputs = input if input.dim() == 2 else input[None]  # (B, I)
        hidden, cell = (None if s is None else s.view(-1, self.hidden_size) for s in states)
        new_hidden, new_cell = self._step(inputs, hidden, cell)
        if input.dim() == 1:
            new_hidden, new_cell = new_hidden[0], None if new_cell is None else new_cell[0]
        return new_hidden if new_cell is None else (new_hidden, new_cell)

    def _step(
        self, inputs: Tensor, hidden: Tensor | None, cell: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        given: list[Any] = [*(getattr(self, name, None) for name in names), hidden, cell]
        sizes = (self.hidden_size, self.hidden_size)
        zoned = zone_masks(self, (inputs.size(0), 1), sizes, inputs.device)
        _, new_hidden, new_cell = recurrence(
            inputs[:, None],
            *given,
            kind=self.kind,
            zoneout=(0.0, 0.0) if self.training else self.zoneout,
            zone_hidden=zoned[0],
            zone_cell=zoned[1],
            norm=gate_norm(self, self.kind, ""),
        )
        return new_hidden, new_cell


class RNNCell(_Cell):
    """One step of an Elman network: torch.nn.RNNCell with ``layer_norm`` and ``zoneout``."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        layer_norm: bool = False,
        zoneout: float | tuple[float, float] = 0.0,
    ) -> None:
        kind = elman_kind(nonlinearity)
        super().__init__(kind, input_size, hidden_size, bias, device, dtype, layer_norm, zoneout)

    @property
    def nonlinearity(self) -> str:
        """ "tanh" or "relu"; as torch.nn's, the cell computes what it was last set to."""
        return self.kind

    @nonlinearity.setter
    def nonlinearity(self, name: str) -> None:
        self.kind = elman_kind(name)


class GRUCell(_Cell):
    """One step of a GRU: torch.nn.GRUCell with ``layer_norm`` and ``zoneout``."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        layer_norm: bool = False,
        zoneout: float | tuple[float, float] = 0.0,
    ) -> None:
        super().__init__("gru", input_size, hidden_size, bias, device, dtype, layer_norm, zoneout)


class LSTMCell(_Cell):
    """One step of an LSTM: torch.nn.LSTMCell with ``layer_norm`` and ``zoneout``."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        layer_norm: bool = False,
        zoneout: float | tuple[float, float] = 0.0,
    ) -> None:
        super().__init__("lstm", input_size, hidden_size, bias, device, dtype, layer_norm, zoneout)
