"""Diverse beam search (Vijayakumar et al. 2016): groups of hypotheses that avoid each other.

The K hypotheses of a source are G groups of K / G. In each step the groups choose one after the
other; a group ranks an extension by token y by

    log P - diversity * (how many live extensions of earlier groups chose y in this step)

(their equation 5 with Hamming diversity). log P itself stays the model's own. The first group is
a plain beam search of K / G. A group is searched like a source of its own, and ends by itself.
The constraints of a source (``constraints.py``) are those of each of its groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from seq2seq.decoding.contract import StepModel
from seq2seq.decoding.hypothesis import Hypothesis

T = TypeVar("T")


def repeated(values: Sequence[T] | None, groups: int) -> list[T] | None:
    """Each value once for each group."""
    return None if values is None else [value for value in values for _ in range(groups)]


def repeated_rows(values: Tensor | None, groups: int) -> Tensor | None:
    return None if values is None else values.repeat_interleave(groups, 0)


def repeated_state(model: StepModel, state: Any, sources: int, groups: int, device: Any) -> Any:
    """The state of every source once for each of its groups."""
    every = torch.arange(sources, device=device).repeat_interleave(groups)
    return state if groups == 1 else model.reorder(state, every)


def joined(found: list[list[Hypothesis]], groups: int, n_best: int) -> list[list[Hypothesis]]:
    """The hypotheses of each source from those of its groups: finished ones first, then by score;
    of equals those of the earlier group. Each group gives its n_best / groups best, rounded up.
    What several found stands once; others that they finished take its place, if there are any."""
    if groups == 1:
        return found
    share = -(-n_best // groups)
    every = []
    for first in range(0, len(found), groups):
        of_source = found[first : first + groups]
        best = [hypothesis for group in of_source for hypothesis in group[:share]]
        others = [one for group in of_source for one in group[share:] if one.finished]
        kept = _different([*sorted(best, key=_rank), *sorted(others, key=_rank)])[:n_best]
        every.append(sorted(kept, key=_rank))
    return every


def _rank(hypothesis: Hypothesis) -> tuple[bool, float]:
    return not hypothesis.finished, -hypothesis.score


def _different(hypotheses: list[Hypothesis]) -> list[Hypothesis]:
    """Each sequence of tokens once: the first hypothesis that has it."""
    found: dict[tuple[int, ...], Hypothesis] = {}
    for one in hypotheses:
        found.setdefault(tuple(one.tokens), one)
    return list(found.values())


class Taken:
    """Which tokens the earlier groups of each source chose in one step."""

    def __init__(self, sources: Sequence[int], groups: int, vocabulary: int, device: Any) -> None:
        """``sources``: those that are searched, a group each; see ``beam_search``."""
        number = {source: n for n, source in enumerate(dict.fromkeys(s // groups for s in sources))}
        self._row = torch.tensor([number[s // groups] for s in sources], device=device)  # (b,)
        self._counts = torch.zeros(len(number), vocabulary, device=device)
        groups_of = [s % groups for s in sources]
        self.turns = [
            torch.tensor([i for i, group in enumerate(groups_of) if group == g], device=device)
            for g in sorted(set(groups_of))
        ]  # the groups that choose at once

    def count(self, turn: Tensor, tokens: Tensor) -> Tensor:
        """How often each of tokens (n, M) has been chosen, for the groups ``turn`` (n,)."""
        return self._counts[self._row[turn]].gather(1, tokens)

    def counts(self, position: int) -> Tensor:
        """How often each token of the vocabulary (V,) has been chosen, for the group at
        ``position``."""
        return self._counts[self._row[position]]

    def add(self, turn: Tensor, tokens: Tensor, live: Tensor) -> None:
        """The groups ``turn`` chose tokens (n, M) where ``live`` (n, M)."""
        counts = torch.zeros_like(self._counts[self._row[turn]])
        counts.scatter_add_(1, tokens, live.to(counts.dtype))
        self._counts.index_add_(0, self._row[turn], counts)
