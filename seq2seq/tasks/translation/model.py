"""The translation model: embeddings, encoder, bridge, decoder, output projection."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kernels.decoder import DecoderState, Memory
from seq2seq.errors import UsageError
from seq2seq.layers import decoder_search
from seq2seq.layers.decoder import Decoder
from seq2seq.layers.decoder_search import DecodingWeights, SearchState
from seq2seq.layers.dropout import drop_steps, drop_words
from seq2seq.layers.encoder import Encoder
from seq2seq.tasks.translation.bridge import Bridge
from seq2seq.tasks.translation.config import ModelConfig


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
        self.decoder = Decoder(
            config.decoder,
            size,
            self.encoder.size,
            width,
            dropout=config.dropout,
            variational=self.variational,
        )
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

    def forward(
        self,
        source: Tensor,
        source_lengths: Tensor,
        target_input: Tensor,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Teacher forcing: source (B, S), lengths (B,), target_input (B, T) -> the attentional
        vectors (B, T, A), with dropout, that ``projection`` turns into logits.

        With ``rows`` (N,) there are N targets (N, T), and the source of target n is row
        ``rows[n]``: a source with several targets is encoded once."""
        state, memory = self.encode(source, source_lengths)
        if rows is not None:
            state, memory = _select(state, memory, rows)
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

    def encode(self, tokens: Tensor, lengths: Tensor) -> tuple[DecoderState, Memory | None]:
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
        return decoder_search.decoding_weights(self.target_embedding, self.decoder, self.projection)

    def narrowed(self, weights: DecodingWeights, ids: Tensor) -> DecodingWeights:
        """``weights`` for steps in the target words ids (U,) alone: a token is a position in ids,
        and logits are (N, U). See ``decoding.narrow``."""
        return decoder_search.narrowed(weights, ids, self.projection)

    def start(
        self, source: tuple[Tensor, Tensor], weights: DecodingWeights | None = None
    ) -> SearchState:
        """Encode (tokens (B, S), lengths (B,)): the state before the first target token, for
        steps with ``weights``, by default the model's as they are now."""
        tokens, lengths = source
        weights = weights or self.decoding_weights()
        return decoder_search.first_state(*self.encode(tokens, lengths), weights)

    def step(self, tokens: Tensor, state: SearchState) -> tuple[Tensor, SearchState]:
        """One target token for each hypothesis: tokens (N,) -> logits (N, V). No gradients."""
        return decoder_search.step(self.decoder, tokens, state)

    def reorder(self, state: SearchState, index: Tensor) -> SearchState:
        """Row i of the new state is row index[i] of the old one. Hypotheses of a source must
        stay side by side."""
        return decoder_search.reorder(state, index)


def _select(
    state: DecoderState, memory: Memory | None, rows: Tensor
) -> tuple[DecoderState, Memory | None]:
    """State and memory of these rows, with gradients."""
    cell = None if state.cell is None else state.cell.index_select(1, rows)
    feed = None if state.feed is None else state.feed.index_select(0, rows)
    state = DecoderState(state.hidden.index_select(1, rows), cell, feed)
    if memory is None:
        return state, None
    lengths = None if memory.lengths is None else memory.lengths.index_select(0, rows)
    keys, values = memory.keys.index_select(0, rows), memory.values.index_select(0, rows)
    return state, Memory(keys, values, lengths)
