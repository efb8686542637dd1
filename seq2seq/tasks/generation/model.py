"""The language model: embedding, recurrent layers, output projection (Mikolov et al. 2010), with
the regularisers of AWD-LSTM (Merity et al. 2018)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kernels import GRU, LSTM, RNN
from seq2seq.layers.dropout import drop_steps, drop_words
from seq2seq.layers.module_list import ModuleList
from seq2seq.tasks.generation.config import LanguageModelConfig


class LanguageState(NamedTuple):
    """What is carried from window to window: for each layer (B, H)."""

    hidden: tuple[Tensor, ...]
    cell: tuple[Tensor, ...]  # of LSTM; () for other cells

    def detach(self) -> LanguageState:
        return LanguageState(*(tuple(part.detach() for part in parts) for parts in self))

    def keep(self, mask: Tensor) -> LanguageState:
        """The rows where ``mask`` (B,) is True; the others empty."""
        column = mask.unsqueeze(1)
        return LanguageState(*(tuple(part * column for part in parts) for parts in self))

    def reorder(self, index: Tensor) -> LanguageState:
        return LanguageState(*(tuple(p.index_select(0, index) for p in parts) for parts in self))


class LanguageOutput(NamedTuple):
    vectors: Tensor  # (B, T, A) with dropout: what ``projection`` turns into logits
    raw: Tensor  # (B, T, A) the top layer's outputs before dropout
    state: LanguageState


class LanguageModel(nn.Module):
    """p(x_t | x_1 .. x_(t-1)) for every t of B streams."""

    def __init__(self, config: LanguageModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(vocab_size, config.embedding_size)
        self.layers = ModuleList(recurrent_layers(config))
        self.projection = nn.Linear(self.layers[-1].hidden_size, vocab_size)
        if config.tied_embeddings:  # Press & Wolf 2017
            self.projection.weight = self.embedding.weight
        self._initialise()

    def _initialise(self) -> None:
        """torch's own; embeddings within +-0.1 where they are tied. With ``init_range`` everything
        uniform within it but the gains of layer normalisation."""
        bound = self.config.init_range
        with torch.no_grad():
            if bound is not None:
                for name, parameter in self.named_parameters():
                    if ".gain" not in name and ".shift" not in name:
                        parameter.uniform_(-bound, bound)
            elif self.config.tied_embeddings:
                self.embedding.weight.uniform_(-0.1, 0.1)
                self.projection.bias.zero_()

    def forward(
        self, tokens: Tensor, state: LanguageState | None = None, resets: Tensor | None = None
    ) -> LanguageOutput:
        """tokens (B, T); state of the window before, None: empty; resets (B, T) bool: where True
        the state is empty before that step. Dropout in training."""
        config, variational = self.config, self.config.dropout_kind == "variational"
        x = self.embedding(tokens)  # (B, T, E)
        if self.training and config.embedding_dropout:
            words = self.embedding.num_embeddings
            x = drop_words(x, tokens, words, config.embedding_dropout)
        x = drop_steps(x, config.input_dropout, variational, self.training)
        raw, final = run_layers(self.layers, config, x, state, resets)
        vectors = drop_steps(raw, config.output_dropout, variational, self.training)
        return LanguageOutput(vectors, raw, final)


def run_layers(
    layers: ModuleList,
    config: LanguageModelConfig,
    x: Tensor,
    state: LanguageState | None,
    resets: Tensor | None,
) -> tuple[Tensor, LanguageState]:
    """x (B, T, E) through all layers, with dropout between them in training -> (B, T, H), the
    final state."""
    variational = config.dropout_kind == "variational"
    hidden: list[Tensor] = []
    cell: list[Tensor] = []
    raw = x
    for number, layer in enumerate(layers):
        if number:
            x = drop_steps(raw, config.hidden_dropout, variational, layer.training)
        raw, final = layer(x, _start(state, number), resets=resets)  # (B, T, H)
        final = final if isinstance(final, tuple) else (final,)
        hidden.append(final[0][0])  # (B, H)
        cell += [part[0] for part in final[1:]]
    return raw, LanguageState(tuple(hidden), tuple(cell))


def recurrent_layers(config: LanguageModelConfig) -> list[LSTM | GRU | RNN]:
    """One module a layer: their sizes and the dropout between them are the model's own."""
    options: dict[str, Any] = {
        "batch_first": True,
        "layer_norm": config.layer_norm,
        "zoneout": (config.zoneout_hidden, config.zoneout_cell),
        "recurrent_dropout": config.recurrent_dropout,
        "weight_dropout": config.weight_dropout,
    }
    layers: list[LSTM | GRU | RNN] = []
    width = config.embedding_size
    for number in range(config.layers):
        last = number + 1 == config.layers
        size = config.embedding_size if last and config.tied_embeddings else config.hidden_size
        if config.cell == "lstm":
            layers.append(LSTM(width, size, **options))
        elif config.cell == "gru":
            layers.append(GRU(width, size, **options))
        else:
            layers.append(RNN(width, size, nonlinearity=config.cell, **options))
        width = size
    return layers


def _start(state: LanguageState | None, layer: int) -> Tensor | tuple[Tensor, Tensor] | None:
    """A layer's state as torch.nn takes it."""
    if state is None:
        return None
    hidden = state.hidden[layer][None]  # (1, B, H)
    return (hidden, state.cell[layer][None]) if state.cell else hidden
