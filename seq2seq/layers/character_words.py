"""Words as vectors made from their characters, so that unseen words have a meaningful vector, too.

Letters for sizes: U distinct words, C characters of the longest, E embedding, D the vector's size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.config.layers import CharacterConfig
from seq2seq.layers.dropout import drop_steps
from seq2seq.layers.encoder import recurrent_layer


class CharacterWords(nn.Module):
    """lstm, gru: the last states of a recurrence in both directions (Lample et al. 2016, section
    4.1); cnn: the maximum over places of a convolution (Ma & Hovy 2016, section 2.1)."""

    def __init__(self, config: CharacterConfig, characters: int, dropout: float = 0.0) -> None:
        """``characters`` is their number; ``dropout`` that of their embeddings."""
        super().__init__()
        self.kind, self.dropout = config.kind, dropout
        self.embedding = nn.Embedding(characters, config.embedding_size)
        bound = (3 / config.embedding_size) ** 0.5
        nn.init.uniform_(self.embedding.weight, -bound, bound)
        self.layer: nn.Module
        if config.kind == "cnn":
            self.size = config.hidden_size
            self.layer = nn.Conv1d(
                config.embedding_size, config.hidden_size, config.width, padding=config.width // 2
            )
        else:
            self.size = 2 * config.hidden_size
            self.layer = recurrent_layer(
                config.kind, config.embedding_size, config.hidden_size, bidirectional=True
            )

    def forward(self, characters: Tensor, lengths: Tensor) -> Tensor:
        """characters (U, C), what stands past lengths (U,) is not read -> (U, D)"""
        x = drop_steps(self.embedding(characters), self.dropout, False, self.training)  # (U, C, E)
        if self.kind != "cnn":
            _, state = self.layer(x, lengths=lengths)
            hidden = state[0] if isinstance(state, tuple) else state  # (2, U, H)
            return torch.cat(tuple(hidden), -1)
        places = torch.arange(x.shape[1], device=x.device)
        real = (places < lengths.unsqueeze(1)).unsqueeze(1)  # (U, 1, C)
        y = F.relu(self.layer(x.transpose(1, 2) * real))  # (U, D, C)
        return y.masked_fill(~real, 0.0).amax(2)  # relu is never below 0
