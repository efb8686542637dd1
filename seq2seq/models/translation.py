"""The translation model: embeddings, encoder, bridge, decoder, output projection."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kernels.decoder import DecoderState, Memory, StepMemory, StepWeights, step_memory
from kernels.precision import precision
from kernels.prepared_linear import PreparedLinear, prepare_linear, prepared_linear
from seq2seq.config import ModelConfig
from seq2seq.errors import UsageError
from seq2seq.models.bridge import Bridge
from seq2seq.models.decoder import Decoder
from seq2seq.models.dropout import drop_steps, drop_words
from seq2seq.models.encoder import Encoder


class DecodingWeights(NamedTuple):
    """The parameters that a step multiplies with, prepared once for many steps: see
    ``TranslationModel.decoding_weights``. Later changes of the model do not reach them."""

    embedding: Tensor  # (V, E)
    decoder: StepWeights
    projection: PreparedLinear  # (V, A)


@dataclass(frozen=True)
class TranslationState:
    """What decoding carries from step to step, for N hypotheses of B sources."""

    decoder: DecoderState  # (L, N, H), (L, N, H), (N, A)
    memory: StepMemory | None  # (B, S, .), shared by the hypotheses of a source
    rows: Tensor  # (N,) the source of each hypothesis, ascending
    weights: DecodingWeights  # the same in all states of a search
    attention: Tensor | None = None  # (N, S) of the step before


class TranslationModel(nn.Module):
    """Encoder-decoder with attention; offers start, step and reorder to the search.

    Raises UsageError for sizes that do not fit together, naming the configuration key.
    """

    def __init__(self, config: ModelConfig, source_vocab_size: int, target_vocab_size: int) -> None:
        super().__init__()
        size, tied = config.embedding_size, config.tied_embeddings
        self.dropout, self.embedding_dropout = config.dropout, config.embedding_dropout
        self.variational = config.dropout_kind == "variational"
        if tied == "all" and source_vocab_size != target_vocab_size:
            raise UsageError(
                "model.tied_embeddings: 'all' needs one vocabulary, found "
                f"{source_vocab_size} source and {target_vocab_size} target words"
            )
        self.source_embedding = nn.Embedding(source_vocab_size, size, padding_idx=0)
        self.target_embedding = (
            self.source_embedding
            if tied == "all"
            else nn.Embedding(target_vocab_size, size, padding_idx=0)
        )
        self.encoder = Encoder(config.encoder, size, config.dropout, self.variational)
        self.bridge = Bridge(config, self.encoder.size)
        # The attentional vector is as wide as the output projection's rows: tied ones are
        # embeddings (Press & Wolf 2017), others as wide as the hidden state.
        width = config.decoder.hidden_size if tied == "none" else size
        self.decoder = Decoder(config, size, self.encoder.size, width)
        self.projection = nn.Linear(width, target_vocab_size)
        if tied != "none":
            self.projection.weight = self.target_embedding.weight
        self._initialise(config.init_range)

    def _initialise(self, bound: float) -> None:
        """Uniform in +-bound, gains of layer normalisation 1; the padding row is zero."""
        norms = [m for m in self.modules() if isinstance(m, nn.LayerNorm)]
        skip = {id(p) for norm in norms for p in norm.parameters()}
        with torch.no_grad():
            for parameter in self.parameters():
                if id(parameter) not in skip:
                    parameter.uniform_(-bound, bound)
            self.source_embedding.weight[0] = 0
            self.target_embedding.weight[0] = 0

    def forward(self, source: Tensor, source_lengths: Tensor, target_input: Tensor) -> Tensor:
        """Teacher forcing: source (B, S), lengths (B,), target_input (B, T) -> the attentional
        vectors (B, T, A), with dropout, that ``projection`` turns into logits."""
        state, memory = self._encode(source, source_lengths)
        embedded = self._embed(self.target_embedding, target_input)
        vectors, _, _ = self.decoder(embedded, state, memory)
        return vectors

    def _embed(self, embedding: nn.Embedding, tokens: Tensor) -> Tensor:
        embedded = embedding(tokens)  # (B, T, E)
        if self.training and self.embedding_dropout:
            embedded = drop_words(
                embedded, tokens, embedding.num_embeddings, self.embedding_dropout
            )
        return drop_steps(embedded, self.dropout, self.variational, self.training)

    def _encode(self, tokens: Tensor, lengths: Tensor) -> tuple[DecoderState, Memory | None]:
        """tokens (B, S), lengths (B,) -> the decoder's first state, and what it attends to."""
        embedded = self._embed(self.source_embedding, tokens)
        values, hidden, cell = self.encoder(embedded, lengths)
        values = drop_steps(values, self.dropout, self.variational, self.training)
        hidden, cell = self.bridge(hidden, cell)
        return self.decoder.initial_state(hidden, cell), self.decoder.memory(values, lengths)

    def decoding_weights(self) -> DecodingWeights:
        """What ``start`` hands to all steps. Made once for many batches it saves a copy of the
        decoder's weights for each. The products of the steps have the dtype that autocast had
        here."""
        product = precision(self.projection.weight).product
        return DecodingWeights(
            self.target_embedding.weight.detach(),
            self.decoder.step_weights(product),
            prepare_linear(self.projection.weight, self.projection.bias, product),
        )

    def start(
        self, source: tuple[Tensor, Tensor], weights: DecodingWeights | None = None
    ) -> TranslationState:
        """Encode (tokens (B, S), lengths (B,)): the state before the first target token, for
        steps with ``weights``, by default the model's as they are now."""
        tokens, lengths = source
        weights = weights or self.decoding_weights()
        decoder, memory = self._encode(tokens, lengths)
        memory = None if memory is None else step_memory(memory)
        rows = torch.arange(tokens.shape[0], device=tokens.device)
        return TranslationState(decoder, memory, rows, weights)

    @torch.no_grad()
    def step(self, tokens: Tensor, state: TranslationState) -> tuple[Tensor, TranslationState]:
        """One target token for each hypothesis: tokens (N,) -> logits (N, V). No gradients."""
        weights, rows = state.weights, None
        if tokens.device.type == "cpu":  # elsewhere, finding the different ones costs a wait
            tokens, rows = torch.unique(tokens, return_inverse=True)  # (U,), (N,)
        embedded = weights.embedding.index_select(0, tokens)  # (U, E)
        vectors, decoder, attention = self.decoder.step(
            embedded, rows, state.decoder, state.memory, weights.decoder
        )
        logits = prepared_linear(vectors, weights.projection)  # (N, V)
        return logits, replace(state, decoder=decoder, attention=attention)

    def reorder(self, state: TranslationState, index: Tensor) -> TranslationState:
        """Row i of the new state is row index[i] of the old one. Hypotheses of a source must
        stay side by side; the source's keys and values are then shared, not copied."""
        hidden, cell, feed = state.decoder
        decoder = DecoderState(
            hidden.index_select(1, index),
            None if cell is None else cell.index_select(1, index),
            None if feed is None else feed.index_select(0, index),
        )
        attention = None if state.attention is None else state.attention.index_select(0, index)
        rows, memory = state.rows.index_select(0, index), state.memory
        if memory is not None and not torch.equal(rows, state.rows):
            memory, rows = _regroup(memory, rows)
        return replace(state, decoder=decoder, memory=memory, rows=rows, attention=attention)


def _regroup(memory: StepMemory, rows: Tensor) -> tuple[StepMemory, Tensor]:
    """The memory of those sources that ``rows`` (N,) still names, and rows numbered anew."""
    kept, counts = torch.unique_consecutive(rows, return_counts=True)
    if len(kept) and bool((counts == counts[0]).all()):
        every = torch.arange(len(memory.keys), device=kept.device)
        chosen = None if torch.equal(kept, every) else kept
        rows = torch.arange(len(kept), device=rows.device).repeat_interleave(counts)
    else:  # unequal numbers of hypotheses: every one gets a source of its own
        chosen, rows = rows, torch.arange(len(rows), device=rows.device)
    if chosen is not None:
        taken = (None if t is None else t.index_select(0, chosen) for t in memory)
        memory = StepMemory(*taken)
    return memory, rows
