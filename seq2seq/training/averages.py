"""Averages of the weights over training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from seq2seq.training.checkpoints import weights_of


class MovingAverage:
    """Exponential (Polyak & Juditsky 1992, with decay): average <- d average + (1 - d) weight,
    d = min(decay, (1 + step) / (10 + step)) so that the first steps do not weigh on it."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.average = [t.clone() for t in _averaged(model)]

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.average, _averaged(model), 1 - decay)

    def observe(self, score: float, model: nn.Module) -> bool:
        """A validation's score; True where averaging begins with it."""
        return False

    @contextlib.contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Inside the block the model holds the averaged weights."""
        with _put_back(model):
            self.copy_to(model)
            yield

    def copy_to(self, model: nn.Module) -> None:
        """Give the model the averaged weights."""
        _copy(model, self.average)

    def state(self) -> dict[str, Any]:
        return {"average_steps": self.steps}

    def load(self, state: dict[str, Any]) -> None:
        self.steps = state["average_steps"]


class TriggeredAverage:
    """The mean of all weights since a validation that was no better than the best one more than
    ``patience`` validations before it (NT-ASGD: Merity et al. 2018, algorithm 1); until then the
    weights themselves."""

    def __init__(self, model: nn.Module, patience: int) -> None:
        self.patience, self.steps, self.triggered = patience, 0, False
        self.scores: list[float] = []
        self.average = [t.clone() for t in _averaged(model)]

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        if self.triggered:
            self.steps += 1
            weights = _averaged(model)
            torch._foreach_lerp_(self.average, weights, 1 / self.steps)

    def observe(self, score: float, model: nn.Module) -> bool:
        """A validation's score, the higher the better; True where averaging begins with it."""
        before = self.scores[: max(0, len(self.scores) - self.patience)]
        starts = not self.triggered and bool(before) and score < max(before)
        self.scores.append(score)
        if starts:
            self.triggered = True
            with torch.no_grad():
                torch._foreach_copy_(self.average, _averaged(model))
        return starts

    @contextlib.contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Inside the block the model holds the averaged weights, if averaging has begun."""
        with _put_back(model):
            self.copy_to(model)
            yield

    def copy_to(self, model: nn.Module) -> None:
        if self.steps:
            _copy(model, self.average)

    def state(self) -> dict[str, Any]:
        return {
            "average_steps": self.steps,
            "average_triggered": self.triggered,
            "average_scores": self.scores,
        }

    def load(self, state: dict[str, Any]) -> None:
        self.steps, self.triggered = state["average_steps"], state["average_triggered"]
        self.scores = state["average_scores"]


@contextlib.contextmanager
def _put_back(model: nn.Module) -> Iterator[None]:
    """After the block the model holds the weights that it had before."""
    held = [t.clone() for t in _averaged(model)]
    try:
        yield
    finally:
        _copy(model, held)


@torch.no_grad()
def _copy(model: nn.Module, values: list[Tensor]) -> None:
    for tensor, value in zip(_averaged(model), values, strict=True):
        tensor.copy_(value)


def _averaged(model: nn.Module) -> list[Tensor]:
    """Weights, and what is saved with them and is no weight: the statistics of batch norm belong
    to the weights they were gathered with. Buffers that never change are left out (a module names
    them in ``constant_buffers``)."""
    constant = {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        for name in getattr(module, "constant_buffers", ())
    }
    weights = weights_of(model).items()
    return [t for name, t in weights if t.is_floating_point() and name not in constant]
