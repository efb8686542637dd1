"""Lexical constraints: what a source's hypotheses must hold, and what they must not.

The search knows a constraint by ``Constraint`` alone; ``seq2seq.text.phrases`` makes them of words.
Hypotheses that must hold something are chosen by dynamic beam allocation (Post & Vilar 2018,
section 3): all extensions are put into banks by how much of the constraint they have met, the K
places of the beam are shared equally among the banks that are not empty, what does not go up
goes to the banks that have met most. A hypothesis may end only once all is met.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor


class Constraint(Protocol):
    """What one source asks for. A state belongs to one hypothesis and is never changed."""

    def first(self) -> Any:
        """The state of a hypothesis without tokens."""

    def advance(self, state: Any, token: int) -> Any:
        """The state one token later."""

    def wanted(self, state: Any) -> Sequence[int]:
        """Tokens that bring the hypothesis nearer to what is still missing."""

    def barred(self, state: Any) -> Sequence[int]:
        """Tokens that must not come next."""

    def progress(self, state: Any) -> int:
        """How many tokens of what must come have come: the bank."""

    def complete(self, state: Any) -> bool:
        """Whether all that must come has come, so that the hypothesis may end here."""


class Extension(NamedTuple):
    """One hypothesis of a source and the token after it."""

    log_p: float
    row: int
    token: int
    ends: bool
    bank: int
    penalty: float = 0.0  # taken off log P where extensions are ranked

    @property
    def order(self) -> tuple[float, int, int]:
        """The best first; of equals by row, then token."""
        return self.penalty - self.log_p, self.row, self.token


def without_barred(
    logits: Tensor, constraints: Sequence[Constraint | None], states: Sequence[list[Any]]
) -> Tensor:
    """logits (N, V) with -inf for what a hypothesis may not be followed by; R rows a source.
    ``logits`` itself is left as it is."""
    rows: list[int] = []
    tokens: list[int] = []
    row = 0
    beams = len(logits) // max(1, len(constraints))
    for constraint, own in zip(constraints, states, strict=True):
        for offset, state in enumerate(own if constraint is not None else ()):
            barred = [] if constraint is None else constraint.barred(state)
            rows += [row + offset] * len(barred)
            tokens += barred
        row += beams
    if not rows:
        return logits
    index = torch.tensor([rows, tokens], device=logits.device)  # (2, n)
    return logits.index_put((index[0], index[1]), logits.new_tensor(-torch.inf))


def extensions(
    constraint: Constraint,
    states: Sequence[Any],
    log_p: Sequence[float],
    found: Iterable[tuple[int, int, float]],
    eos: int,
    penalties: Mapping[int, float],
) -> list[Extension]:
    """All that may be chosen among ``found`` (row, token, log P of the token), best first.

    ``log_p`` are those of the R hypotheses, ``penalties`` those of tokens (left out: 0). Equals
    stand in the order of row, then token.
    """
    every = {}
    for row, token, gain in found:
        total = log_p[row] + gain
        if total == -torch.inf or (row, token) in every:
            continue
        if token == eos:
            if not constraint.complete(states[row]):
                continue
            bank = constraint.progress(states[row])
        else:
            bank = constraint.progress(constraint.advance(states[row], token))
        every[row, token] = Extension(
            total, row, token, token == eos, bank, penalties.get(token, 0.0)
        )
    return sorted(every.values(), key=lambda one: one.order)


def allocate(ranked: Sequence[Extension], places: int) -> list[Extension]:
    """The ``places`` (at most) that dynamic beam allocation takes of ``ranked``, best first."""
    banks: dict[int, list[Extension]] = {}
    for one in ranked:
        banks.setdefault(one.bank, []).append(one)
    order = sorted(banks, reverse=True)  # what has met most comes first
    share = dict.fromkeys(order, 0)
    left = min(places, len(ranked))
    while left:  # a round gives each bank that has something left one place
        for bank in order:
            if left and share[bank] < len(banks[bank]):
                share[bank] += 1
                left -= 1
    chosen = {id(one) for bank in order for one in banks[bank][: share[bank]]}
    return [one for one in ranked if id(one) in chosen]


def choose(ranked: Sequence[Extension], places: int) -> list[Extension]:
    """Those that end among the first ``places``, and the ``places`` that do not end, best first."""
    ending = [one for one in allocate(ranked, places) if one.ends]
    going = allocate([one for one in ranked if not one.ends], places)
    return sorted([*ending, *going], key=lambda one: one.order)
