"""The stack of layers that RNN, GRU and LSTM share: their inputs, states and options.

Legend: B batch, T steps, I input features, H hidden, P projected hidden (H without a projection),
L layers, D directions, G gates.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from kernels.common.lengths import check_lengths
from kernels.common.registration import opaque
from kernels.modules.fx import recorded
from kernels.modules.options import DEFAULTS, LayerOptions
from kernels.modules.parameters import (
    State,
    add_parameters,
    gate_norm,
    map_state,
    reset_parameters,
    zone_masks,
)
from kernels.modules.plain import run_plain
from kernels.recurrence import bidirectional_recurrence, recurrence


class LayerStack(nn.Module):
    """The stack of layers that RNN, GRU and LSTM share; ``self.kind`` names the cell."""

    kind: str  # these, and those below, are the fields of LayerOptions
    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    layer_norm: bool
    zoneout: tuple[float, float]
    recurrent_dropout: float
    weight_dropout: float
    recompute: bool
    proj_size: int = 0  # of modules that were pickled before they had one

    def __init__(
        self, options: LayerOptions, device: torch.device | str | None, dtype: torch.dtype | None
    ) -> None:
        super().__init__()
        for field in fields(options):
            setattr(self, field.name, getattr(options, field.name))
        for layer in range(self.num_layers):
            features = self.input_size if layer == 0 else self._features
            for suffix in self._suffixes(layer):
                add_parameters(self, features, suffix, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in +-1/sqrt(H) as in torch.nn; gains of layer normalisation 1."""
        reset_parameters(self, self.hidden_size)

    def flatten_parameters(self) -> None:
        """Does nothing; torch.nn's modules have it, and callers call it."""

    @property
    def mode(self) -> str:
        """What torch.nn's layer of this kind has: LSTM, GRU, RNN_TANH or RNN_RELU."""
        name = self.kind.upper()
        return name if name in ("LSTM", "GRU") else f"RNN_{name}"

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """The parameters of each layer and direction, in the order of torch.nn."""
        names = ["weight_ih", "weight_hh"] + (["bias_ih", "bias_hh"] if self.bias else [])
        names += ["weight_hr"] if self.proj_size else []
        return [
            [getattr(self, name + suffix) for name in names]
            for layer in range(self.num_layers)
            for suffix in self._suffixes(layer)
        ]

    def extra_repr(self) -> str:
        parts = [str(self.input_size), str(self.hidden_size)]
        for name, default in DEFAULTS.items():
            if getattr(self, name) != default:
                parts.append(f"{name}={getattr(self, name)}")
        return ", ".join(parts)

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: State | None = None,
        *,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, State]:
        """Run all layers.

        input: (T, B, I), or (B, T, I) with ``batch_first``, or (T, I) for one sequence, or a
            PackedSequence.
        hx: initial state (L*D, B, H), or (L*D, H) for one sequence; zero when None. For LSTM a
            pair (hidden, cell) of these; with ``proj_size`` the hidden one has P features.
        lengths: (B,) integers from 0 to T, instead of packing: outputs past a length are 0, the
            final state is the one at the length.
        resets: (B, T) bool whatever ``batch_first`` ((T,) for one sequence): where True, the
            state is zero before that step.
        -> outputs shaped as input with D*H features, D*P with ``proj_size`` (a PackedSequence for
            one), final state shaped as hx.

        Raises ValueError that names the argument that is wrong and what was expected.
        """
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx, lengths, resets)
        if (call := recorded(self, input, hx, lengths=lengths, resets=resets)) is not None:
            return call
        if input.dim() not in (2, 3):
            raise ValueError(
                f"input: found {input.dim()} dimensions; expected 2 (one sequence) or 3 (batch)"
            )
        if input.dim() == 2:
            return self._forward_single(input, hx, lengths, resets)
        inputs = input if self.batch_first else input.transpose(0, 1)  # (B, T, I)
        outputs, state = self._run(inputs, hx, lengths, resets)
        return outputs if self.batch_first else outputs.transpose(0, 1), state

    def _forward_single(
        self, input: Tensor, hx: State | None, lengths: Tensor | None, resets: Tensor | None
    ) -> tuple[Tensor, State]:
        if lengths is not None:
            raise ValueError("lengths: found with a 2-D input (one sequence); expected None")
        if hx is not None:
            states: Any = hx if self.kind == "lstm" else (hx,)
            for state in states:
                if state.dim() != 2:
                    raise ValueError(
                        f"hx: found {state.dim()} dimensions; expected (L*D, H) as input is 2-D"
                    )
            hx = map_state(lambda state: state.unsqueeze(1), hx)
        resets = None if resets is None else resets.unsqueeze(0)
        outputs, state = self._run(input.unsqueeze(0), hx, None, resets)
        return outputs.squeeze(0), map_state(lambda part: part.squeeze(1), state)

    @opaque  # how long sequences are decides the shapes, which no graph can hold
    def _forward_packed(
        self,
        packed: PackedSequence,
        hx: State | None,
        lengths: Tensor | None,
        resets: Tensor | None,
    ) -> tuple[PackedSequence, State]:
        if lengths is not None:
            raise ValueError(
                "lengths: found with a PackedSequence, which has its own; expected None"
            )
        inputs, lengths = pad_packed_sequence(packed, batch_first=True)  # in the user's order
        outputs, state = self._run(inputs, hx, lengths, resets)
        if packed.sorted_indices is not None:
            outputs = outputs.index_select(0, packed.sorted_indices)
            lengths = lengths.index_select(0, packed.sorted_indices.to("cpu"))
        data, batch_sizes, _, _ = pack_padded_sequence(outputs, lengths, batch_first=True)
        indices = (packed.sorted_indices, packed.unsorted_indices)
        return PackedSequence(data, batch_sizes, *indices), state

    def _run(
        self, inputs: Tensor, hx: State | None, lengths: Tensor | None, resets: Tensor | None
    ) -> tuple[Tensor, State]:
        batch, steps, features = inputs.shape
        if features != self.input_size:
            raise ValueError(f"input: found {features} features; expected {self.input_size}")
        if lengths is not None:
            check_lengths(lengths, batch, steps)
        if resets is not None and (resets.shape != (batch, steps) or resets.dtype != torch.bool):
            raise ValueError(
                f"resets: found {resets.dtype} {tuple(resets.shape)}; "
                f"expected torch.bool ({batch}, {steps})"
            )
        hidden, cell = self._initial(hx, batch)
        if resets is None and not torch.compiler.is_compiling():
            plain = run_plain(self, inputs, hidden, cell, lengths)
            if plain is not None:
                return plain
        finals: list[list[Any]] = []
        for layer in range(self.num_layers):
            rows = slice(layer * self._directions, (layer + 1) * self._directions)
            start = (None if hidden is None else hidden[rows], None if cell is None else cell[rows])
            inputs, *final = self._layer(layer, inputs, *start, lengths, resets)
            finals.append(final)
            if self.dropout and layer + 1 < self.num_layers:
                inputs = F.dropout(inputs, self.dropout, self.training)
        final_hidden = torch.cat([final[0] for final in finals])  # (L*D, B, H)
        if self.kind != "lstm":
            return inputs, final_hidden
        return inputs, (final_hidden, torch.cat([final[1] for final in finals]))

    def _initial(self, hx: State | None, batch: int) -> tuple[Tensor | None, Tensor | None]:
        if hx is None:
            return None, None
        if self.kind == "lstm":
            if not isinstance(hx, (tuple, list)) or len(hx) != 2:
                raise ValueError("hx: expected a pair (hidden, cell) for LSTM")
        elif not isinstance(hx, Tensor):
            raise ValueError(f"hx: found {type(hx).__name__}; expected a tensor")
        states: tuple[Any, ...] = tuple(hx) if self.kind == "lstm" else (hx,)
        lead = (self.num_layers * self._directions, batch)
        for state, size in zip(states, (self._shown, self.hidden_size), strict=False):
            if state.shape != (*lead, size):
                raise ValueError(f"hx: found shape {tuple(state.shape)}; expected {(*lead, size)}")
        return states[0], states[1] if self.kind == "lstm" else None

    def _layer(
        self,
        layer: int,
        inputs: Tensor,
        hidden: Tensor | None,
        cell: Tensor | None,
        lengths: Tensor | None,
        resets: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """-> outputs (B, T, D*P), hidden (D, B, P), cell (D, B, H)"""
        suffixes = self._suffixes(layer)
        weights = [self._weights(suffix) for suffix in suffixes]
        mask = self._hidden_mask(inputs)
        shape = (self._directions, *inputs.shape[:2])
        zoned = zone_masks(self, shape, (self._shown, self.hidden_size), inputs.device)
        zoneout = (0.0, 0.0) if self.training else self.zoneout
        common: dict[str, Any] = {
            "kind": self.kind,
            "lengths": lengths,
            "zoneout": zoneout,
            "resets": resets,
            "recompute": self.recompute,
        }
        norms: list[Any] = [gate_norm(self, self.kind, suffix) for suffix in suffixes]
        projections: list[Any] = [getattr(self, "weight_hr" + name, None) for name in suffixes]
        if self.bidirectional:
            pairs: list[Any] = [None if p[0] is None else p for p in zip(*weights, strict=True)]
            return bidirectional_recurrence(
                inputs,
                *(*pairs, hidden, cell),
                **common,
                hidden_mask=mask,
                zone_hidden=zoned[0],
                zone_cell=zoned[1],
                norm=None if norms[0] is None else tuple(norms),
                weight_hr=None if projections[0] is None else tuple(projections),
            )
        own: list[Any] = [None if t is None else t[0] for t in (hidden, cell, mask, *zoned)]
        outputs, last_hidden, last_cell = recurrence(
            inputs,
            *(*weights[0], *own[:2]),
            **common,
            hidden_mask=own[2],
            zone_hidden=own[3],
            zone_cell=own[4],
            norm=norms[0],
            weight_hr=projections[0],
        )
        return outputs, last_hidden[None], None if last_cell is None else last_cell[None]

    def _weights(self, suffix: str) -> tuple[Any, ...]:
        """weight_ih, weight_hh, bias_ih and bias_hh; biases may be None"""
        recurrent = getattr(self, "weight_hh" + suffix)
        if self.weight_dropout:  # Merity et al. 2018
            recurrent = F.dropout(recurrent, self.weight_dropout, self.training)
        biases = (getattr(self, name + suffix, None) for name in ("bias_ih", "bias_hh"))
        return (getattr(self, "weight_ih" + suffix), recurrent, *biases)

    def _hidden_mask(self, inputs: Tensor) -> Tensor | None:
        """One mask per sequence for all its steps (Gal & Ghahramani 2016): (D, B, P)"""
        if not self.training or self.recurrent_dropout == 0:
            return None
        ones = inputs.new_ones(self._directions, inputs.size(0), self._shown)
        return F.dropout(ones, self.recurrent_dropout)

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def _shown(self) -> int:
        """P, the features of a hidden state: H without a projection."""
        return self.proj_size or self.hidden_size

    @property
    def _features(self) -> int:
        """D*P, the features of a layer's outputs."""
        return self._shown * self._directions

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}"] + ([f"_l{layer}_reverse"] if self.bidirectional else [])
