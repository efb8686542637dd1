"""A translation model in int8, for decoding on a CPU: a quarter of the memory of its weights in
float32, and products at twice the rate of bfloat16."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from kernels.common.prepared_linear import PreparedLinear, prepare_linear, prepared_linear
from kernels.common.quantised import quantise_rows, why_no_int8
from kernels.decoder import DecoderState, Memory, StepMemory, StepWeights, prepared_step
from kernels.recurrence.quantised import quantise_layer, quantised_recurrence
from seq2seq.errors import UsageError
from seq2seq.layers import decoder_search
from seq2seq.layers.decoder import Decoder
from seq2seq.layers.decoder_search import DecodingWeights, SearchState
from seq2seq.tasks.translation.bridge import first_states
from seq2seq.tasks.translation.model import TranslationModel


class Int8TranslationModel(nn.Module):
    """What a TranslationModel computes without gradients, its products in int8: embeddings,
    encoder, bridge, decoder steps, vocabulary. Attention, gates, layer norms and states stay
    float32.

    It keeps nothing of the model's own weights but biases, norms and attention's score vector.
    Offers start, step and reorder to the search. Every row has its own scale, and the sums of a
    product are exact. What is float32 between products may differ in its last bit with the
    batch, which rounding to 8 bits can carry further: seldom, and less than in bf16.

    Raises UsageError on a machine without 8-bit products, and for a model that is on a GPU.
    """

    def __init__(self, model: TranslationModel) -> None:
        super().__init__()
        device = model.source_embedding.weight.device
        if device.type != "cpu":
            raise UsageError(f"precision int8 is for the CPU; the model is on {device}: use bf16")
        if reason := why_no_int8():
            raise UsageError(f"precision int8: {reason}; use bf16 or fp32")
        encoder, bridge = model.encoder, model.bridge
        self._embedding = quantise_rows(model.source_embedding.weight)
        self._layers = [quantise_layer(layer) for layer in encoder.layers]
        self._norms = [_copied(norm) for norm in encoder.norms]
        self._encoder_residual = encoder.residual
        self._bridge = bridge.shape
        self._bridge_hidden = [_prepared(linear) for linear in bridge.hidden]
        self._bridge_cell = [_prepared(linear) for linear in bridge.cell]
        self._keys = None if model.decoder.keys is None else _prepared(model.decoder.keys)
        self._decoder = Int8Steps(model.decoder)
        table = (
            self._embedding
            if model.target_embedding is model.source_embedding
            else quantise_rows(model.target_embedding.weight)
        )
        tied = model.projection.weight is model.target_embedding.weight
        self._vocabulary = table if tied else quantise_rows(model.projection.weight)
        self._weights = DecodingWeights(
            model.target_embedding.weight.new_empty(0, 0),
            False,
            model.decoder.step_weights(torch.int8),
            _prepared(model.projection),
            table,
        )
        self.eval()

    def decoding_weights(self) -> DecodingWeights:
        """See TranslationModel.decoding_weights."""
        return self._weights

    def narrowed(self, weights: DecodingWeights, ids: Tensor) -> DecodingWeights:
        """See TranslationModel.narrowed."""
        return decoder_search.narrowed_int8(weights, ids, self._vocabulary)

    def start(
        self, source: tuple[Tensor, Tensor], weights: DecodingWeights | None = None
    ) -> SearchState:
        """Encode (tokens (B, S), lengths (B,)): the state before the first target token."""
        tokens, lengths = source
        batch, steps = tokens.shape
        x = self._embedding.take(tokens.flatten()).view(batch, steps, -1)  # (B, S, E)
        hidden, cell = [], []
        for number, layer in enumerate(self._layers):
            y, h, c = quantised_recurrence(layer, x, lengths)
            hidden.append(torch.cat(tuple(h), -1))
            if c is not None:
                cell.append(torch.cat(tuple(c), -1))
            if self._norms:
                y = self._norms[number](y)
            if self._encoder_residual and number:
                y = y + x
            x = y
        state = first_states(
            self._bridge,
            torch.stack(hidden),
            torch.stack(cell) if cell else None,
            [_map(one) for one in self._bridge_hidden],
            [_map(one) for one in self._bridge_cell],
        )
        return decoder_search.first_state(
            self._decoder.initial_state(*state), self._memory(x, lengths), weights or self._weights
        )

    def _memory(self, values: Tensor, lengths: Tensor) -> Memory | None:
        if not self._decoder.attends:
            return None
        keys = values
        if self._keys is not None:
            keys = prepared_linear(values.flatten(0, 1), self._keys).view(*values.shape[:2], -1)
        return Memory(keys, values, lengths)

    def step(self, tokens: Tensor, state: SearchState) -> tuple[Tensor, SearchState]:
        """tokens (N,) -> logits (N, V)."""
        return decoder_search.step(self._decoder, tokens, state)

    def reorder(self, state: SearchState, index: Tensor) -> SearchState:
        """Row i of the new state is row index[i] of the old one."""
        return decoder_search.reorder(state, index)


class Int8Steps:
    """What a search needs of a decoder beside its weights."""

    def __init__(self, decoder: Decoder) -> None:
        self._kind, self._scale, self._residual = decoder.kind, decoder.scale, decoder.residual
        self._width = decoder.output_size if decoder.feeding else 0
        self.attends = decoder.attention != "none"

    def initial_state(self, hidden: Tensor, cell: Tensor | None) -> DecoderState:
        feed = hidden.new_zeros(hidden.shape[1], self._width) if self._width else None
        return DecoderState(hidden, cell, feed)

    def step(
        self,
        embedded: Tensor,
        rows: Tensor | None,
        state: DecoderState,
        memory: StepMemory | None,
        weights: StepWeights,
        summed: bool = False,
    ) -> tuple[Tensor, DecoderState, Tensor | None]:
        """See Decoder.step."""
        return prepared_step(
            embedded, rows, weights, state, memory, self._kind, self._scale, self._residual, summed
        )


def _prepared(linear: nn.Module) -> PreparedLinear:
    assert isinstance(linear, nn.Linear)  # what a ModuleList holds is not typed
    return prepare_linear(linear.weight, linear.bias, torch.int8)


def _copied(norm: nn.Module) -> nn.Module:
    return copy.deepcopy(norm)


def _map(linear: PreparedLinear) -> Callable[[Tensor], Tensor]:
    return lambda states: prepared_linear(states, linear)
