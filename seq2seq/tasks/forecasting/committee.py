"""Networks on different bases, trained side by side, whose mean forecast counts (combination of
forecasts: Bates & Granger 1969; deep ensembles: Lakshminarayanan et al. 2017)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from seq2seq.tasks.forecasting.config import (
    BaseName,
    ForecastModelConfig,
    LossName,
    networks_of,
)
from seq2seq.tasks.forecasting.heads import Head, make_head
from seq2seq.tasks.forecasting.inputs import Sizes
from seq2seq.tasks.forecasting.model import ForecastModel, Outlook, register_calibration
from seq2seq.tasks.forecasting.windows import Batch


class Committee(nn.Module):
    """The mean of its members' forecasts. With the shift s_m and the numbers p_m of member m:

        s = mean_m s_m    p = mean_m p_m    value = s + what the head makes of p

    A head adds points, medians and locations to the shift, so theirs is the mean of the members'
    own; of scales it is the mean of the numbers before softplus. Each member is trained by its own
    loss. Bases err in different ways (the last value follows a change at once, the mean of the past
    is steady), so the mean errs less than its members.
    """

    offsets: Tensor  # as in ForecastModel
    ranks: Tensor
    powers: Tensor | None
    typical: Tensor | None
    samples = False

    def __init__(
        self, config: ForecastModelConfig, sizes: Sizes, levels: int, widths: bool = False
    ) -> None:
        """A member for each of ``networks_of(config)``; the rest as for ``ForecastModel``."""
        super().__init__()
        self.config, self.sizes = config, sizes
        self.head: Head = make_head(config)
        self.members = nn.ModuleList(
            ForecastModel(_alone(config, base, loss), sizes, None)
            for base, loss in networks_of(config)
        )
        register_calibration(self, config.horizon, sizes.targets, levels, widths)

    @property
    def reach(self) -> int:
        """Steps of the past that are read."""
        return self.config.context

    def each(self, batch: Batch) -> list[Outlook]:
        """The distributions of the horizon by each member."""
        return [member.ahead(batch) for member in self.members]  # type: ignore[operator]

    def ahead(self, batch: Batch) -> Outlook:
        """The mean distributions of the horizon."""
        outlooks = self.each(batch)
        parameters, shift, factor = (
            torch.stack([outlook[n] for outlook in outlooks]).mean(0) for n in range(3)
        )
        return Outlook(parameters, shift, factor)

    def factor(self, batch: Batch) -> Tensor:
        """The unit of the errors of each step ahead, scaled: (B, H, C). All bases are additive."""
        return torch.ones_like(batch.future)


def _alone(config: ForecastModelConfig, base: BaseName, loss: LossName) -> ForecastModelConfig:
    """The configuration of one network of several."""
    return replace(config, base=base, loss=loss, other_bases=[], other_losses=[])


Model = ForecastModel | Committee


def build_model(config: ForecastModelConfig, sizes: Sizes, levels: int, widths: bool) -> Model:
    """A committee where ``config.other_bases`` names some; see ``ForecastModel``."""
    make = Committee if config.other_bases else ForecastModel
    return make(config, sizes, levels, widths)
