"""Losses: cross entropy of one label, of each of several labels, squared error of numbers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.tasks.classification.committee import Network, member_logits, members_of
from seq2seq.tasks.classification.model import ClassificationModel
from seq2seq.tasks.classification.sources import Inputs
from seq2seq.tasks.classification.targets import Kind
from seq2seq.training.adversarial import adversarial_loss


def losses(
    logits: Tensor, targets: Tensor, kind: Kind, weights: Tensor | None, smoothing: float
) -> Tensor:
    """The loss of each example (B,), in nats; numbers: half the squared error.

    ``label``: -sum_k q_k log p_k with q = (1 - s) onehot + s / K (Szegedy et al. 2016, section 7),
    weighted by label; targets are ids (B,), or probabilities (B, K) in the place of onehot.
    ``labels``: the sum over labels of their binary cross entropies, targets moved by s / 2 towards
    one half, having a label weighted.
    """
    if kind == "label":
        return F.cross_entropy(
            logits, targets, weights, reduction="none", label_smoothing=smoothing
        )
    if kind == "labels":
        smooth = targets * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(
            logits, smooth, reduction="none", pos_weight=weights
        ).sum(-1)
    return 0.5 * (logits.squeeze(-1) - targets).square()


class ClassificationLoss(nn.Module):
    """The loss that is minimised and the plain one, both summed over the examples; of a committee
    the mean of its members' losses, which is at least the loss of their mean.

    ``adversarial``: in training half of what is minimised is the loss of texts whose vectors are
    moved by this share of their length against the network; see ``adversarial_loss``."""

    def __init__(
        self,
        model: Network,
        kind: Kind,
        weights: Tensor | None,
        smoothing: float,
        adversarial: float = 0.0,
    ) -> None:
        super().__init__()
        self.model, self.kind, self.smoothing = model, kind, smoothing
        self.adversarial = adversarial
        self.weights: Tensor | None
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, inputs: Inputs, targets: Tensor) -> tuple[Tensor, Tensor]:
        if self.training and self.adversarial:
            every = [self._moved(member, inputs, targets) for member in members_of(self.model)]
            loss = torch.stack([one for one, _ in every]).mean()
            clean = [logits.detach() for _, logits in every]
            return loss, self._mean_sum(clean, targets, None, 0.0)
        members = member_logits(self.model, inputs)
        loss = self._mean_sum(members, targets, self.weights, self.smoothing)
        if self.weights is None and not self.smoothing:
            return loss, loss.detach()
        with torch.no_grad():
            return loss, self._mean_sum(members, targets, None, 0.0)

    def _moved(
        self, member: ClassificationModel, inputs: Inputs, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What is minimised for one member, and its logits of the texts as they are."""

        def loss(embedded: Tensor) -> tuple[Tensor, Tensor]:
            logits = member(inputs, embedded).logits
            each = losses(logits, targets, self.kind, self.weights, self.smoothing)
            return each.sum(), logits

        x, lengths = member.embed(inputs), inputs.lengths
        return adversarial_loss(loss, x, lengths, self.adversarial, member.parameters())

    def _mean_sum(
        self, members: list[Tensor], targets: Tensor, weights: Tensor | None, smoothing: float
    ) -> Tensor:
        sums = [losses(one, targets, self.kind, weights, smoothing).sum() for one in members]
        return torch.stack(sums).mean()
