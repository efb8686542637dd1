"""Batches of like length, in an order that any step can be resumed from: everything random follows
from the seed, the epoch and the number of the batch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seq2seq.tasks.classification.sources import Inputs, Source

_POOL = 50  # batches' worth of examples that are sorted by length together


@dataclass
class Batch:
    inputs: Inputs
    # (B,) int64 ids, (B, K) float32 sets or probabilities, or (B,) numbers, float64 until the
    # task has standardised them
    targets: Tensor

    @property
    def target_count(self) -> int:
        return len(self.targets)

    def to(self, device: torch.device) -> Batch:
        return Batch(self.inputs.to(device), self.targets.to(device))


class Batches:
    """Every example once an epoch, for all processes together."""

    def __init__(self, source: Source, targets: np.ndarray, size: int, seed: int) -> None:
        self.source, self.targets, self.size, self.seed = source, targets, size, seed

    def len_epoch(self, epoch: int) -> int:
        return math.ceil(len(self.source) / self.size)

    def epoch(self, epoch: int, skip: int, every: int = 1) -> Iterator[Batch]:
        """Batches ``skip``, ``skip + every``, ... of one epoch; the others are not collated."""
        draw = np.random.default_rng([self.seed, epoch])
        order = draw.permutation(len(self.source))
        batches = []
        for start in range(0, len(order), _POOL * self.size):
            pool = order[start : start + _POOL * self.size]
            pool = pool[np.argsort(self.source.lengths[pool], kind="stable")]
            batches += [pool[at : at + self.size] for at in range(0, len(pool), self.size)]
        turns = draw.permutation(len(batches))
        for number in range(skip, len(turns), every):
            rows = batches[turns[number]]
            own = np.random.default_rng([self.seed, epoch, number, 0])
            yield Batch(self.source.collate(rows, own), torch.from_numpy(self.targets[rows]))


def by_length(source: Source, size: int) -> Iterator[np.ndarray]:
    """Rows in batches of like length, for reading without training."""
    order = np.argsort(source.lengths, kind="stable")
    for start in range(0, len(order), size):
        yield order[start : start + size]
