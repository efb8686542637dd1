"""Learning rates as functions of the optimizer step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

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
    the peak, at the last step of the warm-up or the first of all, to ``final_learning_rate``, which
    the step after ``total_steps`` would have (Loshchilov & Hutter 2017, eq. 5); plateau: peak *
    plateau_factor ** ``plateaus``. After each step of ``restarts`` (rising) the schedule begins
    anew and ends where the next one begins.
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
        first = max(1, warmup)  # the step that has the peak
        done = min(1.0, (step - first) / max(1, total_steps - first + 1))
        final = config.final_learning_rate
        return final + 0.5 * (peak - final) * (1 + math.cos(math.pi * done))
    if config.schedule == "plateau":
        return peak * config.plateau_factor**plateaus
    return peak


def total_steps(
    config: TrainingConfig, batches: Callable[[int], int | None]
) -> tuple[int, list[int]]:
    """How many optimizer steps there are at most, and after how many the schedule begins anew;
    ``batches`` of each epoch, which need not be equally many: None for a stream."""
    done = [0]  # steps before each epoch
    for epoch in range(config.max_epochs):
        count = batches(epoch)
        if count is None:  # config.check: a stream has its steps configured, and no restarts
            assert config.max_steps is not None
            return config.max_steps, []
        done.append(done[-1] + math.ceil(count / config.accumulation))
        if config.max_steps and done[-1] >= config.max_steps:
            break
    total = min(done[-1], config.max_steps or done[-1])
    return total, [done[epoch] for epoch in config.restarts if epoch < len(done)]
