"""The translation model: embeddings, encoder, bridge, decoder, output projection."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels.decoder import DecoderState, Memory
from seq2seq.config import ModelConfig
from seq2seq.errors import UsageError
from seq2seq.models.bridge import Bridge
from seq2seq.models.decoder import Decoder
from seq2seq.models.dropout import drop_steps, drop_words
from seq2seq.models.encoder import Encoder


@dataclass(frozen=True)
class TranslationState:
    """What decoding carries from step to step, for N hypotheses of B sources."""

    decoder: DecoderState  # (L, N, H), (L, N, H), (N, A)
    memory: Memory | None  # (B, S, .), shared by the hypotheses of a source
    rows: Tensor  # (N,) the source of each hypothesis, ascending
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
        state = self.start((source, source_lengths))
        embedded = self._embed(self.target_embedding, target_input)
        vectors, _, _ = self.decoder(embedded, state.decoder, state.memory)
        return vectors

    def _embed(self, embedding: nn.Embedding, tokens: Tensor) -> Tensor:
        embedded = embedding(tokens)  # (B, T, E)
        if self.training and self.embedding_dropout:
            embedded = drop_words(
                embedded, tokens, embedding.num_embeddings, self.embedding_dropout
            )
        return drop_steps(embedded, self.dropout, self.variational, self.training)

    def start(self, source: tuple[Tensor, Tensor]) -> TranslationState:
        """Encode (tokens (B, S), lengths (B,)): the state before the first target token."""
        tokens, lengths = source
        embedded = self._embed(self.source_embedding, tokens)
        values, hidden, cell = self.encoder(embedded, lengths)
        values = drop_steps(values, self.dropout, self.variational, self.training)
        hidden, cell = self.bridge(hidden, cell)
        rows = torch.arange(tokens.shape[0], device=tokens.device)
        return TranslationState(
            self.decoder.initial_state(hidden, cell), self.decoder.memory(values, lengths), rows
        )

    def step(self, tokens: Tensor, state: TranslationState) -> tuple[Tensor, TranslationState]:
        """One target token for each hypothesis: tokens (N,) -> logits (N, V)."""
        embedded = self.target_embedding(tokens)
        vectors, decoder, attention = self.decoder.step(embedded, state.decoder, state.memory)
        logits = F.linear(vectors, self.projection.weight, self.projection.bias)
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
        rows = state.rows.index_select(0, index)
        if state.memory is None:
            return TranslationState(decoder, None, rows, attention)
        kept, counts = torch.unique_consecutive(rows, return_counts=True)
        sources = state.memory.keys.shape[0]
        if len(kept) and bool((counts == counts[0]).all()):
            every = torch.arange(sources, device=kept.device)
            chosen = None if torch.equal(kept, every) else kept
            rows = torch.arange(len(kept), device=rows.device).repeat_interleave(counts)
        else:  # unequal numbers of hypotheses: every one gets a source of its own
            chosen, rows = rows, torch.arange(len(rows), device=rows.device)
        memory = state.memory
        if chosen is not None:
            memory = Memory(*(t.index_select(0, chosen) for t in memory))
        return TranslationState(decoder, memory, rows, attention)
