"""The captioning model: image encoder, recurrent decoder with attention, output projection.

Show and Tell (Vinyals et al. 2015) gives the image to the decoder as its first input; Show, Attend
and Tell (Xu et al. 2015) lets every step attend to a grid. Both are settings of one model,
whose decoder is the translation model's.

Where it differs from Xu et al.: there, attention is asked with h_{t-1} and its context enters the
LSTM at step t. Here, as in the translation model (Luong et al. 2015), attention is asked with h_t,
context and h_t make the attentional vector a_t that predicts the word, and input feeding hands
a_t, and with it the context, to the LSTM at step t + 1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from kernels.decoder import DecoderState, Memory
from seq2seq.layers import decoder_search
from seq2seq.layers.decoder import Decoder
from seq2seq.layers.decoder_search import DecodingWeights, SearchState
from seq2seq.layers.dropout import drop_steps, drop_words
from seq2seq.layers.image_encoder import image_encoder
from seq2seq.tasks.captioning.config import CaptionModelConfig


class Encoded(NamedTuple):
    """B images as the decoder sees them."""

    values: Tensor  # (B, S, D) normalised
    lengths: Tensor | None  # (B,) how many of the S are real; None: all
    mean: Tensor  # (B, D) of the values that are real

    @property
    def images(self) -> int:
        return len(self.values)

    @property
    def device(self) -> torch.device:
        return self.values.device


class CaptioningModel(nn.Module):
    """Image in, words out; offers start, step and reorder to the search.

    The encoder's vectors are normalised (layer norm), so that encoders of any scale fit the
    decoder. Its first state is tanh(W m + b) of their mean m (f_init of Xu et al. 2015, section
    3.1.2), or zero.

    Raises UsageError for sizes that do not fit together, naming the configuration key.
    """

    def __init__(
        self, config: CaptionModelConfig, vocab_size: int, pretrained: bool = False
    ) -> None:
        """``pretrained``: fetch the weights of a ``timm`` backbone."""
        super().__init__()
        size, decoder = config.embedding_size, config.decoder
        self.dropout, self.embedding_dropout = config.dropout, config.embedding_dropout
        self.variational = config.dropout_kind == "variational"
        self.features_dropout, self.pooled = config.encoder.dropout, config.encoder.pooled
        self.encoder = image_encoder(config.encoder, pretrained)
        self.frozen = config.encoder.frozen
        width = self.encoder.size  # D
        self.narrow = None  # to the hidden state's width, which a sentinel's company needs
        if decoder.sentinel:
            self.narrow = nn.Linear(width, decoder.hidden_size)
            width = decoder.hidden_size
        self.norm = nn.LayerNorm(width)
        self.embedding = nn.Embedding(vocab_size, size)
        outputs = size if config.tied_embeddings else decoder.hidden_size  # A
        self.decoder = Decoder(
            decoder,
            size,
            width,
            outputs,
            dropout=config.dropout,
            variational=config.dropout_kind == "variational",
            context_gate=decoder.context_gate,
            sentinel=decoder.sentinel,
        )
        self.projection = nn.Linear(outputs, vocab_size)
        if config.tied_embeddings:
            self.projection.weight = self.embedding.weight
        self.starts = nn.ModuleList(  # of hidden and cell states, layer by layer
            nn.Linear(width, decoder.hidden_size)
            for _ in range(decoder.layers * (2 if decoder.cell == "lstm" else 1))
            if config.start == "linear"
        )
        self.first_input = nn.Linear(width, size) if config.image_first else None
        # not of search: what the mean vector says of the words to come, all at once
        self.words = nn.Linear(width, min(config.words, vocab_size)) if config.words else None
        self._initialise(config.init_range)
        if self.frozen:
            self.encoder.requires_grad_(False)

    def _initialise(self, bound: float) -> None:
        """Uniform in +-bound, but for the encoder, which begins in its own way."""
        parts = [self.embedding, self.decoder, self.projection, self.starts, self.first_input]
        norms = {id(p) for norm in self.decoder.norms for p in norm.parameters()}
        with torch.no_grad():
            for part in parts:
                for parameter in part.parameters() if part is not None else ():
                    if id(parameter) not in norms:
                        parameter.uniform_(-bound, bound)
            if self.decoder.gate is not None:
                self.decoder.gate.bias.fill_(2.0)  # open, 0.88: a closed gate learns slowly
            if self.words is not None:
                self.words.bias.fill_(-4.0)  # most words are not there

    @property
    def attends(self) -> bool:
        """Whether a word looks at one place of several."""
        return not self.pooled and self.decoder.attention != "none"

    def train(self, mode: bool = True) -> CaptioningModel:
        """A frozen encoder stays in evaluation mode: its batch statistics, too."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def encode(self, source: Tensor, lengths: Tensor | None = None) -> Encoded:
        """source (B, 3, P, P) normalised images, or features (B, S, F) with lengths (B,)"""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            values, lengths = self.encoder(source, lengths)
        if self.narrow is not None:
            values = torch.relu(self.narrow(values))  # (B, S, H), as in Lu et al. 2017, eq. 17
        values = self.norm(values.float())  # (B, S, D)
        mean = _mean(values, lengths)  # (B, D)
        if self.pooled:
            values, lengths = mean.unsqueeze(1), None
        values = drop_steps(values, self.features_dropout, False, self.training)
        return Encoded(values, lengths, mean)

    def forward(
        self, encoded: Encoded, rows: Tensor, inputs: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Teacher forcing: captions inputs (N, T) of the images rows (N,) of ``encoded`` ->
        attentional vectors (N, T, A), with dropout, that ``projection`` turns into logits, and
        attention weights (N, T, S) or None."""
        state, memory = self._begin(encoded)
        embedded = self._embed(inputs)  # (N, T, E)
        state, memory = _take(state, rows), _take_memory(memory, rows)
        if self.first_input is not None:
            image = self.first_input(encoded.mean).to(embedded.dtype)  # (B, E)
            image = drop_steps(image.unsqueeze(1), self.dropout, False, self.training)
            embedded = torch.cat([image.index_select(0, rows), embedded], 1)  # (N, 1 + T, E)
        vectors, _, attention = self.decoder(embedded, state, memory)
        if self.first_input is not None:  # what follows the image is not read
            vectors, attention = vectors[:, 1:], None if attention is None else attention[:, 1:]
        return vectors, attention

    def predict_words(self, encoded: Encoded) -> Tensor:
        """Logits (B, W) of the W most frequent units, for each image."""
        assert self.words is not None  # asked for with ``words`` of the configuration alone
        return self.words(encoded.mean)

    def _embed(self, tokens: Tensor) -> Tensor:
        embedded = self.embedding(tokens)  # (N, T, E)
        if self.training and self.embedding_dropout:
            embedded = drop_words(
                embedded, tokens, self.embedding.num_embeddings, self.embedding_dropout
            )
        return drop_steps(embedded, self.dropout, self.variational, self.training)

    def _begin(self, encoded: Encoded) -> tuple[DecoderState, Memory | None]:
        """The decoder's first state and what it attends to, a row for each image."""
        layers, size = len(self.decoder.layers), self.decoder.layers[0].hidden_size
        states = encoded.mean.new_zeros(2 * layers, len(encoded.mean), size)
        if len(self.starts):
            found = [torch.tanh(start(encoded.mean)) for start in self.starts]
            states = torch.stack(found).to(encoded.mean.dtype)  # (L or 2L, B, H)
        cell = states[layers : 2 * layers] if self.decoder.kind == "lstm" else None
        state = self.decoder.initial_state(states[:layers], cell)
        return state, self.decoder.memory(encoded.values, encoded.lengths)

    # --- search ---------------------------------------------------------------------------

    def decoding_weights(self) -> DecodingWeights:
        """What ``start`` hands to all steps; see TranslationModel.decoding_weights."""
        return decoder_search.decoding_weights(self.embedding, self.decoder, self.projection)

    @torch.no_grad()
    def start(self, source: Encoded, weights: DecodingWeights | None = None) -> SearchState:
        """The state before the first word of each image."""
        state = decoder_search.first_state(*self._begin(source), weights or self.decoding_weights())
        if self.first_input is None:
            return state
        image = self.first_input(source.mean).to(source.mean.dtype)  # (B, E)
        _, after, _ = self.decoder.step(
            image, None, state.decoder, state.memory, state.weights.decoder
        )
        return SearchState(after, state.memory, state.rows, state.weights)

    def step(self, tokens: Tensor, state: SearchState) -> tuple[Tensor, SearchState]:
        """One word for each hypothesis: tokens (N,) -> logits (N, V). No gradients."""
        return decoder_search.step(self.decoder, tokens, state)

    def reorder(self, state: SearchState, index: Tensor) -> SearchState:
        """Row i of the new state is row index[i] of the old one. Hypotheses of an image must
        stay side by side."""
        return decoder_search.reorder(state, index)


def _mean(values: Tensor, lengths: Tensor | None) -> Tensor:
    """values (B, S, D) -> the mean of those that are real (B, D); zero where none is."""
    if lengths is None:
        return values.mean(1)
    real = torch.arange(values.shape[1], device=values.device) < lengths.unsqueeze(1)  # (B, S)
    return (values * real.unsqueeze(2)).sum(1) / lengths.clamp(min=1).unsqueeze(1)


def _take(state: DecoderState, rows: Tensor) -> DecoderState:
    cell, feed = state.cell, state.feed
    return DecoderState(
        state.hidden.index_select(1, rows),
        None if cell is None else cell.index_select(1, rows),
        None if feed is None else feed.index_select(0, rows),
    )


def _take_memory(memory: Memory | None, rows: Tensor) -> Memory | None:
    """Copies for each caption what is an image's: keys were projected once for all of them."""
    if memory is None:
        return None
    keys, values, lengths = memory
    return Memory(
        keys.index_select(0, rows),
        values.index_select(0, rows),
        None if lengths is None else lengths.index_select(0, rows),
    )
