"""RNN, GRU and LSTM with the constructor, inputs, outputs and state_dict of torch.nn, and more.

What torch.nn lacks: ragged ``lengths`` without packing, recurrent (variational) dropout, weight
dropout, layer normalisation per gate, zoneout, resets of the state at given steps.
"""

from __future__ import annotations

import torch

from kernels.modules.options import LayerOptions, elman_kind
from kernels.modules.stack import LayerStack


class RNN(LayerStack):
    """Elman network, h' = tanh(W x + b + U h + b) or relu: torch.nn.RNN and more.

    Keyword-only options: ``layer_norm`` of each gate (Ba et al. 2016), ``zoneout`` probability
    or pair (hidden, cell) (Krueger et al. 2017), ``recurrent_dropout`` with one mask per sequence,
    ``weight_dropout`` on W_hh. ``recompute`` keeps the states alone for the backward pass and makes
    the gates again there; ``kernels.recurrence`` states the bytes.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        layer_norm: bool = False,
        zoneout: float | tuple[float, float] = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        recompute: bool = False,
    ) -> None:
        options = LayerOptions(
            kind=elman_kind(nonlinearity),
            input_size=input_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            layer_norm=layer_norm,
            zoneout=zoneout,
            recurrent_dropout=recurrent_dropout,
            weight_dropout=weight_dropout,
            recompute=recompute,
        )
        super().__init__(options, device, dtype)
        self.nonlinearity = nonlinearity


class GRU(LayerStack):
    """Gated recurrent unit, reset after the product as torch.nn.GRU, and the options of RNN."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        layer_norm: bool = False,
        zoneout: float | tuple[float, float] = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        recompute: bool = False,
    ) -> None:
        options = LayerOptions(
            kind="gru",
            input_size=input_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            layer_norm=layer_norm,
            zoneout=zoneout,
            recurrent_dropout=recurrent_dropout,
            weight_dropout=weight_dropout,
            recompute=recompute,
        )
        super().__init__(options, device, dtype)


class LSTM(LayerStack):
    """Long short-term memory as torch.nn.LSTM, and the options of RNN.

    ``proj_size`` P above 0 projects the hidden state to P features, h' = W_hr (o*tanh(c')) (Sak et
    al. 2014); the cell keeps ``hidden_size``.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        layer_norm: bool = False,
        zoneout: float | tuple[float, float] = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        recompute: bool = False,
    ) -> None:
        options = LayerOptions(
            kind="lstm",
            input_size=input_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            proj_size=proj_size,
            layer_norm=layer_norm,
            zoneout=zoneout,
            recurrent_dropout=recurrent_dropout,
            weight_dropout=weight_dropout,
            recompute=recompute,
        )
        super().__init__(options, device, dtype)
