"""The loss of tagging: the negative log likelihood of all labels."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.tasks.tagging.batches import IGNORE, Words
from seq2seq.tasks.tagging.committee import AnyModel, Committee
from seq2seq.tasks.tagging.model import Emissions, Field, TaggingModel
from seq2seq.training.adversarial import adversarial_loss


class TaggingLoss(nn.Module):
    """Summed over the words of a batch:

        sum_columns -log p(labels) + weight * words * mean_sentences -log p(label of the sentence)

    so that a mean over words has the sentence's part with its weight, in each batch alike: batches
    are of sentences of like length, and a factor that is the same for all sentences had 0.3 less F1
    on ATIS. So with ``training.accumulation`` the mean of each batch counts by its words. Columns
    with a field have the likelihood of whole sequences, the others that of each word. Of a
    committee, in training, the mean of its members' losses: each member's gradient is that of its
    own loss.

    ``adversarial``: in training half of what is minimised is the loss of sentences whose vectors
    are moved by this share of their length against the model; see ``adversarial_loss``.
    """

    def __init__(self, model: AnyModel, sentence_weight: float, adversarial: float = 0.0) -> None:
        super().__init__()
        self.model, self.sentence_weight = model, sentence_weight
        self.adversarial = adversarial

    def forward(
        self, words: Words, labels: tuple[Tensor, ...], sentence_labels: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Fields of a TaggingBatch -> the loss, and what the sentences' part of it is without its
        weight."""
        given = (words.lengths, labels, sentence_labels)
        if not isinstance(self.model, Committee):
            return self._of_member(self.model, words, *given)
        each = [self._of_member(member, words, *given) for member in self.model.members]
        mean = torch.stack([loss for loss, _ in each]).mean()
        names = each[0][1]
        return mean, {name: torch.stack([part[name] for _, part in each]).mean() for name in names}

    def _of_member(
        self,
        member: TaggingModel,
        words: Words,
        lengths: Tensor,
        labels: tuple[Tensor, ...],
        sentence_labels: Tensor | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        def loss(embedded: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
            emissions = member(words, embedded)
            return self._loss(member.heads, emissions, lengths, labels, sentence_labels)

        if not (self.training and self.adversarial):
            return loss(None)
        x = member.embed(words)
        return adversarial_loss(loss, x, lengths, self.adversarial, member.parameters())

    def of_emissions(
        self,
        emissions: Emissions,
        lengths: Tensor,
        labels: tuple[Tensor, ...],
        sentence_labels: Tensor | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The same for scores that are computed already; of a committee for its mean scores."""
        return self._loss(self.model.heads, emissions, lengths, labels, sentence_labels)

    def _loss(
        self,
        heads: Iterable[Field],
        emissions: Emissions,
        lengths: Tensor,
        labels: tuple[Tensor, ...],
        sentence_labels: Tensor | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        loss = lengths.new_zeros((), dtype=torch.float32)
        for head, scores, ids in zip(heads, emissions.columns, labels, strict=True):
            loss = loss + _column(head, scores, ids, lengths)
        parts: dict[str, Tensor] = {}
        if emissions.sentence is not None and sentence_labels is not None:
            known = (sentence_labels != IGNORE).sum().clamp(min=1)
            whole = F.cross_entropy(
                emissions.sentence, sentence_labels, ignore_index=IGNORE, reduction="sum"
            )
            part = whole / known * lengths.sum()
            loss = loss + self.sentence_weight * part
            parts["sentence"] = part.detach()
        return loss, parts


def _column(head: Field, scores: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
    """scores (B, T, K), ids (B, T) -> the summed loss. Sequences with a label that training never
    saw, which validation may have, are left out."""
    if not head.learned:
        return F.cross_entropy(
            scores.flatten(0, 1), ids.flatten(), ignore_index=IGNORE, reduction="sum"
        )
    steps = torch.arange(ids.shape[1], device=lengths.device)
    unknown = ((ids == IGNORE) & (steps < lengths.unsqueeze(1))).any(1)  # (B,)
    likelihood = head.chain.log_likelihood(scores, ids.clamp(min=0), lengths)  # (B,)
    return -likelihood.masked_fill(unknown, 0.0).sum()
