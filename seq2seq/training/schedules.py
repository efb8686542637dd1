"""Learning rates as functions of the optimizer step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from seq2seq.config.training import TrainingConfig

_ASKED = 1000  # epochs; asking takes time


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
    config: TrainingConfig, batches: Callable[[int], int | None], vary: bool = False
) -> tuple[int, list[int]]:
    """How many optimizer steps there are at most, and after how many the schedule begins anew;
    ``batches`` of each epoch: None for a stream.

    Where they ``vary`` and the schedule depends on it, each of the first thousand epochs is asked;
    else all are taken to be as long as the first.
    """
    first = batches(0)
    if first is None:  # config.check: a stream has its steps configured, and no restarts
        assert config.max_steps is not None
        return config.max_steps, []
    asked = min(config.max_epochs, _ASKED if vary and _depends(config) else 1)
    done = [0]  # steps before each epoch
    for epoch in range(asked):
        done.append(done[-1] + math.ceil((batches(epoch) or first) / config.accumulation))

    def before(epoch: int) -> int:
        further = max(0, epoch - asked) * math.ceil(first / config.accumulation)
        return done[min(epoch, asked)] + further

    total = before(config.max_epochs)
    return min(total, config.max_steps or total), [before(epoch) for epoch in config.restarts]


def _depends(config: TrainingConfig) -> bool:
    """Whether rates depend on where epochs end."""
    return config.schedule == "cosine" or bool(config.restarts)
