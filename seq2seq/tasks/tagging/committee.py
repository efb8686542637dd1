"""Several tagging models trained side by side that label as one (deep ensembles:
Lakshminarayanan et al. 2017).

The score of a label sequence is the mean of the members' scores, s(y) = mean_m s_m(y): that is a
field whose emissions and transitions are the means of theirs, so that its best sequence and its
marginals are found as those of one model. (The mean of their probabilities has no such form.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seq2seq.layers.crf import Constraints, LinearChain
from seq2seq.layers.module_list import ModuleList
from seq2seq.tasks.tagging.batches import Words
from seq2seq.tasks.tagging.config import TaggingModelConfig
from seq2seq.tasks.tagging.model import Emissions, Head, TaggingModel, decode
from seq2seq.tasks.tagging.vocabulary import TaggingVocabulary


class MeanHead:
    """One label column of all members: their fields as one."""

    def __init__(self, heads: Sequence[Head]) -> None:
        self.learned, self.spans = heads[0].learned, heads[0].spans
        self.chain = _mean_chain([head.chain for head in heads])

    def decode(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """The best labels (B, T), 0 past a length."""
        return decode(self, emissions, lengths)


class Committee(nn.Module):
    """Offers what TaggingModel does. Each member has weights of its own and is trained by its own
    loss: they begin apart and are dropped out apart, which is what makes their mean better."""

    def __init__(self, members: Sequence[TaggingModel]) -> None:
        super().__init__()
        self.members = ModuleList(members)

    @property
    def heads(self) -> list[MeanHead]:
        """A head for each column, computed from the current weights of the members."""
        every = zip(*(member.heads for member in self.members), strict=True)
        return [MeanHead(heads) for heads in every]

    def forward(self, words: Words) -> Emissions:
        """-> mean emissions; of whole sentences log of the mean probabilities"""
        each = [member(words) for member in self.members]
        columns = zip(*(one.columns for one in each), strict=True)
        means = tuple(torch.stack(scores).mean(0) for scores in columns)  # (B, T, K)
        wholes = [one.sentence.log_softmax(1) for one in each if one.sentence is not None]
        whole = None
        if wholes:
            whole = torch.stack(wholes).logsumexp(0) - math.log(len(wholes))  # (B, K)
        return Emissions(means, whole)


AnyModel = TaggingModel | Committee


def build_model(config: TaggingModelConfig, vocabulary: TaggingVocabulary) -> AnyModel:
    """``config.members`` models, or the only one."""
    members = [TaggingModel(config, vocabulary) for _ in range(config.members)]
    return members[0] if len(members) == 1 else Committee(members)


def members_of(model: AnyModel) -> list[TaggingModel]:
    return [model] if isinstance(model, TaggingModel) else list(model.members)


def _mean_chain(chains: Sequence[LinearChain]) -> LinearChain:
    first = chains[0]
    constraints = Constraints(first.allowed_start, first.allowed, first.allowed_end)
    mean = LinearChain(len(first.start), constraints, learned=False)
    for name in ("start", "transitions", "end"):
        every = torch.stack([getattr(chain, name).detach() for chain in chains])
        setattr(mean, name, every.mean(0))
    return mean
