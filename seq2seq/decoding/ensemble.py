"""Several models that decode as one: the mean of their probabilities.

P(y_t | y_1 .. y_(t-1), X) = 1/M sum_m P_m(y_t | y_1 .. y_(t-1), X), computed from the log
probabilities without leaving them, so that what is unlikely does not become zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from seq2seq.decoding.contract import StepModel
from seq2seq.errors import UsageError

Member = TypeVar("Member")


@dataclass(frozen=True)
class EnsembleState:
    """The states of the M models, and the mean attention (N, S) of those that attend to as many
    places as the first that attends: models may see an image through unlike grids."""

    states: tuple[Any, ...]
    attention: Tensor | None = None


class Ensemble:
    """M models over one vocabulary as one model of the contract.

    A state is made of one state of each model: ``Ensemble.state([m.start(x) for m in models])``.
    The logits of a step are log of the mean probability. Raises UsageError for no models, and in
    a step for models whose vocabularies differ in size.
    """

    def __init__(self, models: Sequence[StepModel]) -> None:
        if not models:
            raise UsageError("an ensemble of no models; give at least one")
        self.models = tuple(models)

    @staticmethod
    def state(states: Sequence[Any]) -> EnsembleState:
        return EnsembleState(tuple(states))

    def step(self, tokens: Tensor, state: EnsembleState) -> tuple[Tensor, EnsembleState]:
        """One token for each hypothesis: tokens (N,) -> log probabilities (N, V)."""
        every, states = [], []
        for model, one in zip(self.models, state.states, strict=True):
            logits, after = model.step(tokens, one)
            every.append(_log_softmax(logits))  # (N, V)
            states.append(after)
        sizes = [log_p.shape[1] for log_p in every]
        if len(set(sizes)) > 1:
            raise UsageError(f"an ensemble of vocabularies of {sizes} tokens; expected one size")
        attention = [one.attention for one in states if one.attention is not None]
        alike = [one for one in attention if one.shape == attention[0].shape]
        mean = sum(alike) / len(alike) if alike else None  # (N, S)
        return log_mean(every), EnsembleState(tuple(states), mean)

    def reorder(self, state: EnsembleState, index: Tensor) -> EnsembleState:
        """Row i of each model's new state is row index[i] of its old one."""
        pairs = zip(self.models, state.states, strict=True)
        attention = None if state.attention is None else state.attention.index_select(0, index)
        return EnsembleState(tuple(m.reorder(one, index) for m, one in pairs), attention)


def members_of(given: object, kind: type[Member]) -> list[Member]:
    """The members of an ensemble of ``kind``s as a list. Raises UsageError for anything else."""
    name = kind.__name__
    how = f"expected a list of {name}s, each loaded with {name}.from_pretrained(...)"
    if not isinstance(given, Iterable) or isinstance(given, str):
        raise UsageError(f"{name}.ensemble: found {given!r}; {how}")
    members = list(given)
    for number, one in enumerate(members, start=1):
        if not isinstance(one, kind):
            found = repr(one) if isinstance(one, str) else f"a {type(one).__name__}"
            raise UsageError(f"{name}.ensemble: member {number} is {found}; {how}")
    return members


def check_members(devices: Sequence[torch.device]) -> None:
    """Raises UsageError for no models, and for models on several devices."""
    if not devices:
        raise UsageError("an ensemble of no models; give at least one")
    names = sorted({str(device) for device in devices})
    if len(names) > 1:
        raise UsageError(f"ensemble: models on {names}; expected one device")


def difference(first: Sequence[str], other: Sequence[str], kind: str) -> str:
    """How two unlike vocabularies of pieces differ; ``kind`` of pieces: subword, unit."""
    if len(first) != len(other):
        return f"{len(first)} and {len(other)} {kind}s"
    at = next(i for i, pair in enumerate(zip(first, other, strict=True)) if len({*pair}) > 1)
    return f"{kind} {at} is {first[at]!r} in one and {other[at]!r} in the other"


def log_mean(log_ps: Sequence[Tensor]) -> Tensor:
    """log(1/M sum_m exp(log_ps[m])), elementwise; -inf where all are, NaN where one is.

    The terms are added in the order of the models, whatever the shape: a row's sums do not
    depend on the rows beside it.
    """
    highest = log_ps[0]
    for log_p in log_ps[1:]:
        highest = torch.maximum(highest, log_p)
    highest = highest.clamp(min=torch.finfo(highest.dtype).min)  # -inf - -inf is no number
    total = torch.zeros_like(highest)
    for log_p in log_ps:
        total += (log_p - highest).exp_()
    return total.log_().add_(highest).sub_(math.log(len(log_ps)))


def _log_softmax(logits: Tensor) -> Tensor:
    """In at least single precision."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(1)
