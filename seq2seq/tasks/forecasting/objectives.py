"""The loss of a batch of windows."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from seq2seq.tasks.forecasting.committee import Committee, Model
from seq2seq.tasks.forecasting.model import ForecastModel, Outlook
from seq2seq.tasks.forecasting.windows import Batch


class ForecastLoss(nn.Module):
    """The head's loss of the normalised values, summed over what is observed: of the horizon, and
    for a model that reads its own values of the context, too. Of a committee the mean of its
    members' losses, in training: a member's gradient is that of its own loss; else the loss of
    their mean forecast."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        return self.each(batch).sum()

    def each(self, batch: Batch) -> Tensor:
        """The loss of each step, 0 where no value is observed: (B, T, C)"""
        model = self.model
        if isinstance(model, Committee):
            args = batch, batch.future, batch.future_observed
            if not model.training:
                return loss_of(model, model.ahead(batch), *args)
            pairs = zip(model.members, model.each(batch), strict=True)
            losses = [loss_of(cast(ForecastModel, member), one, *args) for member, one in pairs]
            return torch.stack(losses).mean(0)
        if not model.samples:
            return loss_of(model, model.ahead(batch), batch, batch.future, batch.future_observed)
        outlook = model.teacher_forced(batch)
        context = model.config.context
        values = torch.cat([batch.past[:, -context:], batch.future], 1)
        observed = torch.cat([batch.observed[:, -context:], batch.future_observed], 1)
        return loss_of(model, outlook, batch, values, observed)


def loss_of(
    model: Model, outlook: Outlook, batch: Batch, values: Tensor, observed: Tensor
) -> Tensor:
    """values, observed (B, T, C) -> (B, T, C)"""
    z = (values - outlook.shift) / outlook.factor
    factor = outlook.factor * batch.scale.unsqueeze(1)  # into the value's own unit
    z = torch.where(observed > 0, z, torch.zeros_like(z))  # nothing infinite behind the mask
    return model.head.loss(outlook.parameters.float(), z, factor) * observed
