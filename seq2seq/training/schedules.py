"""Learning rates as functions of the optimizer step."""

from __future__ import annotations

import math
from collections.abc import Sequence

from seq2seq.config.training import TrainingConfig


def learning_rate(
    config: TrainingConfig,
    step: int,
    total_steps: int,
    plateaus: int,
    restarts: Sequence[int] = (),
) -> float:
    """The rate of the given step (1, 2, ...), after a linear warm-up.

    constant; inverse_sqrt: peak * sqrt(warm-up / step) (Vaswani et al. 2017, eq. 3); cosine: from
    the peak to ``final_learning_rate`` at ``total_steps`` (Loshchilov & Hutter 2017, eq. 5);
    plateau: peak * plateau_factor ** ``plateaus``. After each step of ``restarts`` (rising) the
    schedule begins anew and ends where the next one begins.
    """
    begin = max((done for done in restarts if done < step), default=0)
    end = min([total_steps, *(done for done in restarts if done >= step)])
    step, total_steps = step - begin, end - begin
    peak, warmup = config.learning_rate, config.warmup_steps
    if step <= warmup:
        return peak * step / warmup
    if config.schedule == "inverse_sqrt":
        return peak * math.sqrt(max(1, warmup) / step)
    if config.schedule == "cosine":
        done = min(1.0, (step - warmup) / max(1, total_steps - warmup))
        final = config.final_learning_rate
        return final + 0.5 * (peak - final) * (1 + math.cos(math.pi * done))
    if config.schedule == "plateau":
        return peak * config.plateau_factor**plateaus
    return peak


def total_steps(config: TrainingConfig, batches: int | None) -> tuple[int, list[int]]:
    """How many optimizer steps there are at most, and after how many the schedule begins anew;
    ``batches`` of an epoch, None for a stream."""
    if batches is None:  # config.check: a stream has its steps configured, and no restarts
        assert config.max_steps is not None
        return config.max_steps, []
    steps = math.ceil(batches / config.accumulation)  # of an epoch
    total = config.max_epochs * steps
    return min(total, config.max_steps or total), [epoch * steps for epoch in config.restarts]
