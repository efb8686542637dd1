"""Objectives: a module around a model that turns a batch into a summed loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kernels.loss import linear_cross_entropy
from seq2seq.tasks.translation.model import TranslationModel


class CrossEntropy(nn.Module):
    """Cross entropy with label smoothing, summed over the target tokens of the batch."""

    def __init__(self, model: TranslationModel, label_smoothing: float) -> None:
        super().__init__()
        self.model, self.label_smoothing = model, label_smoothing

    def forward(
        self, source: Tensor, source_lengths: Tensor, target_input: Tensor, target_output: Tensor
    ) -> Tensor:
        """source (B, S), target_input (B, T), target_output (B, T; -100 past the end)."""
        vectors = self.model(source, source_lengths, target_input)  # (B, T, A)
        return self.of_vectors(vectors.flatten(0, 1), target_output.flatten())

    def of_vectors(self, vectors: Tensor, targets: Tensor) -> Tensor:
        projection = self.model.projection
        return linear_cross_entropy(
            vectors,
            projection.weight,
            targets,
            projection.bias,
            label_smoothing=self.label_smoothing if self.training else 0.0,
            reduction="sum",
        )


class RDrop(nn.Module):
    """R-Drop (Liang et al. 2021, eq. 4): two passes with different dropout masks, the mean of
    their cross entropies plus weight / 2 times the mean of both KL divergences."""

    def __init__(self, model: TranslationModel, label_smoothing: float, weight: float) -> None:
        super().__init__()
        self.cross_entropy, self.weight = CrossEntropy(model, label_smoothing), weight
        self.model = model

    def forward(
        self, source: Tensor, source_lengths: Tensor, target_input: Tensor, target_output: Tensor
    ) -> Tensor:
        if not self.training:
            return self.cross_entropy(source, source_lengths, target_input, target_output)
        twice = [torch.cat([t, t]) for t in (source, source_lengths, target_input, target_output)]
        vectors = self.model(*twice[:3]).flatten(0, 1)  # (2*B*T, A)
        targets = twice[3].flatten()
        loss = self.cross_entropy.of_vectors(vectors, targets) / 2
        first, second = vectors[targets != -100].chunk(2)  # (N, A) each, same tokens
        projection = self.model.projection
        log_p = torch.log_softmax(projection(first).float(), -1)  # (N, V)
        log_q = torch.log_softmax(projection(second).float(), -1)
        # KL(p|q) + KL(q|p) = sum (p - q)(log p - log q)
        divergence = ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum()
        return loss + self.weight / 4 * divergence
