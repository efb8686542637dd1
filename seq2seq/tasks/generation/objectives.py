"""The objective of a language model: a module around it that turns a window into a summed loss."""

from __future__ import annotations

from torch import Tensor, nn

from kernels.loss import linear_cross_entropy
from seq2seq.tasks.generation.cloze_model import ClozeModel
from seq2seq.tasks.generation.model import LanguageModel, LanguageState
from seq2seq.tasks.generation.sampled_vocabulary import SampledVocabulary


class LanguageLoss(nn.Module):
    """Cross entropy of the next unit, summed over a window, with the activation regularisation of
    Merity et al. 2018, section 4.5, on what the top layer gives:

        loss = sum_t -log p(x_(t+1)) + N (alpha mean_t |m * h_t|^2 + beta mean_t |h_t - h_(t-1)|^2)

    with N units in the window, m the dropout mask, |.|^2 a mean over units of the layer (AR, TAR).
    A ``ClozeModel`` knows the units after the next one, too. With ``sampled``, p in training is
    over a part of the vocabulary, drawn for each window.
    """

    def __init__(
        self,
        model: LanguageModel | ClozeModel,
        label_smoothing: float = 0.0,
        activation: float = 0.0,
        temporal: float = 0.0,
        sampled: SampledVocabulary | None = None,
    ) -> None:
        super().__init__()
        self.sampled = sampled
        self.model, self.label_smoothing = model, label_smoothing
        self.activation, self.temporal = activation, temporal

    def forward(
        self,
        inputs: Tensor,
        targets: Tensor,
        state: LanguageState | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, LanguageState]:
        """inputs (B, T), targets (B, T; -100 where none) -> what is minimised, the cross entropy
        in it (both summed), and the state after the window."""
        if isinstance(self.model, ClozeModel):
            output = self.model(inputs, targets, state, resets)
        else:
            output = self.model(inputs, state, resets)
        weight: Tensor = self.model.projection.weight
        bias: Tensor = self.model.projection.bias
        expected = targets.flatten()
        if self.training and self.sampled is not None:
            units, expected, log_share = self.sampled.draw(expected)
            weight, bias = weight[units], bias[units] - log_share  # (C, A), (C,)
        cross = linear_cross_entropy(
            output.vectors.flatten(0, 1),
            weight,
            expected,
            bias,
            label_smoothing=self.label_smoothing if self.training else 0.0,
            reduction="sum",
        )
        loss = cross
        if self.training and self.activation:
            mean = output.vectors.float().pow(2).mean()
            loss = loss + targets.numel() * self.activation * mean
        if self.training and self.temporal and inputs.shape[1] > 1:
            mean = (output.raw[:, 1:] - output.raw[:, :-1]).float().pow(2).mean()
            loss = loss + targets.numel() * self.temporal * mean
        return loss, cross.detach(), output.state
