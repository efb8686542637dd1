"""The recurrent decoder with attention: its parameters, handed to kernels.attention_decoder."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from kernels.decoder import (
    DecoderState,
    DecoderWeights,
    DropoutMasks,
    LayerWeights,
    Memory,
    Sentinel,
    StepMemory,
    StepWeights,
    attention_decoder,
    prepared_step,
    step_weights,
)
from seq2seq.config.layers import DecoderConfig
from seq2seq.errors import UsageError
from seq2seq.layers.dropout import dropout_mask
from seq2seq.layers.encoder import recurrent_layer
from seq2seq.layers.module_list import ModuleList

if TYPE_CHECKING:
    from kernels.decoder.triton_backend.step import JoinedWeights


class Decoder(nn.Module):
    """One attentional vector a_t (A) per target step; equations at kernels.attention_decoder.

    Scoring (Bahdanau et al. 2015; Luong et al. 2015, eq. 8), with h the decoder's and e the
    encoder's state: additive v.tanh(W h + U e + b), concat v.tanh(W [h; e]), dot h.e,
    scaled_dot h.e / sqrt(H), general h.(W e). What depends on the source alone (U e + b, W e)
    is projected once per source.

    ``context_gate`` (Xu et al. 2015, section 4.2.1) scales what attention found, the context, by
    sigmoid(W h + b): "scalar" by one number a step, "vector" by one for each of its values.
    ``sentinel`` (Lu et al. 2017; kernels/decoder/sentinel.py) is one more place to attend to, the
    decoder's own memory; values must be as wide as the hidden state.
    """

    def __init__(
        self,
        config: DecoderConfig,
        embedding_size: int,
        values_size: int,
        output_size: int,
        *,
        dropout: float = 0.0,
        variational: bool = False,
        context_gate: Literal["none", "scalar", "vector"] = "none",
        sentinel: bool = False,
    ) -> None:
        super().__init__()
        self.attention, self.kind = config.attention, config.cell
        self.residual, self.feeding = config.residual, config.input_feeding
        self.dropout, self.variational = dropout, variational
        self.output_size = output_size  # A
        size = config.hidden_size  # H
        fed = output_size if self.feeding else 0
        self.layers = ModuleList(
            recurrent_layer(config.cell, embedding_size + fed if number == 0 else size, size)
            for number in range(config.layers)
        )
        self.norms = ModuleList(
            nn.LayerNorm(size) for _ in range(config.layers if config.layer_norm else 0)
        )
        self._make_scoring(config, values_size)
        self.gate = None
        if context_gate != "none":
            self.gate = nn.Linear(size, values_size if context_gate == "vector" else 1)
        self.sentinel_gate = self.sentinel_key = None
        if sentinel:
            top = self.layers[-1]
            self.sentinel_gate = nn.Linear(top.input_size + size, size)
            width = self.query.out_features if self.query is not None else size
            self.sentinel_key = nn.Linear(size, width, bias=False)
        context = 0 if self.attention == "none" else values_size
        self.output = nn.Linear(context + size, output_size, bias=False)

    def _make_scoring(self, config: DecoderConfig, values_size: int) -> None:
        """The parameters of the attention scores; see the equations above."""
        size = config.hidden_size
        self.scale = 1.0
        self.query = self.keys = None
        self.score = None
        if self.attention in ("additive", "concat"):
            width = config.attention_size or size
            self.query = nn.Linear(size, width, bias=False)
            self.keys = nn.Linear(values_size, width, bias=self.attention == "additive")
            self.score = nn.Parameter(torch.empty(width))
        elif self.attention == "general":
            self.keys = nn.Linear(values_size, size, bias=False)
        elif self.attention in ("dot", "scaled_dot"):
            if values_size != size:
                raise UsageError(
                    f"model.decoder.attention: '{self.attention}' multiplies decoder states "
                    f"({size}) with encoder states ({values_size}); "
                    "make them equal or use 'general'"
                )
            if self.attention == "scaled_dot":
                self.scale = 1.0 / math.sqrt(size)

    def memory(self, values: Tensor, lengths: Tensor | None) -> Memory | None:
        """Encoder outputs (B, S, D) with their projected keys; None without attention."""
        if self.attention == "none":
            return None
        keys = values if self.keys is None else self.keys(values)
        return Memory(keys.to(values.dtype), values, lengths)

    def initial_state(self, hidden: Tensor, cell: Tensor | None) -> DecoderState:
        feed = hidden.new_zeros(hidden.shape[1], self.output_size) if self.feeding else None
        return DecoderState(hidden, cell, feed)

    def weights(self) -> DecoderWeights:
        layers, size = [], self.layers[0].hidden_size
        for number, layer in enumerate(self.layers):
            norm = self.norms[number] if len(self.norms) else None
            weight_ih, weight_hh, bias_ih, bias_hh = layer.all_weights[0]
            layers.append(
                LayerWeights(
                    weight_ih,
                    weight_hh,
                    bias_ih,
                    bias_hh,
                    None if norm is None else norm.weight,
                    None if norm is None else norm.bias,
                )
            )
        query = None if self.query is None else self.query.weight
        sentinel = None
        if self.sentinel_gate is not None and self.sentinel_key is not None:
            x, h = self.sentinel_gate.weight.split([self.layers[-1].input_size, size], 1)
            sentinel = Sentinel(x, h, self.sentinel_gate.bias, self.sentinel_key.weight)
        return DecoderWeights(
            tuple(layers),
            self.output.weight,
            query,
            self.score,
            None if self.gate is None else self.gate.weight,
            None if self.gate is None else self.gate.bias,
            sentinel,
        )

    def forward(
        self, embedded: Tensor, state: DecoderState, memory: Memory | None
    ) -> tuple[Tensor, DecoderState, Tensor | None]:
        """Teacher forcing: embedded (B, T, E) -> attentional vectors (B, T, A), final state,
        attention weights (B, T, S) or None."""
        return attention_decoder(
            embedded,
            self.weights(),
            state,
            memory,
            kind=self.kind,
            scale=self.scale,
            residual=self.residual,
            masks=self._masks(embedded),
        )

    def step_weights(self, product: torch.dtype) -> StepWeights | JoinedWeights:
        """The parameters as ``step`` wants them, for products in the dtype ``product``."""
        first, fed = self.layers[0], self.output_size if self.feeding else 0
        return step_weights(self.weights(), self.kind, first.input_size - fed, product)

    def step(
        self,
        embedded: Tensor,
        rows: Tensor | None,
        state: DecoderState,
        memory: StepMemory | None,
        weights: StepWeights | JoinedWeights,
        summed: bool = False,
    ) -> tuple[Tensor, DecoderState, Tensor | None]:
        """One step of decoding: embedded (U, E), or its share of the gates (U, C) with ``summed``,
        of which hypothesis i is fed row rows[i] (N,), or its own row i where rows is None
        -> (N, A), state, attention (N, S) or None."""
        return prepared_step(
            embedded, rows, weights, state, memory, self.kind, self.scale, self.residual, summed
        )

    def _masks(self, embedded: Tensor) -> DropoutMasks:
        if not self.training or self.dropout == 0:
            return DropoutMasks()
        batch, steps = embedded.shape[:2]
        first = 1 if self.variational else steps
        hidden = self.layers[0].hidden_size
        return DropoutMasks(
            tuple(
                dropout_mask((first, batch, hidden), self.dropout, embedded)
                for _ in range(len(self.layers) - 1)
            ),
            dropout_mask((first, batch, self.output_size), self.dropout, embedded),
        )
