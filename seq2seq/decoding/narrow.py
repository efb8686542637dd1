"""Search in a part of the vocabulary: each source of a batch may be given some tokens alone.

The product with the vocabulary and the choice among all of it are a large part of what a step
costs. Here a batch is searched over the U tokens that any of its sources may be given. A token is
then a position in that list: the model is given weights of these rows alone (``narrowed`` of a
translation model), what the caller says of tokens is translated before the search, and what was
found after it. Probabilities are over the tokens of the source. What others in the batch may be
given has no part in them, so that a batch decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from seq2seq.decoding.constraints import Constraint
from seq2seq.decoding.contract import StepModel
from seq2seq.decoding.hypothesis import Hypothesis

# The product makes a kernel for each new size, so that sizes are filled up to a multiple.
_SIZES = 256


class Whole:
    """The whole vocabulary: positions are tokens. What a search without a ``Part`` has."""

    def position(self, token: int) -> int:
        return token

    def beginnings(self, given: list[list[int]] | None) -> list[list[int]] | None:
        return given

    def constraints(
        self, given: Sequence[Constraint | None] | None
    ) -> list[Constraint | None] | None:
        return None if given is None else list(given)

    def original(self, hypothesis: Hypothesis) -> Hypothesis:
        return hypothesis


class Part:
    """The tokens of a batch of B sources.

    allowed (B, V) bool: what each may be given. ``ids`` (U,) are the tokens that any may, and
    others up to a round number, ascending, so that the lower of equals still goes first;
    ``barred`` (B, U) is 0 where a source may be given the token, else -inf.
    """

    def __init__(self, allowed: Tensor, device: torch.device) -> None:
        vocabulary = allowed.shape[1]
        used = allowed.any(0)  # (V,)
        count = int(used.sum())
        more = min(-(-count // _SIZES) * _SIZES, vocabulary) - count
        used[(~used).nonzero().squeeze(1)[:more]] = True
        ids = used.nonzero().squeeze(1)  # (U,)
        kept = allowed.index_select(1, ids)  # (B, U)
        self._ids: list[int] = ids.tolist()
        self._position = {token: position for position, token in enumerate(self._ids)}
        self.ids = ids.to(device)
        self.barred = torch.zeros(kept.shape).masked_fill_(~kept, -torch.inf).to(device)

    def position(self, token: int) -> int:
        """Raises KeyError for a token that is not there."""
        return self._position[token]

    def positions(self, tokens: Iterable[int]) -> list[int]:
        """The positions of ``tokens``; tokens that are not there are left out."""
        return [self._position[token] for token in tokens if token in self._position]

    def token(self, position: int) -> int:
        return self._ids[position]

    def beginnings(self, given: list[list[int]] | None) -> list[list[int]] | None:
        """Raises KeyError for a token that is not there."""
        return None if given is None else [[self._position[one] for one in row] for row in given]

    def constraints(
        self, given: Sequence[Constraint | None] | None
    ) -> list[Constraint | None] | None:
        if given is None:
            return None
        return [None if one is None else NarrowConstraint(one, self) for one in given]

    def original(self, hypothesis: Hypothesis) -> Hypothesis:
        """What the search found, in tokens of the whole vocabulary."""
        return replace(hypothesis, tokens=[self._ids[position] for position in hypothesis.tokens])


@dataclass(frozen=True)
class NarrowConstraint:
    """A constraint over positions. All that must come is to be among the tokens."""

    constraint: Constraint
    part: Part

    def first(self) -> Any:
        return self.constraint.first()

    def advance(self, state: Any, token: int) -> Any:
        return self.constraint.advance(state, self.part.token(token))

    def wanted(self, state: Any) -> Sequence[int]:
        return self.part.positions(self.constraint.wanted(state))

    def barred(self, state: Any) -> Sequence[int]:
        return self.part.positions(self.constraint.barred(state))

    def progress(self, state: Any) -> int:
        return self.constraint.progress(state)

    def complete(self, state: Any) -> bool:
        return self.constraint.complete(state)


@dataclass(frozen=True)
class NarrowState:
    """The model's state, the source of each of its N rows, ascending, and what b sources may not
    be given; ``each``: how many rows every one of them has, 0 where the numbers differ."""

    state: Any
    rows: Tensor  # (N,) rows of ``barred``
    barred: Tensor  # (b, U)
    each: int

    @property
    def attention(self) -> Tensor | None:
        attention: Tensor | None = self.state.attention
        return attention


class NarrowModel:
    """A model over the tokens of a ``Part``: one of the contract, whose states are made by
    ``state`` from those of the model."""

    def __init__(self, model: StepModel) -> None:
        self._model = model

    @staticmethod
    def state(state: Any, part: Part) -> NarrowState:
        """The state before the first step of a search, with one row for each source."""
        rows = torch.arange(len(part.barred), device=part.barred.device)
        return NarrowState(state, rows, part.barred, 1)

    def step(self, tokens: Tensor, state: NarrowState) -> tuple[Tensor, NarrowState]:
        """tokens (N,) -> logits (N, U), -inf for what a source may not be given."""
        logits, after = self._model.step(tokens, state.state)  # (N, U)
        barred = state.barred.to(logits.dtype)
        if state.each:
            by_source = logits.unflatten(0, (len(barred), state.each))  # (b, N/b, U)
            logits = (by_source + barred.unsqueeze(1)).flatten(0, 1)
        else:
            logits = logits + barred.index_select(0, state.rows)
        return logits, replace(state, state=after)

    def reorder(self, state: NarrowState, index: Tensor) -> NarrowState:
        """Row i of the new state is row index[i] of the old one."""
        after = self._model.reorder(state.state, index)
        rows = state.rows.index_select(0, index)
        if torch.equal(rows, state.rows):
            return replace(state, state=after)
        kept, rows, counts = torch.unique_consecutive(rows, return_inverse=True, return_counts=True)
        each = int(counts[0]) if len(counts) and bool((counts == counts[0]).all()) else 0
        barred = state.barred.index_select(0, kept)
        return NarrowState(after, rows, barred, each)
