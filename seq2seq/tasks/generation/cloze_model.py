"""A model of a word between what stands before it and what stands after it (context2vec, Melamud
et al. 2016), for filling blanks. It reads from both sides and cannot write."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from seq2seq.layers.dropout import drop_steps, drop_words
from seq2seq.layers.module_list import ModuleList
from seq2seq.tasks.generation.config import LanguageModelConfig
from seq2seq.tasks.generation.model import (
    LanguageModel,
    LanguageOutput,
    LanguageState,
    recurrent_layers,
    run_layers,
)
from seq2seq.text.vocabulary import END


class ClozeModel(nn.Module):
    """p(x_t | x_1 .. x_(t-1), x_(t+1) .. x_n) for every t of B streams:

        l = recurrence over x_1 .. x_(t-1),  r = recurrence over x_n .. x_(t+1)
        p = softmax(W relu(C [l; r] + c) + b)

    (Melamud et al. 2016, eq. 1-3, with a softmax in place of negative sampling).
    """

    def __init__(self, config: LanguageModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        wide = replace(config, tied_embeddings=False)  # all layers of hidden_size
        self.embedding = nn.Embedding(vocab_size, config.embedding_size)
        self.before = ModuleList(recurrent_layers(wide))
        self.after = ModuleList(recurrent_layers(wide))
        self.joint = nn.Linear(2 * config.hidden_size, config.embedding_size)
        self.projection = nn.Linear(config.embedding_size, vocab_size)
        if config.tied_embeddings:
            self.projection.weight = self.embedding.weight
        self._initialise()

    def _initialise(self) -> None:
        """As ``LanguageModel``."""
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
        self,
        tokens: Tensor,
        following: Tensor,
        state: LanguageState | None = None,
        resets: Tensor | None = None,
    ) -> LanguageOutput:
        """tokens (B, T) and the units that follow each, (B, T), to be predicted: x_(t-1) and x_t.
        ``state`` and ``resets`` as in ``LanguageModel``, for the left side. The right side begins
        at the end of the window, and anew before each end of a document where there are resets.

        ``vectors`` of the result are what ``projection`` turns into the logits of ``following``.
        """
        text = torch.cat([tokens, following[:, -1:]], 1)  # (B, T+1)
        x = self.embedding(text)  # (B, T+1, E)
        config = self.config
        if self.training and config.embedding_dropout:
            words = self.embedding.num_embeddings
            x = drop_words(x, text, words, config.embedding_dropout)
        variational = config.dropout_kind == "variational"
        x = drop_steps(x, config.input_dropout, variational, self.training)
        left, final = run_layers(self.before, config, x[:, :-1], state, resets)  # (B, T, H)
        turned = x[:, 2:].flip(1)  # (B, T-1, E) x_(t+1), from the last one on
        ends = (following[:, 1:] == END).flip(1) if resets is not None else None
        if turned.shape[1]:
            right, _ = run_layers(self.after, config, turned, None, ends)
            right = torch.cat([right.flip(1), right.new_zeros(len(x), 1, right.shape[2])], 1)
        else:
            right = torch.zeros_like(left)
        raw = self.joint(torch.cat([left, right], 2)).relu()  # (B, T, E)
        vectors = drop_steps(raw, config.output_dropout, variational, self.training)
        return LanguageOutput(vectors, raw, final)


def make_model(config: LanguageModelConfig, vocab_size: int) -> LanguageModel | ClozeModel:
    """The model of the direction that the configuration names."""
    kind = ClozeModel if config.direction == "both" else LanguageModel
    return kind(config, vocab_size)
