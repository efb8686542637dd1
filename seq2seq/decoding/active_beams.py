"""The hypotheses that a beam search still extends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from seq2seq.decoding.constraints import Constraint
from seq2seq.decoding.nbest import NBest


@dataclass
class ActiveBeams:
    """The b sources still searched, R hypotheses each: 1 in the first step, then K.

    They are the N = b * R rows of the model's state, those of one source together. Where a
    source has fewer than R hypotheses, copies of its first fill up, with log P -inf.
    """

    sources: list[int]  # which of the B sources
    limits: list[int]  # their maximum lengths
    limit: Tensor  # (b,) the same, on the device
    lengths: Tensor | None  # (b,) source positions that count for coverage; None: all
    tokens: Tensor  # (N,) the last token of each hypothesis
    parents: Tensor  # (N,) the node before it in the history
    log_p: Tensor  # (b, R) in the order of the search: descending, but for groups
    coverage: Tensor | None  # (b, R, S) attention summed over the steps; None: not needed
    prefix: Tensor  # (N, t) the tokens so far, prompts included; t = 0 where not needed
    count: Tensor  # (b,) hypotheses that have finished
    best: NBest  # (b, n)
    constraints: list[Constraint | None] | None = None  # of each source; None: nobody has one
    states: list[list[Any]] = field(default_factory=list)  # R of each source with a constraint

    @staticmethod
    def start(
        limits: list[int],
        limit: Tensor,
        lengths: Tensor | None,
        bos: int,
        n: int,
        prefix: Tensor | None = None,
        constraints: Sequence[Constraint | None] | None = None,
    ) -> ActiveBeams:
        """B sources, each with one empty hypothesis; ``prefix`` (B, t): what stands before it."""
        b, device = len(limits), limit.device
        given = None if constraints is None else list(constraints)
        if given is not None and all(one is None for one in given):
            given = None
        return ActiveBeams(
            sources=list(range(b)),
            limits=limits,
            limit=limit,
            lengths=lengths,
            tokens=torch.full((b,), bos, device=device),
            parents=torch.full((b,), -1, device=device),
            log_p=torch.zeros(b, 1, device=device),
            coverage=None,
            prefix=torch.empty(b, 0, dtype=torch.long, device=device) if prefix is None else prefix,
            count=torch.zeros(b, dtype=torch.long, device=device),
            best=NBest.empty(b, n, device),
            constraints=given,
            states=[[] if one is None else [one.first()] for one in given or ()],
        )

    def keep(self, kept: list[int]) -> ActiveBeams:
        """The sources ``kept`` (positions among the b), the others left out."""
        index = torch.tensor(kept, dtype=torch.long, device=self.limit.device)  # (b',)
        beams = self.log_p.shape[1]
        rows = (index.unsqueeze(1) * beams + torch.arange(beams, device=index.device)).flatten()
        return ActiveBeams(
            sources=[self.sources[i] for i in kept],
            limits=[self.limits[i] for i in kept],
            limit=self.limit[index],
            lengths=None if self.lengths is None else self.lengths[index],
            tokens=self.tokens[rows],
            parents=self.parents[rows],
            log_p=self.log_p[index],
            coverage=None if self.coverage is None else self.coverage[index],
            prefix=self.prefix[rows] if self.prefix.shape[1] else self.prefix[: len(rows)],
            count=self.count[index],
            best=self.best.take(index),
            constraints=None if self.constraints is None else [self.constraints[i] for i in kept],
            states=[self.states[i] for i in kept] if self.constraints is not None else [],
        )

    def advanced(self, tokens: Tensor, rows: Tensor) -> list[list[Any]]:
        """The states of hypotheses that go on with tokens (b, K) after those in rows (b, K)."""
        if self.constraints is None:
            return []
        states: list[list[Any]] = []
        for constraint, own, pairs in zip(
            self.constraints, self.states, torch.stack([tokens, rows], 2).tolist(), strict=True
        ):
            if constraint is None:
                states.append([])
            else:
                states.append([constraint.advance(own[row], token) for token, row in pairs])
        return states
