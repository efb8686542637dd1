"""The optimizer of a run, the average of its weights, and the precision of its products."""

from __future__ import annotations

import torch
from torch import nn

from seq2seq.config import TrainingConfig
from seq2seq.errors import UsageError
from seq2seq.precision import device_named, resolve_precision
from seq2seq.training.averages import MovingAverage, TriggeredAverage


def make_optimizer(options: TrainingConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Adam, AdamW or SGD (of which asgd is SGD whose weights are averaged) over all weights."""
    if options.optimizer in ("sgd", "asgd"):
        return torch.optim.SGD(
            model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
    kind = torch.optim.AdamW if options.optimizer == "adamw" else torch.optim.Adam
    first, second = options.betas
    return kind(
        model.parameters(),
        lr=options.learning_rate,
        betas=(first, second),
        weight_decay=options.weight_decay,
        fused=True,
    )


def make_average(
    options: TrainingConfig, model: nn.Module, patience: int | None
) -> MovingAverage | TriggeredAverage | None:
    """The average of the weights that is validated and saved in their place, if any; ``patience``
    is that of NT-ASGD, None without it."""
    if patience is not None:
        return TriggeredAverage(model, patience)
    return MovingAverage(model, options.ema_decay) if options.ema_decay else None


def mixed_precision(precision: str, device: str) -> str:
    """What accelerate calls the precision. Raises UsageError for a GPU that is not there."""
    try:
        place = device_named(device)
    except UsageError:
        raise UsageError(
            f"training.device is {device!r}, and torch finds no such GPU here; use 'auto'"
        ) from None
    chosen = resolve_precision(precision, place)
    return "no" if chosen == "fp32" else chosen
