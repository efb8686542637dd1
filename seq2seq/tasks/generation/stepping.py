"""A language model one unit at a time, for generation: the contract of ARCHITECTURE.md.

Weights are laid out once: the first layer's input product is a table with a row for each unit,
which leaves one product a layer and step there. Row i of a batch gets the same numbers as alone
(see ``packed_linear``): prompts are read step by step, too, except for the beginning of long
ones, which each prompt reads by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kernels import GRU, LSTM, RNN
from seq2seq.layers.module_list import ModuleList
from seq2seq.precision import Precision
from seq2seq.tasks.generation.cells import next_elman, next_gru, next_lstm, step_lstm
from seq2seq.tasks.generation.model import LanguageModel, LanguageState
from seq2seq.tasks.generation.packed_linear import PackedLinear

_TABLE_BYTES = 1 << 26
_LONG = 1024  # a longer prompt is read in windows up to its last so many units
_WINDOW = 2048


@dataclass(frozen=True)
class StepState:
    """N rows; the tensors are changed in place by ``step``."""

    layers: LanguageState  # (N, H) each, float32
    attention: None = None

    def take(self, rows: int) -> StepState:
        """The first ``rows``, sharing memory."""
        return StepState(LanguageState(*(tuple(p[:rows] for p in parts) for parts in self.layers)))


class RecurrentSteps:
    """Embedding and recurrent layers, one step at a time; a copy of their weights, as they are
    now."""

    def __init__(self, embedding: Tensor, layers: ModuleList, dtype: torch.dtype) -> None:
        self.device = embedding.device
        with torch.no_grad():
            self._layers = [_Layer(layer, dtype) for layer in layers]
            self._embedding = embedding.detach().float()  # (V, E)
            width = self._layers[0].width
            self._table = None  # (V, G*H)
            if 4 * len(self._embedding) * width <= _TABLE_BYTES:
                self._table = self._layers[0].input(self._embedding)

    def empty(self, rows: int) -> StepState:
        """The state before anything was read."""
        zeros = [torch.zeros(rows, layer.size, device=self.device) for layer in self._layers]
        lstm = self._layers[0].kind == "lstm"
        cells = tuple(torch.zeros_like(z) for z in zeros) if lstm else ()
        return StepState(LanguageState(tuple(zeros), cells))

    def feed(self, tokens: Tensor, state: StepState) -> Tensor:
        """Feed tokens (N,), which changes the state in place -> the top layer's new state (N, H),
        which shares its memory."""
        if self._table is not None:
            sums = self._table.index_select(0, tokens)  # (N, G*H)
        else:
            sums = self._layers[0].input(self._embedding.index_select(0, tokens))
        hidden, cells = state.layers
        for n, layer in enumerate(self._layers):
            if n:
                sums = layer.input(hidden[n - 1])
            layer.step(sums, hidden[n], cells[n] if cells else None)
        return hidden[-1]


class LanguageSteps:
    """``start``, ``step`` and ``reorder`` for a model; a copy of its weights, as they are now."""

    def __init__(self, model: LanguageModel, precision: Precision = "fp32") -> None:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.model = model
        self._steps = RecurrentSteps(model.embedding.weight, model.layers, dtype)
        self.device = self._steps.device
        self.units = len(model.embedding.weight)
        with torch.no_grad():
            self._output = PackedLinear(model.projection.weight, model.projection.bias, dtype)

    def empty(self, rows: int) -> StepState:
        """The state before anything was read."""
        return self._steps.empty(rows)

    def start(self, prompts: list[list[int]]) -> tuple[Tensor, StepState]:
        """Read N prompts of at least one unit each -> logits (N, V) of what follows, state."""
        return self.read(prompts, self.empty(len(prompts)))

    def read(self, prompts: list[list[int]], state: StepState) -> tuple[Tensor, StepState]:
        """The same from a given state of N rows."""
        with torch.inference_mode():
            order = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
            state = self.reorder(state, torch.tensor(order, device=self.device))
            rest = []
            for slot, row in enumerate(order):
                units = prompts[row]
                cut = max(0, len(units) - _LONG)
                self._read_ahead(units[:cut], state, slot)
                rest.append(units[cut:])
            logits = torch.empty(len(prompts), self.units, device=self.device)
            for t in range(len(rest[0])):
                active = sum(len(units) > t for units in rest)  # the first rows
                tokens = torch.tensor([units[t] for units in rest[:active]], device=self.device)
                last = any(len(units) == t + 1 for units in rest[:active])
                top = self._steps.feed(tokens, state.take(active))
                if last:
                    logits[:active] = self._output(top)
            back = torch.tensor(order, device=self.device).argsort()
            return logits.index_select(0, back), self.reorder(state, back)

    def _read_ahead(self, units: list[int], state: StepState, row: int) -> None:
        """The beginning of a long prompt, window by window, into one row of the state."""
        if not units:
            return
        parts = [[p[row : row + 1].clone() for p in parts] for parts in state.layers]
        reached = LanguageState(*map(tuple, parts))
        self.model.eval()
        for at in range(0, len(units), _WINDOW):
            tokens = torch.tensor([units[at : at + _WINDOW]], device=self.device)  # (1, T)
            reached = self.model(tokens, reached).state
        for old, new in zip(state.layers, reached, strict=True):
            for into, value in zip(old, new, strict=True):
                into[row] = value[0]

    def step(self, tokens: Tensor, state: StepState) -> tuple[Tensor, StepState]:
        """tokens (N,) -> logits (N, V); the state is changed in place."""
        with torch.inference_mode():
            return self._output(self._steps.feed(tokens, state)), state

    def reorder(self, state: StepState, index: Tensor) -> StepState:
        return StepState(state.layers.reorder(index))


class _Layer:
    """The weights of one layer; ``input`` and ``recurrent`` give the gate sums of both sides."""

    def __init__(self, layer: LSTM | GRU | RNN, dtype: torch.dtype) -> None:
        self.kind, self.size, self.zoneout = layer.kind, layer.hidden_size, layer.zoneout
        weight_ih, weight_hh, *biases = layer.all_weights[0]
        self.width = len(weight_ih)  # G*H
        bias_ih, bias_hh = (bias.detach().float() for bias in biases)
        self.input: PackedLinear | _Normalised
        self.recurrent: PackedLinear | _Normalised
        self.gain = self.shift = None  # of the normalised cell state, (H,), LSTM only
        if layer.layer_norm:
            names = ("gain_ih_l0", "gain_hh_l0", "gain_cell_l0", "shift_cell_l0")
            parts = {
                name: getattr(layer, name).detach().float()
                for name in names
                if hasattr(layer, name)
            }
            self.gain, self.shift = parts.get("gain_cell_l0"), parts.get("shift_cell_l0")
            self.input = _Normalised(weight_ih, bias_ih, parts["gain_ih_l0"], dtype)
            self.recurrent = _Normalised(weight_hh, bias_hh, parts["gain_hh_l0"], dtype)
        elif self.kind == "gru":
            self.input = PackedLinear(weight_ih, bias_ih, dtype)
            self.recurrent = PackedLinear(weight_hh, bias_hh, dtype)
        else:  # both sides are added: one bias
            self.input = PackedLinear(weight_ih, bias_ih + bias_hh, dtype)
            self.recurrent = PackedLinear(weight_hh, None, dtype)

    def step(self, sums: Tensor, hidden: Tensor, cell: Tensor | None) -> None:
        """sums (N, G*H) of the input, used up; hidden and cell (N, H) become the new state."""
        side = self.recurrent
        if cell is not None and isinstance(side, PackedLinear) and self.zoneout == (0.0, 0.0):
            step_lstm(side.add_to(sums, hidden), hidden, cell)
            return
        recurrent = side(hidden)  # (N, G*H)
        if cell is not None:
            new, new_cell = next_lstm(sums + recurrent, cell, self.gain, self.shift)
            # zoneout's expectation (Krueger et al. 2017, section 3.2), as below
            cell.lerp_(new_cell, 1 - self.zoneout[1])
        elif self.kind == "gru":
            new = next_gru(sums, recurrent, hidden)
        else:
            new = next_elman(sums + recurrent, self.kind)
        hidden.lerp_(new, 1 - self.zoneout[0])


class _Normalised:
    """LN(x W') * gain + bias, each gate by itself."""

    def __init__(self, weight: Tensor, bias: Tensor, gain: Tensor, dtype: torch.dtype) -> None:
        self.linear, self.bias, self.gain = PackedLinear(weight, None, dtype), bias, gain

    def __call__(self, x: Tensor) -> Tensor:
        sums = self.linear(x).unflatten(-1, self.gain.shape)  # (N, G, H)
        norm = torch.nn.functional.layer_norm(sums, self.gain.shape[1:])
        return (norm * self.gain).flatten(-2) + self.bias
