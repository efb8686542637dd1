"""Several networks trained side by side whose mean answer counts (deep ensembles: Lakshminarayanan
et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seq2seq.tasks.classification.config import ClassModelConfig
from seq2seq.tasks.classification.model import ClassificationModel, Result, Shape
from seq2seq.tasks.classification.sources import Inputs
from seq2seq.tasks.classification.targets import Kind


class Committee(nn.Module):
    """p(x) = mean_m p_m(x) over the members m; of numbers the mean number.

    Each member has weights of its own and is trained by its own loss: they begin apart and are
    dropped out apart, which is what makes their mean better than one of them.
    """

    def __init__(self, members: Sequence[ClassificationModel], kind: Kind) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.kind, self.shape = kind, members[0].shape
        self.temperature: Tensor
        self.centre: Tensor
        self.spread: Tensor
        self.register_buffer("temperature", torch.ones(()))  # as in ClassificationModel: the
        self.register_buffer("centre", torch.zeros(()))  # members' own are not used
        self.register_buffer("spread", torch.ones(()))

    def each(self, inputs: Inputs) -> list[Tensor]:
        """The logits (B, K) of each member."""
        return [member(inputs).logits for member in self.members]

    def forward(self, inputs: Inputs) -> Result:
        """-> logits (B, K) whose probabilities are the members' mean; mean attention (B, S)"""
        results = [member(inputs) for member in self.members]
        logits = torch.stack([one.logits for one in results])  # (M, B, K)
        shares = [one.attention for one in results if one.attention is not None]
        attention = torch.stack(shares).mean(0) if shares else None
        if self.kind == "number":
            return Result(logits.mean(0), attention)
        if self.kind == "label":
            return Result(_log_mean_exp(logits.log_softmax(-1)), attention)
        yes, no = (_log_mean_exp(nn.functional.logsigmoid(sign * logits)) for sign in (1, -1))
        return Result(yes - no, attention)


Network = ClassificationModel | Committee


def build_network(
    config: ClassModelConfig, shape: Shape, kind: Kind, frozen: bool, pretrained: bool = False
) -> Network:
    """``config.members`` networks, or the only one. See ``ClassificationModel``."""
    members = [
        ClassificationModel(config, shape, frozen, pretrained) for _ in range(config.members)
    ]
    return members[0] if len(members) == 1 else Committee(members, kind)


def members_of(network: Network) -> list[ClassificationModel]:
    if isinstance(network, ClassificationModel):
        return [network]
    return list(network.members)  # type: ignore[arg-type]


def member_logits(network: Network, inputs: Inputs) -> list[Tensor]:
    """The logits (B, K) of each member: what training compares with the targets."""
    if isinstance(network, Committee):
        return network.each(inputs)
    return [network(inputs).logits]


def _log_mean_exp(x: Tensor) -> Tensor:
    """log mean_m exp(x_m) over the first dimension"""
    return x.logsumexp(0) - math.log(len(x))
