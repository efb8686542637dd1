"""Embeddings that may begin with pretrained vectors, of words to train and of words to keep."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.text.vectors import Table


class WordEmbedding(nn.Module):
    """A vector for each id: the first ``trained`` ids have weights, the ``kept`` ids after them
    vectors that stay as they are.

    Kept words are those that training text lacks and a file of vectors has: their vectors are read
    when the model meets them, and no optimizer spends time on them. ``frozen``: no vector is
    trained, <unk>'s neither.
    """

    constant_buffers = ("kept",)  # which averages of the weights leave out

    def __init__(self, trained: int, size: int, kept: int = 0, frozen: bool = False) -> None:
        super().__init__()
        self.size = size  # E
        self.weight = nn.Parameter(torch.empty(trained, size), requires_grad=not frozen)
        self.kept: Tensor | None
        self.register_buffer("kept", torch.zeros(kept, size) if kept else None)
        nn.init.uniform_(self.weight, -(3**0.5) * _SPREAD, 3**0.5 * _SPREAD)

    def forward(self, ids: Tensor) -> Tensor:
        """ids (...) -> vectors (..., E)"""
        if self.kept is None:
            return F.embedding(ids, self.weight)
        known = len(self.weight)
        vectors = F.embedding(ids.clamp(max=known - 1), self.weight)
        others = F.embedding((ids - known).clamp(min=0), self.kept)
        return torch.where((ids >= known)[..., None], others, vectors)

    @torch.no_grad()
    def begin_with(self, table: Table) -> None:
        """Give the ids the vectors of ``table`` (trained + kept, E) where they have one there; the
        others get vectors of the same spread."""
        found = torch.from_numpy(table.found)
        vectors = torch.from_numpy(np.ascontiguousarray(table.vectors, np.float32))
        if found.any():
            own = vectors[found]
            spread = float(own.std()) if own.numel() > 1 else _SPREAD
            self.weight.uniform_(-(3**0.5) * spread, 3**0.5 * spread)
        known = len(self.weight)
        self.weight[found[:known]] = vectors[:known][found[:known]].to(self.weight)
        if self.kept is not None:
            self.kept.copy_(vectors[known:])


_SPREAD = 0.1  # standard deviation of vectors that begin at random
