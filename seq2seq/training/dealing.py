"""Which batches of an epoch each process gets.

With W processes, a step takes W batches (times ``training.accumulation``): process r gets the
batches r, r + W, r + 2W, ... of the epoch. So W processes take the steps that one process takes
with ``accumulation`` W times as large. Where the last round of an epoch has fewer batches than
processes, those without one compute a batch that counts nothing, because all have to take part in
the sum of the gradients.

A task whose batches carry state from one to the next (``shares_rows``) cannot be dealt like this:
each process gets some rows of every batch, and the task cuts them itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from seq2seq.training.task import Task, shares_rows


class Dealt(NamedTuple):
    """A batch for this process."""

    batch: Any
    counts: bool = True  # False: its loss and its gradients are multiplied by 0

    @property
    def target_count(self) -> int:
        return self.batch.target_count if self.counts else 0


def rounds(task: Task, epoch: int, world: int) -> int | None:
    """How many batches each process gets in an epoch; None where nobody knows (a stream)."""
    batches = task.len_epoch(epoch)
    return batches if batches is None or shares_rows(task) else -(-batches // world)


def deal(task: Task, epoch: int, skip: int, rank: int, world: int) -> Iterator[Dealt]:
    """The batches of one process; ``skip``: how many batches of the epoch, of all processes
    together, are left out."""
    if world == 1 or shares_rows(task):
        yield from map(Dealt, task.epoch(epoch, skip))
        return
    batches = task.len_epoch(epoch)
    if batches is None or "every" not in inspect.signature(task.epoch).parameters:
        everyones = task.epoch(epoch, skip)
        while group := list(islice(everyones, world)):
            yield Dealt(group[rank]) if rank < len(group) else Dealt(group[0], counts=False)
        return
    epoch_of: Any = task.epoch  # ``every`` is an offer that the protocol leaves open
    own = epoch_of(epoch, skip + rank, every=world)
    for first in range(skip, batches, world):
        if first + rank < batches:
            yield Dealt(next(own))
        else:
            yield Dealt(next(iter(epoch_of(epoch, first, every=world))), counts=False)


def used(task: Task, batch: int, epoch: int, taken: int, world: int) -> int:
    """How many batches of the epoch all processes together have used when each has taken so many
    after the first ``batch``."""
    if world == 1 or shares_rows(task):
        return batch + taken
    batches = task.len_epoch(epoch)
    after = batch + taken * world
    return after if batches is None else min(after, batches)
