"""Training windows changed at random: turned in a plane, mirrored, stretched, with noise in their
past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from seq2seq.tasks.forecasting.windows import Batch, Change, unchanged


def augmentation(
    plane: Sequence[int], noise: float, free: float = 0.0, stretch: float = 0.0
) -> Change:
    """What training does to a batch: turns windows in the ``plane`` of two targets, if two are
    given, stretches them, if ``stretch`` is not 0, and adds ``noise`` to the past, if it is not 0,
    except in a share ``free`` of them."""
    if not plane and not noise and not stretch:
        return unchanged

    def change(batch: Batch, random: np.random.Generator) -> Batch:
        batch = rotated(batch, plane, random) if plane else batch
        batch = stretched(batch, stretch, random) if stretch else batch
        return noisy(batch, noise, random, free) if noise else batch

    return change


def rotated(batch: Batch, plane: Sequence[int], random: np.random.Generator) -> Batch:
    """Each window turned by a random angle about the origin of the plane of two targets, one in two
    mirrored before. Both targets must have the same scale and no shift (``model.scaling:
    none``)."""
    angle = random.uniform(0, 2 * np.pi, len(batch))
    side = random.choice([-1.0, 1.0], len(batch))
    sine, cosine = np.sin(angle), np.cos(angle)
    rows = np.array([[cosine, -sine * side], [sine, cosine * side]])  # (2, 2, B)
    turn = torch.from_numpy(rows.transpose(2, 0, 1).astype(np.float32))
    first, second = plane

    def turned(values: Tensor) -> Tensor:  # (B, T, C)
        pair = torch.einsum("bij,btj->bti", turn, values[..., [first, second]])
        values = values.clone()
        values[..., first], values[..., second] = pair.unbind(-1)
        return values

    return replace(batch, past=turned(batch.past), future=turned(batch.future))


def stretched(batch: Batch, stretch: float, random: np.random.Generator) -> Batch:
    """Each target of each window stretched about the mean of its past, by a factor exp(z) with z
    normal of standard deviation ``stretch``: a day that varies more or less, at the same level."""
    factor = np.exp(stretch * random.standard_normal((len(batch), 1, batch.past.shape[2])))
    times = torch.from_numpy(factor.astype(np.float32))
    count = batch.observed.sum(1, keepdim=True).clamp_min(1)
    mean = (batch.past * batch.observed).sum(1, keepdim=True) / count  # (B, 1, C)
    past, future = (torch.lerp(mean, one, times) for one in (batch.past, batch.future))
    return replace(batch, past=past, future=future)


def noisy(batch: Batch, noise: float, random: np.random.Generator, free: float = 0.0) -> Batch:
    """Normal noise in the past of each window, whose standard deviation is drawn between 0 and
    ``noise``: a model learns to trust a noisy past less. A share ``free`` of windows has none."""
    deviation = random.uniform(0, noise, (len(batch), 1, 1))
    if free:
        deviation = deviation * (random.random((len(batch), 1, 1)) >= free)
    added = deviation * random.standard_normal(batch.past.shape)
    return replace(batch, past=batch.past + torch.from_numpy(added.astype(np.float32)))
